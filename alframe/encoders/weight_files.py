"""Reads the weights of a network from a file, never with code in it."""

from __future__ import annotations

import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from torch import Tensor, nn

from alframe.errors import UserError

SHIPPED = "shipped:"
HERE = Path(__file__).parent / "shipped"
WRAPPERS = ("state_dict", "model", "model_state_dict")
"""Under which training scripts keep the weights, beside other things."""
PREFIXES = ("module.", "model.", "_orig_mod.")
"""What wrappers put before every name (DataParallel, Lightning, torch.compile)."""
FAILURES = (
    RuntimeError, ValueError, OSError, EOFError, pickle.UnpicklingError, SafetensorError,
)  # fmt: skip
"""What torch and safetensors raise for files that are damaged or of another kind."""


def read_weights(file: str, key: str) -> dict[str, Tensor]:
    """Returns the tensors of a .safetensors, .pt or .pth file by name, on the host.

    Args:
        file: The file; of a .pt file only plain tensors are read (``weights_only``). ``shipped:X``
            is X.safetensors of those that come with alframe.
        key: The config key, for errors.

    Raises:
        UserError: For a file that is absent, damaged, or holds something else.
    """
    path = Path(file).expanduser()
    if str(file).startswith(SHIPPED):
        path = HERE / f"{str(file).removeprefix(SHIPPED)}.safetensors"
    if not path.is_file():
        raise UserError(f"{key}={file}: expected a file, but there is none at {path.absolute()}")
    try:
        content: Any = _read(path)
    except FAILURES as error:
        raise _not_weights(file, key, str(error).split("\n")[0]) from error
    for name in WRAPPERS:
        if isinstance(content, Mapping) and isinstance(content.get(name), Mapping):
            content = content[name]
    tensors = isinstance(content, Mapping) and all(
        isinstance(value, Tensor) for value in content.values()
    )
    if not tensors or not content:
        raise _not_weights(file, key, f"it holds {type(content).__name__}")
    return _without_prefix({str(name): tensor for name, tensor in content.items()})


def load_weights(network: nn.Module, weights: Mapping[str, Tensor], key: str, remedy: str) -> None:
    """Copies weights into a network.

    Args:
        network: To be changed.
        weights: By name, all that the network has and no more.
        key: Config key and value of the file, for errors.
        remedy: What to change, for errors.

    Raises:
        UserError: If names or shapes differ.
    """
    own = network.state_dict()
    absent = [name for name in own if name not in weights]
    unknown = [name for name in weights if name not in own]
    shapes = [
        f"{name} {list(weights[name].shape)} for {list(tensor.shape)}"
        for name, tensor in own.items()
        if name in weights and weights[name].shape != tensor.shape
    ]
    for words, names in (("lacks", absent), ("also holds", unknown), ("holds", shapes)):
        if names:
            more = f" and {len(names) - 1} more" if len(names) > 1 else ""
            raise UserError(
                f"{key} {words} {names[0]}{more}: expected the weights of "
                f"{type(network).__name__}; {remedy}"
            )
    network.load_state_dict(dict(weights))


def _read(path: Path) -> Any:
    if path.suffix.lower() == ".safetensors":
        from safetensors.torch import load_file

        return load_file(path)
    return torch.load(path, map_location="cpu", weights_only=True)


def _without_prefix(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    for prefix in PREFIXES:
        if all(name.startswith(prefix) for name in weights):
            return _without_prefix({n.removeprefix(prefix): t for n, t in weights.items()})
    return weights


def _not_weights(file: str, key: str, reason: str) -> UserError:
    return UserError(
        f"{key}={file}: expected a .safetensors, .pt or .pth file of plain tensors by name "
        f"({' '.join(reason.split())}); change {key}"
    )
