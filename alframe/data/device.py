"""Batches made on the device: inputs stay uint8 until the batch, no worker processes."""

from __future__ import annotations

import math
import weakref
from collections.abc import Iterator, Sequence
from functools import cached_property

import torch
from torch import Tensor

from alframe.data.augment import Augmentation, Draws, crop_and_flip
from alframe.data.batches import Batch, Loader, Mix, Preparer
from alframe.protocols import Array

__all__ = ["Augmentation", "Batch", "DeviceLoader", "Mix", "Preparer", "is_resident", "resident"]

_AT_ONCE_BYTES = 64 * 2**20
"""What the batches that a GPU makes together may take: an operation there costs its launch."""


class DeviceLoader(Loader):
    """A `Loader` that keeps the inputs on the device and makes whole batches there."""

    def _raw(self, order: Tensor, draws: Draws, parts: Sequence[range]) -> Iterator[Tensor]:
        inputs = self._inputs
        rows = torch.from_numpy(self._view.rows)[order].to(self._device)
        draws = draws.to(self._device)
        for places in parts:
            chosen = inputs.index_select(0, rows[places.start : places.stop])
            yield crop_and_flip(chosen, self._how.crop, draws.part(places.start, places.stop))

    @cached_property
    def _inputs(self) -> Tensor:
        return resident(self._data.inputs, self._device)

    @property
    def _at_once(self) -> int:
        if self._device.type == "cpu":  # whose caches want little at a time
            return 1
        values = math.prod(self._data.input_shape) * self._batch_size
        return max(1, _AT_ONCE_BYTES // (4 * values))


_residents: weakref.WeakValueDictionary[tuple[int, torch.device], Tensor] = (
    weakref.WeakValueDictionary()
)


def resident(inputs: Array, device: torch.device) -> Tensor:
    """Returns the inputs as a tensor on the device.

    On the CPU they share memory; elsewhere all who use them at a time share one copy.
    """
    if device.type == "cpu":
        return torch.from_numpy(inputs)
    there = _residents.get((id(inputs), device))
    if there is None:
        there = torch.from_numpy(inputs).to(device)
        _residents[id(inputs), device] = there
        # Another array may get the same id, once this one is gone.
        weakref.finalize(inputs, _residents.pop, (id(inputs), device), None)
    return there


def is_resident(inputs: Array, device: torch.device) -> bool:
    """Tells whether the inputs take no more memory on the device than they already do."""
    return device.type == "cpu" or (id(inputs), device) in _residents
