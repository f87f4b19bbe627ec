"""The best rows of a block of queries so far, while chunks of rows pass by."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from alframe.neighbors.decide import Fetch, decide

_GROUP = 32  # rows of which only the best level is looked at first


class Running:
    """What may still be among the best of each query: a few more rows than ``k``.

    Args:
        queries: [m, d], float32.
        left: Their factor [m, d + 1].
        error: Their errors [m].
        k: How many are wanted.
        fetch: Gives embeddings of rows.
        metric: euclidean, cosine or dot.
    """

    def __init__(
        self, queries: Tensor, factors: tuple[Tensor, Tensor], k: int, fetch: Fetch, metric: str
    ) -> None:
        self._queries, self._k, self._fetch, self._metric = queries, k, fetch, metric
        self._left, self._error = factors
        m = len(queries)
        self._levels = self._left.new_empty(m, 0)
        self._lowest = self._left.new_empty(m, 0)  # what each level may really be
        self._rows = torch.empty(m, 0, dtype=torch.int64, device=queries.device)
        self._counts = torch.zeros(m, dtype=torch.int64, device=queries.device)
        self._width = 0  # the largest of them: columns that may hold something
        self._added = 0
        self._cut = self._left.new_full((m,), -torch.inf)
        self._fresh = True

    def see(self, right: Tensor, slack: Tensor, first: int) -> None:
        """Lets rows first, first + 1, ... pass by, given by `Levels.right`."""
        levels = self._left @ right.T
        if self._fresh and len(right) >= self._k:
            # The k-th of the best of small groups is not above the k-th of all, and found sooner.
            size = max(1, 2 * len(right) // (5 * self._k))
            end = len(right) // size * size
            best = levels[:, :end].view(len(levels), -1, size).amax(dim=2)
            top, at = best.topk(self._k, dim=1, sorted=False)
            slacks = slack[:end].view(-1, size).amax(dim=1)
            self._cut = self._below((top - 2 * slacks[at]).amin(dim=1))
        self._fresh = False
        groups = -(-len(right) // _GROUP)
        if groups * _GROUP != len(right):
            levels = torch.nn.functional.pad(
                levels, (0, groups * _GROUP - len(right)), value=-torch.inf
            )
        levels = levels.view(len(levels), groups, _GROUP)
        # where -inf is the cut, -inf levels are none all the same
        cut = self._cut.clamp(min=torch.finfo(torch.float32).min)
        near = _places(levels.amax(dim=2) >= cut[:, None])
        kept, mine = levels.flatten(0, 1).index_select(0, near), near // groups
        hit = _places(kept >= cut.index_select(0, mine)[:, None])
        if not len(hit):
            return
        line = hit // _GROUP
        at = near.index_select(0, line) % groups * _GROUP + hit % _GROUP
        found = kept.view(-1).index_select(0, hit)
        lowest = found - 2 * slack.index_select(0, at)
        self._add(mine.index_select(0, line), found, lowest, first + at)
        # A cut that is raised after each chunk would spare little, and cost more than that.
        if 2 * self._added >= self._k * len(self._left):
            self._compact()

    def finish(self) -> None:
        """Decides: ``found`` are the values [m, k], float64, and the rows [m, k]."""
        self._compact()
        rows = self._rows[:, : self._width]
        values, rows, _ = decide(self._queries, rows, self._fetch, self._metric, self._k)
        self.found = values, rows

    def _below(self, lowest: Tensor) -> Tensor:
        """Returns the levels below which nothing matters, where k rows are surely at ``lowest``."""
        cut = lowest.double() - 2 * self._error.double()
        return torch.nextafter(cut.float(), cut.new_tensor(-torch.inf, dtype=torch.float32))

    def _add(self, mine: Tensor, levels: Tensor, lowest: Tensor, rows: Tensor) -> None:
        """Adds pairs of query (ascending), level, lowest level and row, behind what is there."""
        counts = torch.bincount(mine, minlength=len(self._counts))
        behind = self._counts - (counts.cumsum(0) - counts)
        self._counts += counts
        self._width = int(self._counts.max())
        self._added += len(mine)
        if self._width > self._rows.shape[1]:
            self._widen(2 * self._width)
        room = self._rows.shape[1]
        offsets = (behind + self._starts(room)).index_select(0, mine)
        places = torch.arange(len(mine), device=mine.device) + offsets
        # Several times as fast as [places] = on a CPU, and index_select as [places].
        self._levels.view(-1).scatter_(0, places, levels)
        self._lowest.view(-1).scatter_(0, places, lowest)
        self._rows.view(-1).scatter_(0, places, rows)

    def _starts(self, room: int) -> Tensor:
        return torch.arange(0, len(self._counts) * room, room, device=self._counts.device)

    def _widen(self, room: int) -> None:
        more = (0, room - self._rows.shape[1])
        self._levels, self._lowest = (
            torch.nn.functional.pad(kept, more, value=-torch.inf)
            for kept in (self._levels, self._lowest)
        )
        self._rows = torch.nn.functional.pad(self._rows, more, value=-1)

    def _compact(self) -> None:
        """Leaves out what cannot be among the best any more."""
        self._added = 0
        if self._width < self._k:
            return
        levels, lowest, rows = (
            kept[:, : self._width] for kept in (self._levels, self._lowest, self._rows)
        )
        kth = lowest.topk(self._k, dim=1, sorted=False).values.amin(dim=1)
        self._cut = torch.maximum(self._cut, self._below(kth))
        width = max(self._k, int((levels >= self._cut[:, None]).sum(dim=1).max()))
        if width > 4 * self._k + 256:  # many rows that float32 cannot tell apart
            _, _, places = decide(self._queries, rows, self._fetch, self._metric, self._k)
        else:
            places = levels.topk(width, dim=1, sorted=False).indices
        width = places.shape[1]
        for kept, nothing in ((levels, -torch.inf), (lowest, -torch.inf), (rows, -1)):
            kept[:, :width] = kept.gather(1, places)
            kept[:, width:] = nothing
        self._counts.fill_(width)
        self._width = width


def _places(mask: Tensor) -> Tensor:
    """Returns the places of what is true, all lines one after the other, ascending."""
    if mask.device.type == "cpu":
        return torch.from_numpy(np.flatnonzero(mask.numpy()))  # in a fifth of torch's time
    return mask.flatten().nonzero().flatten()
