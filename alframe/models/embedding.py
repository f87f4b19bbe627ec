"""Gives any classifier an embedding: what enters its last linear layer."""

from __future__ import annotations

from typing import Any, Protocol, cast

import torch
from torch import Tensor, nn

from alframe.errors import UserError


class _Embeds(Protocol):
    """A model in two parts; ``model(inputs)`` is ``head(embed(inputs))``."""

    def embed(self, inputs: Tensor) -> Tensor:
        """Returns embeddings [b, d]."""
        ...

    def head(self, embedding: Tensor) -> Tensor:
        """Returns logits [b, classes]."""
        ...


class LastLayerSplit(nn.Module):
    """A module that only returns logits, split before its last layer.

    The module keeps its parameters under ``module.``. A hook is set only while an embedding is
    taken, so that plain training costs nothing and copies and pickles stay plain.
    """

    def __init__(self, module: nn.Module, layer: str) -> None:
        """Splits the module.

        Args:
            module: Returns logits [b, classes].
            layer: Name of its last layer, as in ``module.get_submodule(layer)``.
        """
        super().__init__()
        self.module = module
        self.layer = layer

    def forward(self, inputs: Tensor) -> Tensor:
        """Returns logits [b, classes]."""
        logits: Tensor = self.module(inputs)
        return logits

    def embed(self, inputs: Tensor) -> Tensor:
        """Returns embeddings [b, d]."""
        return self.logits_and_embedding(inputs)[1]

    def head(self, embedding: Tensor) -> Tensor:
        """Returns logits [b, classes] of embeddings [b, d]."""
        logits: Tensor = self.module.get_submodule(self.layer)(embedding)
        return logits

    def logits_and_embedding(self, inputs: Tensor) -> tuple[Tensor, Tensor]:
        """Returns logits [b, classes] and embeddings [b, d] from one forward pass.

        Raises:
            UserError: When the layer is not the last, so that its output is not the logits.
        """
        calls: list[tuple[Tensor, Tensor]] = []

        def keep(_: nn.Module, args: tuple[Any, ...], named: dict[str, Any], out: Tensor) -> None:
            calls.append(((*args, *named.values())[0], out))

        layer = self.module.get_submodule(self.layer)
        handle = layer.register_forward_hook(keep, with_kwargs=True)
        try:
            logits: Tensor = self.module(inputs)
        finally:
            handle.remove()
        if not calls or not _same(calls[-1][1], logits):
            raise UserError(
                f"{type(self.module).__name__} should return what its layer '{self.layer}' "
                f"returns, but {'changes it' if calls else 'does not call it'}: give the class in "
                "model._target_ the methods embed and head"
            )
        return logits, calls[-1][0]


def with_embedding(module: nn.Module, layer: str | None = None) -> nn.Module:
    """Returns the module if it has ``embed`` and ``head``, or else a wrapper that has them.

    Args:
        module: Returns logits [b, classes].
        layer: Name of the layer whose input is the embedding; the last ``nn.Linear`` if None.

    Raises:
        UserError: When there is no such layer.
    """
    layers = dict(module.named_modules())
    if layer is None:
        if _embeds(module):
            return module
        linear = [name for name, part in layers.items() if isinstance(part, nn.Linear)]
        if not linear:
            raise UserError(
                f"{type(module).__name__} has no nn.Linear whose input could be the embedding: "
                "give the class in model._target_ the methods embed and head, or choose another "
                "model"
            )
        layer = linear[-1]
    elif layer not in layers:
        raise UserError(
            f"{type(module).__name__} has no layer '{layer}' (the last that it has are "
            f"{', '.join(list(layers)[-3:])}): change the layer's name, or choose another model"
        )
    return LastLayerSplit(module, layer)


def logits_and_embedding(model: nn.Module, inputs: Tensor) -> tuple[Tensor, Tensor]:
    """Returns logits [b, classes] and embeddings [b, d] from one forward pass.

    Args:
        model: What `with_embedding` returned.
        inputs: One batch, as the model wants it.

    Raises:
        UserError: When the split layer turns out not to be the model's last.
    """
    if isinstance(model, LastLayerSplit):
        return model.logits_and_embedding(inputs)
    # A runtime-checkable protocol would not see sub-modules from Python 3.12 on.
    parts = cast(_Embeds, model)
    embedding = parts.embed(inputs)
    return parts.head(embedding), embedding


def _embeds(module: nn.Module) -> bool:
    return all(callable(getattr(module, name, None)) for name in ("embed", "head"))


def _same(output: Tensor, logits: Tensor) -> bool:
    """Tells whether the logits are the layer's output, be it in another precision."""
    if output is logits:
        return True
    if output.shape != logits.shape:
        return False
    return torch.allclose(output, logits.to(output), equal_nan=True)
