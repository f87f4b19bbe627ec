"""Optimizer steps as CUDA graphs: one launch for each, where there were hundreds."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor

from alframe.data.batches import Batch

WARM_UP = 3
"""Steps that run as they are before they are captured, as PyTorch's notes on CUDA graphs ask."""


class Graphs:
    """Runs a step on batches, and from the fourth batch of a size on replays it as a CUDA graph.

    Every call is one step, the first ones and the captured one too. Batches of one size must have
    the same fields set; the step, too, must be the same one, and what it keeps (weights, sums) must
    stay where it is. It is given with each call and not held: who holds this is who makes it.

    **Source:** https://docs.pytorch.org/docs/stable/notes/cuda.html#whole-network-capture
    """

    def __init__(self) -> None:
        self._seen: Counter[int] = Counter()
        self._captured: dict[int, tuple[Batch, torch.cuda.CUDAGraph]] = {}
        self._stream = torch.cuda.Stream()  # type: ignore[no-untyped-call]
        self._pool = torch.cuda.graph_pool_handle()

    def __call__(self, step: Callable[[Batch], None], batch: Batch) -> None:
        """Runs one step.

        Args:
            step: Trains on a batch without looking at a value on the host.
            batch: On the device.
        """
        size = len(batch.labels)
        if size not in self._captured:
            self._seen[size] += 1
            if self._seen[size] <= WARM_UP:
                self._aside(step, batch)
                return
            self._captured[size] = self._capture(step, batch)
        static, graph = self._captured[size]
        for to, from_ in zip(tensors(static), tensors(batch), strict=True):
            to.copy_(from_)
        graph.replay()

    def _aside(self, step: Callable[[Batch], None], batch: Batch) -> None:
        """Runs a step as it is, on a stream of its own, as the captured one will be."""
        here = torch.cuda.current_stream()
        self._stream.wait_stream(here)
        with torch.cuda.stream(self._stream):
            step(batch)
        here.wait_stream(self._stream)

    def _capture(
        self, step: Callable[[Batch], None], batch: Batch
    ) -> tuple[Batch, torch.cuda.CUDAGraph]:
        """Captures a step without running it."""
        static: Batch = copied(batch)
        graph = torch.cuda.CUDAGraph()
        # Other threads, such as one that pins batches, may go on with what they do.
        with torch.cuda.graph(
            graph, pool=self._pool, stream=self._stream, capture_error_mode="thread_local"
        ):
            step(static)
        return static, graph


def copied(part: Any) -> Any:
    """Returns a copy of nested named tuples of tensors."""
    if isinstance(part, Tensor):
        return part.clone()
    return type(part)(*map(copied, part)) if isinstance(part, tuple) else part


def tensors(part: Any) -> Iterator[Tensor]:
    """Yields the tensors of nested named tuples, in their order."""
    if isinstance(part, Tensor):
        yield part
    elif isinstance(part, tuple):
        for inner in part:
            yield from tensors(inner)
