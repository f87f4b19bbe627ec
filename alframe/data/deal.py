"""Deals the rows of each batch to the processes that train together."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from alframe.world import World


@dataclass(frozen=True)
class Deal:
    """What of an epoch one process trains on.

    Attributes:
        places: int64 [n], in the epoch's order, batch after batch; with mixup each batch begins
            with the place before its own, which is mixed into the first of them.
        steps: Of each batch the range in ``places``.
        extra: 1 with mixup, else 0.
        shares: Of each batch the part, in [0, 1], that these rows are.
    """

    places: Tensor
    steps: list[range]
    extra: int
    shares: dict[int, float]

    def own(self, step: range) -> range:
        """Returns the range of the rows to train on."""
        return range(step.start + self.extra, step.stop)

    def share(self, step: range) -> float:
        """Returns the part of the batch that these rows are."""
        return self.shares[step.start]


def dealt(steps: Sequence[range], world: World, *, mixed: bool) -> Deal | None:
    """Deals each batch in parts that follow each other and differ by one row at most.

    A process that nothing is left for, in a batch smaller than the number of processes, gets one of
    its rows that counts for nothing (but for the statistics of batch normalization).

    Args:
        steps: The places of each batch.
        world: The processes; None is returned where this is the only one.
        mixed: Whether each row is mixed with the one before, and the first with the last.
    """
    if world.size == 1:
        return None
    places: list[int] = []
    ranges, shares = list[range](), dict[int, float]()
    for step in steps:
        first, last = (step.start + len(step) * r // world.size for r in _ends(world))
        share = (last - first) / len(step)
        first = min(first, step.stop - 1)
        before = [first - 1 if first > step.start else step.stop - 1] if mixed else []
        shares[len(places)] = share
        start = len(places)
        places += [*before, *range(first, max(last, first + 1))]
        ranges.append(range(start, len(places)))
    return Deal(torch.tensor(places), ranges, int(mixed), shares)


def _ends(world: World) -> tuple[int, int]:
    return world.rank, world.rank + 1
