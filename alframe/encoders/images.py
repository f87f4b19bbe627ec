"""Makes a dataset's images what networks from elsewhere were trained on."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from alframe.data.dataset import Dataset
from alframe.errors import UserError


class ImageInputs:
    """Resizes images to a square, scales them to [0, 1], and standardizes each color.

    Unlike most evaluation recipes it cuts no edges off: a whole image is embedded.

    Args:
        size: Side in pixels.
        mean: Of red, green and blue in [0, 1].
        std: Their standard deviations.
        device: Of the images.
    """

    def __init__(
        self, size: int, mean: Sequence[float], std: Sequence[float], device: torch.device
    ) -> None:
        self._size = size
        self._mean = torch.tensor(mean, device=device).view(-1, 1, 1)
        self._std = torch.tensor(std, device=device).view(-1, 1, 1)

    def __call__(self, images: Tensor) -> Tensor:
        """Returns float32 [b, 3, size, size] of uint8 images [b, h, w, c]."""
        pixels = images.permute(0, 3, 1, 2).float() / 255
        if pixels.shape[1] == 1:
            pixels = pixels.expand(-1, 3, -1, -1)
        if pixels.shape[-2:] != (self._size, self._size):
            side = (self._size, self._size)
            pixels = nn.functional.interpolate(
                pixels, side, mode="bilinear", align_corners=False, antialias=True
            )
        return (pixels - self._mean) / self._std


def check_images(data: Dataset, encoder: str) -> None:
    """Raises `UserError` unless the rows are gray or color images."""
    if data.kind != "images" or data.input_shape[-1] not in (1, 3):
        raise UserError(
            f"encoder={encoder}: expected gray or color images, got rows of shape "
            f"{data.input_shape}; use encoder=raw, or change data"
        )
