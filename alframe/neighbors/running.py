"""The best rows of a block of queries so far, while chunks of rows pass by."""

from __future__ import annotations

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
        self._cut = self._left.new_full((m,), -torch.inf)
        self._waiting: list[tuple[Tensor, ...]] = []  # what `_add` takes, of several chunks
        self._count = 0

    def see(self, right: Tensor, slack: Tensor, first: int) -> None:
        """Lets rows first, first + 1, ... pass by, given by `Levels.right`."""
        levels = self._left @ right.T
        groups = -(-len(right) // _GROUP)
        if groups * _GROUP != len(right):
            levels = torch.nn.functional.pad(
                levels, (0, groups * _GROUP - len(right)), value=-torch.inf
            )
        levels = levels.view(len(levels), groups, _GROUP)
        best = levels.amax(dim=2)
        if self._rows.shape[1] < self._k <= groups:
            self._raise_cut(levels, best, slack)
        # where -inf is the cut, -inf levels are none all the same
        cut = self._cut.clamp(min=torch.finfo(torch.float32).min)
        mine, group = (best >= cut[:, None]).nonzero(as_tuple=True)
        kept = levels.flatten(0, 1).index_select(0, mine * groups + group)
        hit, place = (kept >= cut[mine, None]).nonzero(as_tuple=True)
        if not len(hit):
            return
        mine, at = mine[hit], group[hit] * _GROUP + place
        found = kept[hit, place]
        self._waiting.append((mine, found, found - 2 * slack[at], first + at))
        self._count += len(mine)
        # A cut that is raised after each chunk would spare little, and cost more than that.
        if 2 * self._count >= self._k * len(self._left):
            self._add_waiting()

    def finish(self) -> None:
        """Decides: ``found`` are the values [m, k], float64, and the rows [m, k]."""
        self._add_waiting()
        values, rows, _ = decide(self._queries, self._rows, self._fetch, self._metric, self._k)
        self.found = values, rows

    def _raise_cut(self, levels: Tensor, best: Tensor, slack: Tensor) -> None:
        """Finds a first cut: the best row of each of ``k`` groups is surely above it."""
        top, groups = best.topk(self._k, dim=1)
        at = levels.take_along_dim(groups[:, :, None], dim=1).argmax(dim=2) + groups * _GROUP
        lowest = (top - 2 * slack[at.clamp(max=len(slack) - 1)]).amin(dim=1)
        self._cut = torch.maximum(self._cut, self._below(lowest))

    def _below(self, lowest: Tensor) -> Tensor:
        """Returns the levels below which nothing matters, where k rows are surely at ``lowest``."""
        cut = lowest.double() - 2 * self._error.double()
        return torch.nextafter(cut.float(), cut.new_tensor(-torch.inf, dtype=torch.float32))

    def _add_waiting(self) -> None:
        if self._waiting:
            mine, *others = (torch.cat(parts) for parts in zip(*self._waiting, strict=True))
            order = mine.argsort(stable=True)
            self._waiting, self._count = [], 0
            self._add(mine[order], *(part[order] for part in others))

    def _add(self, mine: Tensor, levels: Tensor, lowest: Tensor, rows: Tensor) -> None:
        """Adds pairs of query (ascending), level, lowest level and row."""
        m = len(self._queries)
        counts = torch.bincount(mine, minlength=m)
        places = torch.arange(len(mine), device=mine.device) - (counts.cumsum(0) - counts)[mine]
        shape = (m, int(counts.max()))

        def beside(kept: Tensor, new: Tensor, nothing: float) -> Tensor:
            dense = kept.new_full(shape, nothing)
            dense[mine, places] = new
            return torch.cat([kept, dense], dim=1)

        self._levels = beside(self._levels, levels, -torch.inf)
        self._lowest = beside(self._lowest, lowest, -torch.inf)
        self._rows = beside(self._rows, rows, -1)
        self._compact()

    def _compact(self) -> None:
        """Leaves out what cannot be among the best any more."""
        if self._rows.shape[1] < self._k:
            return
        kth = self._lowest.topk(self._k, dim=1, sorted=False).values.amin(dim=1)
        self._cut = torch.maximum(self._cut, self._below(kth))
        width = max(self._k, int((self._levels >= self._cut[:, None]).sum(dim=1).max()))
        if width > 4 * self._k + 256:  # many rows that float32 cannot tell apart
            _, _, places = decide(self._queries, self._rows, self._fetch, self._metric, self._k)
        else:
            places = self._levels.topk(width, dim=1, sorted=False).indices
        self._levels = self._levels.gather(1, places)
        self._lowest = self._lowest.gather(1, places)
        self._rows = self._rows.gather(1, places)
