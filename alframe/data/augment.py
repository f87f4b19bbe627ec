"""How training inputs are varied: what is drawn for each row, and what is done with whole batches.

All draws of an epoch are made at once on the host, in the epoch's order: a row's draws are a
function of (seed, epoch, its place in the order), whatever makes its batch, and wherever.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import IntEnum

import numpy as np
import torch
from torch import Tensor

from alframe.data.dataset import Dataset
from alframe.errors import UserError


@dataclass(frozen=True)
class Augmentation:
    """What is done to the rows of a batch, each in its own way.

    Attributes:
        crop: Pixels of black padding on each side before the crop to the original size.
        flip: Whether half of the images are mirrored.
        cutout: Side in pixels of a square in which an image becomes the training images' mean;
            its center is any pixel, so that it may stick out of the image; 0 for none.
        mixup: Alpha of the Beta distribution from which each row's share in its mixture with
            another row of the batch is drawn; 0 for none.

    **Source:** cutout: DeVries & Taylor, "Improved Regularization of Convolutional Neural Networks
    with Cutout", 2017, arXiv:1708.04552. Mixup: Zhang et al., "mixup: Beyond Empirical Risk
    Minimization" (ICLR 2018), arXiv:1710.09412. **Deviations:** a share for each row and not for
    each batch; of a share and what is left of 1, the row itself gets the larger part, which changes
    no mixture (either row of a pair may come first) but which row it counts for.
    """

    crop: int = 0
    flip: bool = False
    cutout: int = 0
    mixup: float = 0.0

    def check(self, data: Dataset) -> None:
        """Raises `UserError` for a cutout that the data have no room for.

        Crops and flips of what is no image are left out silently, since recipes for images are
        used for features too; a cutout is only ever asked for.
        """
        if not self.cutout:
            return
        if data.kind != "images":
            raise UserError(
                f"recipe.cutout={self.cutout}: expected 0, since the rows of data={data.name} are "
                "features, not images"
            )
        side = min(data.input_shape[:2])
        if self.cutout > side:
            raise UserError(
                f"recipe.cutout={self.cutout}: expected at most {side}, the smaller side of the "
                f"images of data={data.name}"
            )

    def of(self, data: Dataset) -> Augmentation:
        """Returns what of this can be done to the data: features are only mixed."""
        return self if data.kind == "images" else Augmentation(mixup=self.mixup)


@dataclass(frozen=True)
class Draws:
    """What is drawn for the rows of an epoch, in its order; None where nothing is.

    Attributes:
        crops: int64 [2, n], top and left of the crop in the padded image.
        flips: bool [n].
        holes: int64 [2, n], top and left of the cutout's square in the image; may be negative.
        shares: float32 [n], of the row itself in its mixture, in [0.5, 1].
    """

    crops: Tensor | None = None
    flips: Tensor | None = None
    holes: Tensor | None = None
    shares: Tensor | None = None

    def part(self, begin: int, end: int) -> Draws:
        """Returns the draws of some places."""
        return self._each(lambda draws: draws[..., begin:end])

    def at(self, places: Tensor) -> Draws:
        """Returns the draws of some places, in their order."""
        return self._each(lambda draws: draws[..., places])

    def to(self, device: torch.device) -> Draws:
        """Returns the draws on a device."""
        return self._each(lambda draws: draws.to(device))

    def _each(self, change: Callable[[Tensor], Tensor]) -> Draws:
        return Draws(**{k: None if v is None else change(v) for k, v in vars(self).items()})


class Stream(IntEnum):
    """One random stream per purpose, so that one choice leaves the draws of the others alone."""

    ORDER = 0
    CROP = 1
    FLIP = 2
    CUTOUT = 3
    MIXUP = 4


def draw(how: Augmentation, count: int, shape: tuple[int, ...], seed: int, epoch: int) -> Draws:
    """Draws what happens to the rows of an epoch.

    Args:
        how: What is drawn.
        count: Rows of the epoch.
        shape: Of a row: (h, w, c) or (d,).
        seed: Of the fit, 0 or more.
        epoch: From 0 on.
    """

    def rng(stream: Stream) -> np.random.Generator:
        return np.random.default_rng((seed, epoch, stream))

    crops = flips = holes = shares = None
    if how.crop:
        crops = torch.from_numpy(rng(Stream.CROP).integers(0, 2 * how.crop + 1, (2, count)))
    if how.flip:
        flips = torch.from_numpy(rng(Stream.FLIP).random(count) < 0.5)
    if how.cutout:
        centers = rng(Stream.CUTOUT).integers(0, np.array(shape[:2])[:, None], (2, count))
        holes = torch.from_numpy(centers - how.cutout // 2)
    if how.mixup:
        share = rng(Stream.MIXUP).beta(how.mixup, how.mixup, count).astype(np.float32)
        shares = torch.from_numpy(np.maximum(share, 1 - share))
    return Draws(crops, flips, holes, shares)


def crop_and_flip(images: Tensor, crop: int, draws: Draws) -> Tensor:
    """Returns images [b, h, w, c] cropped and mirrored as drawn; the given ones are left alone."""
    if draws.crops is not None:
        images = _cropped(images, crop, *draws.crops)
    if draws.flips is not None:
        # One of both is picked by number: `where` copies single bytes on a CPU.
        both = torch.cat([images, images.flip(2)])
        images = both.index_select(0, _numbers(images) + len(images) * draws.flips)
    return images


def _cropped(images: Tensor, crop: int, top: Tensor, left: Tensor) -> Tensor:
    count, height, width, channels = images.shape
    tall, wide = height + 2 * crop, width + 2 * crop
    padded = images.new_zeros(count, tall, wide, channels)
    padded[:, crop : crop + height, crop : crop + width] = images
    # Every line of a crop is a window in memory, and is copied in one piece: many times faster on
    # a CPU than pixel by pixel.
    line = width * channels
    windows = padded.view(-1).as_strided((padded.numel() - line + 1, line), (1, 1))
    first = (_numbers(images) * tall + top) * wide + left
    down = torch.arange(height, device=images.device) * wide
    starts = (first[:, None] + down) * channels
    return windows.index_select(0, starts.flatten()).view(images.shape)


def _numbers(images: Tensor) -> Tensor:
    return torch.arange(len(images), device=images.device)


def cut_out(inputs: Tensor, side: int, draws: Draws) -> Tensor:
    """Sets the drawn squares of normalized images [b, h, w, c] to 0, the mean, in place."""
    if draws.holes is None:
        return inputs
    ends = zip(draws.holes, inputs.shape[1:3], strict=True)
    rows, columns = (_within(first, side, size) for first, size in ends)
    hole = rows[:, :, None] & columns[:, None, :]
    return inputs.masked_fill_(hole[..., None], 0)


def _within(first: Tensor, side: int, size: int) -> Tensor:
    """Tells which of ``size`` pixels lie in ``side`` pixels from ``first`` on, [b, size]."""
    offset = torch.arange(size, device=first.device) - first[:, None]
    return (offset >= 0) & (offset < side)
