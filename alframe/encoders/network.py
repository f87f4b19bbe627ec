"""An encoder that is a trained network: an embedding is what enters its last layer."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor, nn

from alframe.errors import UserError
from alframe.models.embedding import logits_and_embedding
from alframe.protocols import Array

CPU_BATCH, GPU_BATCH = 128, 1024  # rows at a time, as where models are evaluated
Prepare = Callable[[Tensor], Tensor]
"""Turns raw inputs on the device (uint8 images [b, h, w, c] or features [b, d]) into its inputs."""


class NetworkEncoder:
    """Looks at un-augmented rows with a network: in evaluation mode, without gradients, in float32.

    Args:
        name: See `alframe.encoders.protocol.Encoder`.
        network: What `alframe.models.embedding.with_embedding` returned, with its weights.
        prepare: Makes its inputs.
        numbers: All that ``prepare`` does with numbers of its own, to be part of the hash.
        device: Where it runs.
        example: Inputs of a row, to learn the width.

    Attributes:
        remedy: What to change where the network does not take such rows, for errors.

    Raises:
        UserError: If the network does not take such rows, or gives no embedding of one axis.
    """

    remedy = "change encoder or data"

    def __init__(
        self,
        name: str,
        network: nn.Module,
        prepare: Prepare,
        numbers: Iterable[ArrayLike],
        device: torch.device,
        example: Array,
    ) -> None:
        self.name = name
        self.weights_hash = hash_of(network, numbers)
        self._network = network.to(device).eval().requires_grad_(False)
        self._prepare = prepare
        self._device = device
        try:
            shape = self.embed(example).shape
        except (RuntimeError, AssertionError, ValueError, IndexError) as error:
            raise UserError(
                f"encoder: {name} does not take rows of shape {example.shape[1:]} ({error}): "
                f"expected one that fits the data; {self.remedy}"
            ) from error
        if len(shape) != 2:
            raise UserError(
                f"encoder: {name} gives embeddings of shape {shape} for one row: expected (1, "
                "width); change encoder"
            )
        self.width = int(shape[1])

    def embed(self, inputs: Array) -> Array:
        """See `alframe.encoders.protocol.Encoder.embed`."""
        with torch.inference_mode():
            raw = torch.from_numpy(np.ascontiguousarray(inputs)).to(self._device)
            _, embeddings = logits_and_embedding(self._network, self._prepare(raw))
            numbers: Array = embeddings.float().cpu().numpy()
        return numbers


def hash_of(network: nn.Module, numbers: Iterable[ArrayLike]) -> str:
    """Returns the sha256 (hex) over a network's parameters and buffers and some more arrays."""
    digest = hashlib.sha256()
    named = {name: tensor.cpu().numpy() for name, tensor in network.state_dict().items()}
    more = {f"number {index}": np.asarray(array) for index, array in enumerate(numbers)}
    for name, array in (named | more).items():
        digest.update(f"{name} {array.dtype.str} {array.shape}\n".encode())
        digest.update(np.ascontiguousarray(array).data)
    return digest.hexdigest()
