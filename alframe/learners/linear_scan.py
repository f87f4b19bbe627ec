"""A linear model's probabilities for rows of a store: their bytes are read once, and little else.

A chunk of rows is converted to float32 where the caches hold it, and multiplied there. Values lie
class by class, not row by row: a softmax over two neighbors in memory takes 25 times as long (AMD
EPYC 9004, torch 2.15, one thread).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import cache
from itertools import pairwise

import numpy as np
import torch
from threadpoolctl import ThreadpoolController
from torch import Tensor

from alframe.functional.arrays import as_tensor
from alframe.functional.threads import each_in_its_thread
from alframe.protocols import Array, Rows
from alframe.store import Store

CHUNK_BYTES = 2**21  # of float32: less and the calls cost more than the sums (AMD EPYC 9004)
PART = 2**14  # rows that a thread takes at a time: the neighbors of a few hundred fill two
GROUP_VALUES = 2**24  # class probabilities that are given away together


@dataclass(frozen=True)
class Directions:
    """How far each class lies above the first one: products with rows as they are stored.

    Attributes:
        weight: float32 [classes - 1, d].
        bias: float32 [classes - 1].
    """

    weight: Array
    bias: Array

    @classmethod
    def of(cls, weight: Array, bias: Array, mean: Array, std: Array) -> Directions:
        """Returns those of a model on standardized rows: weight [classes, d], bias [classes]."""
        scaled = (weight[1:] - weight[0]) / std
        shifted = (bias[1:] - bias[0]) - scaled @ mean.astype(np.float64)
        return cls(scaled.astype(np.float32), shifted.astype(np.float32))

    def above(self, rows: Tensor, block: Tensor, out: Array) -> None:
        """Writes the values of rows [m, d], float16 or float32, to ``out`` [classes - 1, m].

        A block [b, d], float32, is there to be written to.
        """
        single = block.numpy()
        for start in range(0, len(rows), len(block)):
            chunk = rows[start : start + len(block)]
            end = start + len(chunk)
            torch.narrow(block, 0, 0, len(chunk)).copy_(chunk)
            for weight, values in zip(self.weight, out, strict=True):
                # numpy's product takes 3/4 of the time of torch's (AMD EPYC 9004, one thread)
                np.dot(single[: len(chunk)], weight, out=values[start:end])
        out += self.bias[:, None]


def scan(
    store: Store,
    rows: Rows,
    directions: Directions,
    finish: Callable[[Tensor], Tensor],
    outputs: int,
) -> Iterator[tuple[Rows, Tensor]]:
    """Yields rows, and what is made of their logits, many rows at a time.

    Args:
        store: Holds the rows.
        rows: Ascending, distinct [n].
        directions: Of the model.
        finish: Makes values [outputs, m] of the logits [classes, m] of some rows, those of the
            first class being 0; called in threads.
        outputs: How many values a row gets.

    Yields:
        Some of the rows [m], in their order, and their values [m, outputs].
    """
    group = max(PART, GROUP_VALUES // outputs)
    for start in range(0, len(rows), group):
        some = rows[start : start + group]
        values = torch.empty(outputs, len(some))
        ends = [*range(0, len(some), PART), len(some)]

        def work(parts: Sequence[tuple[int, int]], some=some, values=values) -> None:  # type: ignore[no-untyped-def]
            block = torch.empty(max(1, CHUNK_BYTES // (4 * store.width)), store.width)
            for first, end in parts:
                logits = _logits(store, some[first:end], directions, block)
                values[:, first:end] = finish(logits)

        with _one_thread_each():
            each_in_its_thread(work, list(pairwise(ends)))
        yield some, values.T


def _one_thread_each() -> AbstractContextManager[object]:
    """Keeps numpy's products to the thread that calls them: each has a processor of its own."""
    limits: AbstractContextManager[object] = _libraries().limit(limits=1, user_api="blas")
    return limits


@cache
def _libraries() -> ThreadpoolController:
    return ThreadpoolController()  # looks through all that is loaded, which takes a while


def _logits(store: Store, rows: Rows, directions: Directions, block: Tensor) -> Tensor:
    """Returns logits [classes, m] of a few rows; a block [b, d] is there to be written to."""
    first, end = int(rows[0]), int(rows[-1]) + 1
    wanted = len(rows)
    reads_on = end - first <= 2 * wanted  # faster than picking rows
    logits = np.zeros((1 + len(directions.bias), end - first if reads_on else wanted), np.float32)
    if not reads_on:
        directions.above(as_tensor(store.take(rows, as_stored=True)), block, logits[1:])
        return torch.from_numpy(logits)
    for start, chunk in store.chunks(end - first, range(first, end)):
        part = slice(start - first, start - first + len(chunk))
        directions.above(as_tensor(chunk), block, logits[1:, part])
    seen = torch.from_numpy(logits)
    return seen if wanted == end - first else seen[:, torch.from_numpy(rows - first)]
