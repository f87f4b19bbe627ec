"""Passes over the rows of a matrix, in parts, whose results for a row depend on that row alone."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import TypeVar

import torch
from torch import Tensor

from alframe.functional.arrays import refuse_rows

# Values in one temporary: 1 MB of float64, which stays in a CPU's cache. On a shared two-core
# x86-64 host, torch 2.15, 50,000 x 64 float32: about 2 ms a pass, against 4 to 8 ms at 4 MB.
_CHUNK = 2**17

ItemT = TypeVar("ItemT")
ResultT = TypeVar("ResultT")


class Crew:
    """Threads to deal parts of the work to; without a pool, this thread does all.

    Attributes:
        size: How many there are.
    """

    def __init__(self, size: int = 1, pool: ThreadPoolExecutor | None = None) -> None:
        self.size, self._pool = size, pool

    def each(self, work: Callable[[ItemT], ResultT], items: Sequence[ItemT]) -> list[ResultT]:
        """Returns what work makes of each item, in their order. Items are dealt in turn."""
        if self._pool is None or len(items) < 2:
            return [work(item) for item in items]
        hands = [items[i :: self.size] for i in range(self.size)]
        done = list(self._pool.map(lambda hand: [work(item) for item in hand], hands))
        return [done[i % self.size][i // self.size] for i in range(len(items))]


@contextmanager
def crew(values: Tensor) -> Iterator[Crew]:
    """Gives as many threads as torch has on a CPU, in each of which torch uses no other.

    For many short calls: torch's own threads wait for each other in every call, and where others
    use the machine too, a wait costs milliseconds. (Two cores, one of them busy, k-center of 50,000
    x 64: 7 s with torch's two threads, 0.2 s with one.)

    Args:
        values: What the work looks at. Where it is not on the host, one thread does.
    """
    threads = torch.get_num_threads() if on_host(values) else 1
    if threads == 1:
        yield Crew()
        return
    torch.set_num_threads(1)  # in this thread, and in those that start until it is set back
    try:
        # a thread's matrix products go by what is set in it
        with ThreadPoolExecutor(threads, initializer=torch.set_num_threads, initargs=(1,)) as pool:
            yield Crew(threads, pool)
    finally:
        torch.set_num_threads(threads)


def on_host(values: Tensor) -> bool:
    """Whether numpy can look at values without a copy."""
    return values.device.type == "cpu"


def squared_distances(a: Tensor, b: Tensor) -> Tensor:
    """Returns squared distances [m] between points [m, d] and points [m, d] or one point [d].

    The distance of a pair does not depend on the pairs that are computed along with it.

    Args:
        a: float64, contiguous.
        b: float64, contiguous.
    """
    return row_sums((a - b).square_())


def row_sums(values: Tensor, out: Tensor | None = None) -> Tensor:
    """Returns the sums [m] of rows [m, d], each added in an order that depends on d alone.

    Args:
        values: float64, contiguous; may be overwritten.
        out: Where to put them [m], on a CPU, for m > 1.
    """
    if not on_host(values):
        return halved(values)
    if len(values) == 1:  # torch would share one long sum among threads
        return values.repeat(2, 1).sum(dim=1)[:1]
    return torch.sum(values, 1, out=out)


def halved(values: Tensor) -> Tensor:
    """Returns the sums [m] of rows [m, d]: the right half is added to the left one, and again.

    For a GPU, whose own sum takes an order that depends on the number of rows.

    Args:
        values: Overwritten.
    """
    width = values.shape[1]
    while width > 1:
        half = width // 2
        values[:, :half] += values[:, width - half : width]
        width -= half
    return values[:, :1].sum(dim=1)  # of one value or none


def chunks(points: Tensor) -> Iterator[tuple[int, Tensor]]:
    """Yields (start, rows): together all points [n, d], each part contiguous."""
    step = max(1, _CHUNK // max(1, points.shape[1]))
    for start in range(0, len(points), step):
        yield start, points[start : start + step].contiguous()


def value_ranges(points: Tensor, name: str) -> tuple[Tensor, Tensor]:
    """Returns the lowest and the highest value [d] of each feature in float64.

    Args:
        points: [n, d].
        name: What they are, for the message.

    Raises:
        ValueError: For rows with NaN or infinite values.
    """
    low = torch.full(points.shape[1:], torch.inf, dtype=torch.float64, device=points.device)
    high = -low
    for _, chunk in chunks(points):
        values = chunk if chunk.is_floating_point() else chunk.double()
        low = torch.minimum(low, values.amin(dim=0).double())  # NaN wins
        high = torch.maximum(high, values.amax(dim=0).double())
    if len(points) and not (low.isfinite() & high.isfinite()).all():
        bad = torch.cat([~chunk.isfinite().all(dim=1) for _, chunk in chunks(points)])
        refuse_rows(bad, f"{name} without NaN or infinity")
    return low, high
