"""What scores on class probabilities share: one pass in chunks, checked while in the cache."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from alframe.functional.arrays import ArrayT, as_tensor, like, refuse_rows
from alframe.functional.threads import each_in_its_thread

# Values in one chunk. On a CPU 2 MB of float32, and as much spare memory: below, the calls cost
# more than the sums; far above, it falls out of the cache (AMD EPYC 9004, torch 2.15). Elsewhere
# 256 MB, as each launch costs microseconds.
_CPU_CHUNK = 2**19
_DEVICE_CHUNK = 2**26
# Averages of rounded probabilities may pass 1 by a few bfloat16 roundings (2 ** -8 each).
_ABOVE_ONE = 2**-6


def as_probabilities(probs: Tensor | npt.NDArray[Any], *least: int) -> Tensor:
    """Returns the probabilities as a tensor, without a copy, refusing another shape.

    Args:
        probs: [n, classes] or [n, draws, classes], any real dtype.
        least: The fewest (draws and) classes: as many numbers as there are axes after the first.

    Raises:
        ValueError: For another number of axes, or shorter ones.
    """
    values = as_tensor(probs)
    axes = values.shape[1:]
    if len(axes) != len(least) or any(a < b for a, b in zip(axes, least, strict=True)):
        names = ("draws", "classes")[-len(least) :]
        wanted = ", ".join(f"{name} >= {fewest}" for name, fewest in zip(names, least, strict=True))
        raise ValueError(f"expected probabilities [n, {wanted}], got shape {tuple(values.shape)}")
    return values


class Chunk:
    """Some rows of probabilities.

    Attributes:
        values: [b, classes] or [b, draws, classes]; must not be written to.
        spare: Memory of the same shape and dtype; it holds whatever was left there.
    """

    # What is found is kept by hand: before Python 3.12 the lock of functools.cached_property would
    # make the threads wait for each other.

    def __init__(self, values: Tensor, spare: Tensor) -> None:
        self.values, self.spare = values, spare
        self._largest: Tensor | None = None
        self._is_positive = False  # whether all values are known to be above 0

    def largest(self) -> Tensor:
        """Returns the largest value of each row [b]."""
        if self._largest is None:
            self._largest = self.values.flatten(1).amax(dim=1)
        return self._largest

    def range(self) -> tuple[Tensor, Tensor]:
        """Returns the smallest and the largest value of all, or 0 for a smallest one above it."""
        if self._largest is not None:
            return self.values.amin(), self._largest.amax()
        if self._is_positive:  # half the time of both ends
            return self.values.new_zeros(()), self.values.amax()
        if self.values.is_cpu:  # aminmax takes 25 times as long where memory holds class by class
            return self.values.amin(), self.values.amax()
        low, high = torch.aminmax(self.values)
        return low, high

    def sums_of_p_log_p(self) -> Tensor:
        """Returns the sums of p log p over the classes, [b] or [b, draws]; 0 log 0 counts as 0."""
        if self.values.is_cpu:
            # Mostly nothing is 0, and its logarithm can be taken without a look at it before: 0,
            # what is below it and NaN make their row's sum NaN. One pass multiplies and sums.
            values, logs = self.values.numpy(), self.spare.numpy()
            with np.errstate(divide="ignore", invalid="ignore"):
                np.log(values, out=logs)
                sums = np.vecdot(values, logs)
            if np.isfinite(sums).all():
                self._is_positive = True
                return torch.from_numpy(sums)
        return p_log_p(self.values, out=self.spare).sum(dim=-1)


Score = Callable[[Chunk], Tensor]


def score_rows(
    probs: ArrayT, score: Score, *least: int, dtype: torch.dtype | None = None
) -> ArrayT:
    """Scores the rows of probabilities of any kind: see `score_chunks`.

    Args:
        probs: [n, classes] or [n, draws, classes].
        score: See `score_chunks`.
        least: See `as_probabilities`.
        dtype: What to compute in: if not given, float32, or float64 where the input is.

    Returns:
        Scores [n], float32, or float64 where the input is; on its device.
    """
    values = as_probabilities(probs, *least)
    returned = torch.float64 if values.dtype == torch.float64 else torch.float32
    return like(score_chunks(values, score, dtype or returned).to(returned), probs)


def score_chunks(values: Tensor, score: Score, dtype: torch.dtype) -> Tensor:
    """Scores the rows chunk by chunk, and refuses what cannot be probabilities.

    Chunk by chunk, because the check then finds the values in the cache: two passes over them cost
    little more than one, and nothing of the size of the input is ever made.

    Args:
        values: [n, classes] or [n, draws, classes].
        score: Returns scores [b] of a chunk of b rows.
        dtype: Of the chunks and of the scores.

    Returns:
        Scores [n].

    Raises:
        ValueError: For rows that hold NaN or values outside [0, 1].
    """
    scores = torch.empty(len(values), dtype=dtype, device=values.device)

    @torch.inference_mode()  # also in other threads
    def work(chunks: Sequence[tuple[int, Tensor]]) -> tuple[Tensor, Tensor]:
        spare: Tensor | None = None
        lows: list[Tensor] = []
        highs: list[Tensor] = []
        for start, rows in chunks:
            part = rows.to(dtype)
            # Made once: fresh memory for each chunk may cost more (page faults) than the logarithm.
            spare = torch.empty_like(part) if spare is None else spare
            chunk = Chunk(part, spare)
            scores[start : start + len(part)] = score(chunk)
            low, high = chunk.range()
            lows.append(low)
            highs.append(high)
        return torch.stack(lows).amin(), torch.stack(highs).amax()

    if len(values):
        chunks = list(_chunks(values))
        shares = each_in_its_thread(work, chunks) if values.is_cpu else [work(chunks)]
        # Looked at once, at the end, as each look makes a GPU wait. NaN fails both.
        if not all(low >= 0 and high <= 1 + _ABOVE_ONE for low, high in shares):
            _refuse(values)
    return scores


def p_log_p(probs: Tensor, out: Tensor | None = None) -> Tensor:
    """Returns p log p, elementwise, in nats; 0 log 0 counts as 0.

    Args:
        probs: In [0, 1], float32 or float64, any shape.
        out: Where to write it, of the same shape and dtype; if not given, new memory.
    """
    logs = torch.empty_like(probs) if out is None else out
    inside = torch.clamp_min(probs, torch.finfo(probs.dtype).tiny, out=logs)
    if logs.is_cpu:  # numpy's takes a third of the time of torch's (AMD EPYC 9004, one thread)
        np.log(inside.numpy(), out=logs.numpy())
    else:
        torch.log(inside, out=logs)
    return logs.mul_(probs)


def likeliest(probs: Tensor) -> Tensor:
    """Returns the position of the largest value along the last axis, the first of equals.

    Args:
        probs: Any shape with at least one class; without NaN.
    """
    if probs.is_cpu:  # vectorized, where torch's is not: 10 times as fast at 1,000 classes
        return torch.from_numpy(probs.numpy().argmax(axis=-1))
    return probs.argmax(dim=-1)


def _chunks(values: Tensor) -> Iterator[tuple[int, Tensor]]:
    """Yields (start, rows): together all rows, each chunk equally long.

    The last one overlaps the one before: a GPU sums a row in an order that depends on the number of
    rows, and equal rows must get equal scores.
    """
    limit = _CPU_CHUNK if values.is_cpu else _DEVICE_CHUNK
    step = max(1, limit // max(1, values[:1].numel()))
    for start in range(0, len(values), step):
        first = max(0, min(start, len(values) - step))
        yield first, values[first : first + step]


def _refuse(values: Tensor) -> None:
    bad = torch.zeros(len(values), dtype=torch.bool, device=values.device)
    for start, rows in _chunks(values):
        chunk = rows.double()
        valid = (chunk >= 0) & (chunk <= 1 + _ABOVE_ONE)  # NaN fails both
        bad[start : start + len(chunk)] = ~valid.flatten(1).all(dim=1)
    refuse_rows(bad, "probabilities in [0, 1] without NaN")
