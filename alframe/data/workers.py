"""Batches made row by row in worker processes, for inputs that do not fit on the device."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from functools import cached_property
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.utils.data import DataLoader
from torch.utils.data import Dataset as Samples
from torchvision.transforms.v2 import functional as transforms

from alframe.data.augment import Draws
from alframe.data.batches import Loader
from alframe.protocols import Array


class Order(NamedTuple):
    """What a worker is to make: a row, where its crop begins, and whether it is mirrored."""

    row: int
    top: int = 0
    left: int = 0
    flip: bool = False


class Made(Samples[Tensor]):
    """Makes single rows as ordered: the draws come with the order, so that any worker may do it."""

    def __init__(self, inputs: Array, crop: int) -> None:
        self._inputs = inputs
        self._crop = crop

    def __getitem__(self, order: Order) -> Tensor:
        """Returns an image [h, w, c], cropped and flipped, or features [d]."""
        inputs = torch.from_numpy(self._inputs[order.row])
        if inputs.ndim == 1:
            return inputs
        height, width, _ = inputs.shape
        image = inputs.permute(2, 0, 1)
        if self._crop:
            image = transforms.pad(image, [self._crop] * 4)
            image = transforms.crop(image, order.top, order.left, height, width)
        if order.flip:
            image = transforms.horizontal_flip(image)
        return image.permute(1, 2, 0)


class Orders:
    """Hands the orders of an epoch, batch by batch, to torch's loader, which outlives epochs."""

    def __init__(self) -> None:
        self.batches: Iterable[list[Order]] = ()

    def __iter__(self) -> Iterator[list[Order]]:
        return iter(self.batches)


class WorkerLoader(Loader):
    """A `Loader` of torchvision's transforms in processes that live until `close`.

    They crop and flip single rows; whole batches are normalized, cut out and mixed on the device.
    The batches are those of `DeviceLoader`, bit for bit, whatever the number of workers. One
    iteration at a time: another ends it.
    """

    def _raw(self, order: Tensor, draws: Draws, parts: Sequence[range]) -> Iterator[Tensor]:
        self._orders.batches = (self._ordered(order, draws, places) for places in parts)
        for inputs in self._feed:
            yield inputs.to(self._device, non_blocking=True)

    def _ordered(self, order: Tensor, draws: Draws, places: range) -> list[Order]:
        rows = self._view.rows[order[places.start : places.stop].numpy()].tolist()
        own = draws.part(places.start, places.stop)
        none = [0] * len(places)
        tops, lefts = (none, none) if own.crops is None else own.crops.tolist()
        flips = none if own.flips is None else own.flips.tolist()
        return [Order(*each) for each in zip(rows, tops, lefts, flips, strict=True)]

    @cached_property
    def _orders(self) -> Orders:
        return Orders()

    @cached_property
    def _feed(self) -> DataLoader[Any]:
        workers = self._data.loading.processes
        return DataLoader(
            Made(self._data.inputs, self._how.crop),
            batch_sampler=self._orders,
            num_workers=workers,
            pin_memory=self._device.type == "cuda",
            persistent_workers=workers > 0,
            generator=torch.Generator(),  # else it would draw from the global one
        )

    def close(self) -> None:
        """Ends the worker processes; iterating again would start others."""
        iterator = self._feed._iterator
        if iterator is not None:
            iterator._shutdown_workers()  # type: ignore[attr-defined]
            self._feed._iterator = None
