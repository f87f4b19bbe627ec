"""A linear model's probabilities for rows of a store: their bytes are read once, and little else.

A chunk of rows is converted to float32 where the caches hold it, and multiplied there. Values lie
class by class, not row by row: a softmax over two neighbors in memory takes 25 times as long (AMD
EPYC 9004, torch 2.15, one thread).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from functools import cache
from itertools import pairwise
from typing import TypeVar

import numpy as np
import torch
from threadpoolctl import ThreadpoolController
from torch import Tensor

from alframe.functional.arrays import as_tensor
from alframe.functional.threads import each_in_its_thread
from alframe.protocols import Array, Rows
from alframe.store import Store

CHUNK_BYTES = 2**22  # of float32: less and the calls cost more than the sums (AMD EPYC 9004)
PICKED_BYTES = 2**20  # likewise of rows that are picked, which may be few: then memory is fresh
PARTS = 32  # into which rows are divided: enough for many threads, few enough for Python's calls
FEWEST, VALUES = 2**12, 2**19  # rows of a part at least; outputs at most, if those are more

ResultT = TypeVar("ResultT")


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


class _Reader:
    """Makes logits of some rows at a time, in memory that one thread uses again and again.

    The system clears fresh memory page by page, which may cost more than what is done in it.
    """

    def __init__(self, store: Store, directions: Directions, part: int) -> None:
        self._store, self._directions = store, directions
        classes = 1 + len(directions.bias)
        chunk, few = (max(1, size // (4 * store.width)) for size in (CHUNK_BYTES, PICKED_BYTES))
        self._block = torch.empty(chunk, store.width)
        self._room = np.empty((few, store.width), store.dtype)
        self._between = np.empty((classes - 1, 2 * part), np.float32)
        self._values = np.empty(classes * part, np.float32)

    def logits(self, rows: Rows) -> Tensor:
        """Returns the logits [classes, m] of rows [m], ascending, which the next ones go over."""
        # Cut so that what is class by class stays one piece of memory.
        logits = self._values[: len(rows) * (1 + len(self._directions.bias))]
        logits = logits.reshape(-1, len(rows))
        logits[0] = 0
        scattered = int(rows[-1]) + 1 - int(rows[0]) > 2 * len(rows)
        (self._pick if scattered else self._read)(rows, logits[1:])
        return torch.from_numpy(logits)

    def _pick(self, rows: Rows, out: Array) -> None:
        """Looks at each row, where few of those in between are wanted."""
        for start, few in self._store.picked(rows, self._room):
            values = out[:, start : start + len(few)]
            self._directions.above(torch.from_numpy(few), self._block, values)

    def _read(self, rows: Rows, out: Array) -> None:
        """Looks at what lies between the first row and the last, too."""
        first, end = int(rows[0]), int(rows[-1]) + 1
        whole = end - first == len(rows)
        values = out if whole else self._between[:, : end - first]
        for start, chunk in self._store.chunks(end - first, range(first, end)):
            there = values[:, start - first : start - first + len(chunk)]
            self._directions.above(as_tensor(chunk), self._block, there)
        if not whole:
            places = rows - first
            for read, wanted in zip(values, out, strict=True):
                np.take(read, places, out=wanted, mode="clip")  # "raise" makes a copy


def each_stretch(
    store: Store,
    rows: Rows,
    directions: Directions,
    outputs: int,
    look: Callable[[Rows, Iterator[tuple[Rows, Tensor]]], ResultT],
) -> list[ResultT]:
    """Looks at the logits of rows in as many threads as torch has, each at rows that follow.

    Args:
        store: Holds the rows.
        rows: Ascending, distinct [n].
        directions: Of the model.
        outputs: How many values ``look`` makes of a row, which may be more than there are logits.
        look: Called in each thread with a stretch of the rows, and with what gives some of them
            [m], in their order, and their logits [classes, m], those of the first class being 0.
            They are in memory that is used again: what is kept of them must be a copy.

    Returns:
        What it made of each stretch, in the order of the rows.
    """
    # Not by the number of threads, which must not change the last bit.
    part = max(FEWEST, min(-(-len(rows) // PARTS), VALUES // outputs))
    parts = [rows[start : start + part] for start in range(0, len(rows), part)]
    threads = max(1, min(torch.get_num_threads(), len(parts)))
    ends = [len(parts) * thread // threads for thread in range(threads + 1)]

    def work(stretch: Sequence[tuple[int, int]]) -> ResultT:
        ((first, end),) = stretch
        own = parts[first:end]
        reader = _Reader(store, directions, part)
        seen = ((some, reader.logits(some)) for some in own)
        return look(rows[first * part : end * part], seen)

    with _one_thread_each(), _torch_too(threads):
        return each_in_its_thread(work, list(pairwise(ends)))


def _one_thread_each() -> AbstractContextManager[object]:
    """Keeps numpy's products to the thread that calls them: each has a processor of its own."""
    limits: AbstractContextManager[object] = _libraries().limit(limits=1, user_api="blas")
    return limits


@contextmanager
def _torch_too(threads: int) -> Iterator[None]:
    """Keeps torch's calls to one thread also where the rows are too few for several."""
    # Of several threads, the last columns of each share of a softmax are computed another way.
    before = torch.get_num_threads()
    if threads == 1:
        torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def prepare() -> None:
    """Does what takes a while once, so that no round's time holds it."""
    _libraries()


@cache
def _libraries() -> ThreadpoolController:
    return ThreadpoolController()  # looks through all that is loaded, which takes a while
