"""Batches made on the device: inputs stay uint8 until the batch, no worker processes."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple, Self

import torch
from torch import Tensor

from alframe.data.dataset import Dataset
from alframe.protocols import Array, View


class Batch(NamedTuple):
    """A training batch.

    Attributes:
        inputs: float32 [b, c, h, w] (channels_last) or [b, d], normalized.
        labels: [b].
        weights: [b], of mean 1 over all rows of the view, or None.
        positions: [b], of the batch's rows in the view.
    """

    inputs: Tensor
    labels: Tensor
    weights: Tensor | None
    positions: Tensor


@dataclass(frozen=True)
class Augmentation:
    """Per-row random crop and horizontal flip of images.

    Attributes:
        crop: Pixels of black padding on each side before the crop to the original size.
        flip: Whether half of the images are mirrored.
    """

    crop: int = 0
    flip: bool = False


class Preparer:
    """Turns raw inputs (uint8 images [b, h, w, c] or features [b, d]) into model inputs."""

    def __init__(self, data: Dataset, device: torch.device) -> None:
        self._images = data.kind == "images"
        self._mean = torch.from_numpy(data.mean).to(device)
        self._scale = torch.from_numpy(data.std).to(device).reciprocal()
        self.device = device

    def __call__(self, inputs: Tensor) -> Tensor:
        """Normalizes a batch; images become a channels_last view [b, c, h, w]."""
        prepared = (inputs.float() - self._mean) * self._scale
        return prepared.permute(0, 3, 1, 2) if self._images else prepared


def augment(images: Tensor, how: Augmentation, generator: torch.Generator) -> Tensor:
    """Returns images [b, h, w, c] cropped and flipped, each in its own way.

    The draws come from a CPU generator, so that they are the same on every device.
    """
    count, height, width, _ = images.shape
    top, left = torch.randint(0, 2 * how.crop + 1, (2, count), generator=generator)
    flipped = torch.rand(count, generator=generator) < 0.5
    if how.crop:
        pad = (0, 0, how.crop, how.crop, how.crop, how.crop)
        images = torch.nn.functional.pad(images, pad)
    columns = torch.arange(width).expand(count, width)
    if how.flip:
        columns = torch.where(flipped[:, None], columns.flip(1), columns)
    columns = (columns + left[:, None]).to(images.device, non_blocking=True)
    rows = (torch.arange(height) + top[:, None]).to(images.device, non_blocking=True)
    which = torch.arange(count, device=images.device)
    return images[which[:, None, None], rows[:, :, None], columns[:, None, :]]


class DeviceLoader:
    """Iterates over the training batches of one epoch.

    Order and augmentation are a pure function of (seed, epoch, step), so that a fit can go on in
    its middle. Each row comes exactly once in an epoch.

    Args:
        data: Gives the inputs.
        view: The rows, labels and weights to train on.
        batch_size: Rows in a batch; the last one may be short, but never a single row, which
            batch normalization could not train on.
        how: Augmentation, for images.
        seed: 0 or more.
        device: Where the batches are made.
    """

    def __init__(
        self,
        data: Dataset,
        view: View,
        *,
        batch_size: int,
        how: Augmentation,
        seed: int,
        device: torch.device,
    ) -> None:
        self._inputs = resident(data.inputs, device)
        self._rows = torch.from_numpy(view.rows).to(device)
        self._labels = torch.from_numpy(view.labels).to(device)
        weights = None if view.weights is None else torch.from_numpy(view.weights).float()
        # Of mean 1 over all rows, not over a batch: a row of weight 2 counts as two rows would.
        self._weights = None if weights is None else (weights / weights.mean()).to(device)
        self._prepare = Preparer(data, device)
        self._how = how if data.kind == "images" else Augmentation()
        self._batch_size = batch_size
        self._seed = seed
        self._epoch = 0

    @property
    def sampler(self) -> Self:
        """Lightning calls ``sampler.set_epoch`` before each epoch."""
        return self

    def set_epoch(self, epoch: int) -> None:
        """Chooses the epoch that the next iteration goes over."""
        self._epoch = epoch

    def __len__(self) -> int:
        return max(1, math.ceil((len(self._rows) - 1) / self._batch_size))

    def __iter__(self) -> Iterator[Batch]:
        count = len(self._rows)
        order = torch.randperm(count, generator=self._generator(step=-1)).to(self._rows.device)
        for step in range(len(self)):
            last = step == len(self) - 1
            end = count if last else (step + 1) * self._batch_size
            yield self._batch(order[step * self._batch_size : end], step)

    def _batch(self, positions: Tensor, step: int) -> Batch:
        inputs = self._inputs[self._rows[positions]]
        if self._how.crop or self._how.flip:
            inputs = augment(inputs, self._how, self._generator(step))
        weights = None if self._weights is None else self._weights[positions]
        return Batch(self._prepare(inputs), self._labels[positions], weights, positions)

    def _generator(self, step: int) -> torch.Generator:
        generator = torch.Generator()
        # A Mersenne Twister mixes poorly from close seeds, numpy's SeedSequence does not.
        words = _mix(self._seed, self._epoch, step + 1)
        return generator.manual_seed(words)


def _mix(*words: int) -> int:
    import numpy as np

    return int(np.random.SeedSequence(words).generate_state(1, np.uint64)[0] >> np.uint64(1))


def resident(inputs: Array, device: torch.device) -> Tensor:
    """Returns the inputs as a tensor on the device; on the CPU they share memory."""
    return torch.from_numpy(inputs).to(device)
