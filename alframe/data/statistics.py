"""Mean and standard deviation of inputs, by chunks, so that large arrays need no large copy."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from alframe.protocols import Array

_CHUNK_BYTES = 1 << 23


def mean_and_std(inputs: Array) -> tuple[Array, Array]:
    """Returns what standardizes inputs.

    Args:
        inputs: uint8 images [n, h, w, c] or float32 features [n, d].

    Returns:
        Mean and population standard deviation, float32, per channel (in units of 0..255) or per
        feature. Where the values are constant, or vary by less than float32 resolves, the standard
        deviation is 1, so that it can be divided by.
    """
    moments = _of_images(inputs) if inputs.dtype == np.uint8 else _of_features(inputs)
    return standardizing(*moments)


def standardizing(mean: Array, variance: Array) -> tuple[Array, Array]:
    """Returns mean and standard deviation, float32 [d], of moments in float64: `mean_and_std`."""
    std = np.sqrt(variance).astype(np.float32)
    resolution = np.finfo(np.float32)
    constant = std <= np.maximum(resolution.eps * np.abs(mean), resolution.tiny)
    return mean.astype(np.float32), np.where(constant, np.float32(1), std)


class Moments:
    """The mean and the variance of rows that pass by once, in chunks.

    Attributes:
        mean: float64 [d].

    Args:
        width: d.

    **Source:** T. Chan, G. Golub and R. LeVeque, *Algorithms for computing the sample variance*,
    The American Statistician 37(3), 1983, equation 2.1: chunks are merged by their own means, so
    that nothing cancels.
    """

    def __init__(self, width: int) -> None:
        self.mean = np.zeros(width)
        self._squares = np.zeros(width)  # of deviations from the mean
        self._count = 0

    def add(self, chunk: Array) -> None:
        """Lets rows [m, d] pass by, float16 or float32; at most some thousands at a time."""
        import torch

        from alframe.functional.arrays import as_tensor

        rows = as_tensor(chunk).float()  # ten times as fast as numpy's, for float16
        center = rows.mean(dim=0)
        deviations = rows.sub_(center) if chunk.dtype == np.float16 else rows - center
        squares = torch.linalg.vector_norm(deviations, dim=0).square().double().numpy()
        count, mean = len(chunk), center.double().numpy() + deviations.mean(dim=0).double().numpy()
        total = self._count + count
        apart = mean - self.mean
        self.mean = self.mean + apart * (count / total)
        self._squares += squares + apart**2 * (self._count * count / total)
        self._count = total

    @property
    def variance(self) -> Array:
        """Of the population, float64 [d]."""
        variance: Array = self._squares / self._count
        return variance


def _of_images(images: Array) -> tuple[Array, Array]:
    # A histogram of the 256 values is exact, and all that the moments need.
    channels = images.shape[-1]
    histogram = np.zeros((channels, 256), dtype=np.int64)
    for chunk in _chunks(images):
        for channel in range(channels):
            histogram[channel] += np.bincount(chunk[..., channel].ravel(), minlength=256)
    share = histogram / histogram.sum(axis=1, keepdims=True)
    values = np.arange(256)
    mean = share @ values
    return mean, (share * (values - mean[:, None]) ** 2).sum(axis=1)


def _of_features(features: Array) -> tuple[Array, Array]:
    mean = sum(chunk.sum(axis=0, dtype=np.float64) for chunk in _chunks(features)) / len(features)
    squares = sum(((chunk - mean) ** 2).sum(axis=0) for chunk in _chunks(features))
    return mean, squares / len(features)


def _chunks(inputs: Array) -> Iterator[Array]:
    step = max(1, _CHUNK_BYTES // inputs[0].nbytes)
    return (inputs[start : start + step] for start in range(0, len(inputs), step))
