"""Monte-Carlo dropout whose masks are the same for all rows: each draw is one network.

**Source:** Gal & Ghahramani, "Dropout as a Bayesian Approximation" (ICML 2016), arXiv:1506.02142;
the same masks for the whole pool ("consistent MC dropout") are those of Kirsch, van Amersfoort &
Gal, "BatchBALD" (NeurIPS 2019), arXiv:1906.08158, which joint entropies of several rows need.
**Deviations:** a mask is a function of the fit's seed, the draw and the layer's place in the
forward pass, not of a random state, so that a restored model gives the same draws.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

_WHOLE_CHANNELS = (nn.Dropout1d, nn.Dropout2d, nn.Dropout3d)
_OTHER = (nn.AlphaDropout, nn.FeatureAlphaDropout)


def dropping_layers(model: nn.Module) -> list[nn.Module]:
    """Returns the dropout layers that make draws differ, in no particular order.

    Only modules can be found, not calls of ``torch.nn.functional.dropout``. A model that has
    ``nn.AlphaDropout`` has none: it would have to be drawn too, and is not known here.
    """
    known = (nn.Dropout, *_WHOLE_CHANNELS, *_OTHER)
    layers: list[nn.Module] = [
        layer for layer in model.modules() if isinstance(layer, known) and layer.p > 0
    ]
    return [] if any(isinstance(layer, _OTHER) for layer in layers) else layers


class ConsistentDropout:
    """Forward passes with dropout, and everything else in evaluation mode.

    Draw k of a model is the same network for all rows, in whatever batches they come, and however
    many draws there are. The layers in front of the first dropout layer are passed once for all
    draws where the model's ``embed`` is an ``nn.Sequential``.

    Args:
        model: Rows along the first axis wherever it drops values.
        seed: Of the fit, 0 or more.
        draws: Networks to draw.

    Raises:
        ValueError: If the model drops nothing.
    """

    def __init__(self, model: nn.Module, seed: int, draws: int) -> None:
        self._model = model
        self._seed = seed
        self._draws = draws
        self._layers = dropping_layers(model)
        if not self._layers:
            raise ValueError("the model has no dropout layer: all draws of it would be the same")
        self._stem, self._tail = _around_first(model, self._layers)
        self._masks: dict[tuple[Any, ...], Tensor] = {}

    @torch.inference_mode()
    def logits(self, inputs: Tensor) -> Tensor:
        """Returns logits [b, draws, classes] of one batch, as the model wants it."""
        training = self._model.training
        self._model.eval()
        try:
            hidden = self._stem(inputs)
            # A copy for each draw, since a layer may change what it is given.
            draws = [self._pass(draw, hidden.clone()) for draw in range(self._draws)]
        finally:
            self._model.train(training)
        return torch.stack(draws, 1)

    def _pass(self, draw: int, hidden: Tensor) -> Tensor:
        calls = itertools.count()  # tells layers apart, and the calls of one layer

        def drop(layer: nn.Module, _: tuple[Any, ...], output: Tensor) -> Tensor:
            return output * self._mask(layer, output, draw, next(calls))

        handles = [layer.register_forward_hook(drop) for layer in self._layers]
        try:
            return self._tail(hidden)
        finally:
            for handle in handles:
                handle.remove()

    def _mask(self, layer: nn.Module, output: Tensor, draw: int, call: int) -> Tensor:
        """Returns the factors [...] of one row's values: 0, or what keeps their mean."""
        shape = tuple(output.shape[1:])
        if isinstance(layer, _WHOLE_CHANNELS):
            shape = shape[:1] + (1,) * len(shape[1:])
        p: float = layer.p  # type: ignore[assignment]
        key = draw, call, shape
        if key not in self._masks:  # drawn on the CPU, so that all devices have the same
            stream = np.random.default_rng(np.random.SeedSequence(self._seed, spawn_key=key[:2]))
            kept = torch.from_numpy(stream.random(shape, dtype=np.float32) >= p)
            self._masks[key] = kept.to(output.device)
        return self._masks[key].to(output.dtype) * (1 / (1 - p) if p < 1 else 0.0)


def _around_first(
    model: nn.Module, layers: list[nn.Module]
) -> tuple[Callable[[Tensor], Tensor], Callable[[Tensor], Tensor]]:
    """Splits a model into what comes before its first dropout layer, and the rest."""
    embed = getattr(model, "embed", None)
    head: Callable[[Tensor], Tensor] | None = getattr(model, "head", None)
    if not isinstance(embed, nn.Sequential) or head is None:
        return nn.Identity(), model
    drops = [any(layer in part.modules() for layer in layers) for part in embed]
    first = drops.index(True) if any(drops) else len(drops)
    rest = embed[first:]
    return embed[:first], lambda hidden: head(rest(hidden))
