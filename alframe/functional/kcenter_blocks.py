"""Greedy k-center by blocks: the picks of one pass over all points for each pick, far sooner.

A distance to the nearest center only falls, so what it was some centers ago is an upper bound. The
points with the largest bounds are brought up to date, and greedy goes on among them alone for as
long as its pick beats every bound outside. The other points stay behind until their turn comes;
many never catch up. Points of one block catch up with all new centers in one matrix product.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch

from alframe.functional.distance_filter import Filtered
from alframe.functional.distances import Distances
from alframe.functional.passes import Crew, on_host

Rows = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]

_PICKED = -1.0  # below every squared distance, so that a picked point is never picked again
_BLOCK = 512  # points among which greedy runs
_LEVEL = 12  # all points to the points of the level between, where blocks are taken from
# Points and centers of one matrix product: 8 MB of float32 on a CPU. With more centers at once,
# more work is wasted on points that fall below the floor on the way.
_TILE = (4096, 512)
_TILE_ELSEWHERE = (16384, 2048)
_ALONE = 2**17  # pairs of a point and a center for which a thread is worth its while


class Floor(NamedTuple):
    """The best key outside, and the lowest row that has it: what a pick must beat."""

    key: float
    row: int

    def beaten(self, keys: Floats, rows: Rows | None) -> Rows:
        """Returns where keys of rows beat it: ties go to the lowest row."""
        over = keys > self.key
        if rows is not None and self.row >= 0:
            over |= (keys == self.key) & (rows < self.row)
        return np.flatnonzero(over)


class Cover:
    """Points with their centers so far; ``run`` picks more.

    The points may be on any device; what is kept for each of them is on the host.

    Args:
        space: Distances among the points.
        centers: Rows [c] that are centers already, at least one.
        size: How many more to pick.
        weights: Squared weights [n], or None for ones. A point's key is its squared weight times
            its squared distance to the nearest center, and the largest key is picked.
        crew: Threads that bring points up to date side by side.

    Attributes:
        chosen: Rows of all centers [c + size], in pick order.
        keys: Key of each before it became a center [c + size]; 0 for the first c.
    """

    def __init__(
        self, space: Distances, centers: Rows, size: int, weights: Floats | None, crew: Crew
    ) -> None:
        self._space, self._weights, self._count = space, weights, len(centers)
        self._crew = crew
        self._tile = _TILE if on_host(space.points) else _TILE_ELSEWHERE
        self.chosen: Rows = np.concatenate([centers, np.zeros(size, np.int64)])
        self.keys = np.zeros(len(self.chosen))
        first = space.exact(centers[:1])[0]
        # of each row: squared distance to the nearest of the first _seen[row] centers
        self._nearest: Floats = space.to_one(first, space.scale).numpy(force=True)
        self._seen = np.ones(len(self._nearest), np.int64)
        if weights is None:
            self._nearest[self._copies()] = 0.0
        self._mark(centers)

    def run(self) -> None:
        """Picks until ``chosen`` is full."""
        between = len(self._nearest) // _LEVEL
        sizes = [between, _BLOCK] if between > 2 * _BLOCK else [_BLOCK]
        self._descend(None, sizes, Floor(0.0, -1))
        rest = len(self.chosen) - self._count  # all keys are 0: the lowest rows are next
        self.chosen[self._count :] = np.flatnonzero(self._nearest != _PICKED)[:rest]

    def _descend(self, rows: Rows | None, sizes: list[int], floor: Floor) -> None:
        """Picks among some rows, or all, for as long as picks beat the floor.

        Args:
            rows: Ascending.
            sizes: How many of them the next level looks at, how many of those the one after, ...
            floor: Nothing outside these rows beats it.
        """
        while self._count < len(self.chosen):
            inside, cut = self._top(rows, sizes[0], floor)
            if not len(inside):
                return
            self._catch_up(inside, cut)
            if sizes[1:]:
                self._descend(inside, sizes[1:], cut)
            else:
                self._greedy(inside, cut)

    def _top(self, rows: Rows | None, size: int, floor: Floor) -> tuple[Rows, Floor]:
        """Returns the rows with the largest keys that beat the floor, and what these must beat."""
        keys = self._keys(slice(None) if rows is None else rows)
        over = floor.beaten(keys, rows)
        keys, rows = keys[over], over if rows is None else rows[over]
        if len(rows) <= size:
            return rows, floor
        cut = np.partition(keys, len(keys) - size - 1)[len(keys) - size - 1]
        inside = keys > cut
        tied = np.flatnonzero(keys == cut)
        room = size - np.count_nonzero(inside)
        inside[tied[:room]] = True
        return rows[inside], Floor(float(cut), int(rows[tied[room]]))

    def _catch_up(self, rows: Rows, floor: Floor) -> None:
        """Brings rows up to date, except those that fall below the floor on the way."""
        seen = self._seen[rows]
        order = np.argsort(seen, kind="stable")
        late = rows[order[: np.searchsorted(seen[order], self._count)]]
        pairs = len(late) * (self._count - seen.min(initial=self._count))
        hands = max(1, min(self._crew.size, pairs // _ALONE))
        parts = -(-len(late) // (hands * self._tile[0])) * hands
        shares = [late[i::parts] for i in range(parts)]
        done = self._crew.each(lambda share: self._catch_up_part(share, floor), shares)
        self._space.adapt(sum(pairs for pairs, _ in done), coarse=any(flag for _, flag in done))

    def _catch_up_part(self, rows: Rows, floor: Floor) -> tuple[int, bool]:
        """Does so for some rows; returns the pairs looked at, and if too many were computed."""
        pairs, coarse = 0, False
        seen = self._seen[rows]  # ascending
        filtered = self._space.filtered(rows)
        while len(rows) and seen[0] < self._count:
            centers = self.chosen[seen[0] : min(seen[0] + self._tile[1], self._count)]
            stop = seen[0] + len(centers)
            late = np.searchsorted(seen, stop)
            part = rows[:late]
            nearest = self._nearest[part]
            some = Filtered(*(values[:late] for values in filtered))
            coarse |= self._space.lower(nearest, part, some, centers)
            pairs += len(part) * len(centers)
            self._nearest[part] = nearest
            self._seen[part] = seen[:late] = stop
            alive = floor.beaten(self._keys(rows), rows)
            if stop < self._count and len(alive) < len(rows):
                rows, seen = rows[alive], seen[alive]
                keep = torch.from_numpy(alive).to(filtered.values.device)
                filtered = Filtered(*(values.index_select(0, keep) for values in filtered))
        return pairs, coarse

    def _greedy(self, rows: Rows, floor: Floor) -> None:
        """Picks among rows, all of them up to date unless they do not beat the floor."""
        rows = rows[floor.beaten(self._keys(rows), rows)]
        if not len(rows):
            return
        nearest = self._nearest[rows]
        distances = self._space.between(rows, nearest)
        weights = None if self._weights is None else self._weights[rows]
        keys = nearest if weights is None else nearest * weights
        picks: list[int] = []
        found: list[float] = []
        for _ in range(len(self.chosen) - self._count):
            i = int(keys.argmax())  # the first of equals
            key = float(keys[i])
            if key < floor.key or (key == floor.key and rows[i] > floor.row):
                break
            picks.append(i)
            found.append(key)
            np.minimum(nearest, distances(i), out=nearest)
            nearest[i] = _PICKED
            if weights is not None:
                weights[i] = 1.0
                np.multiply(nearest, weights, out=keys)
        end = self._count + len(picks)
        self.chosen[self._count : end] = rows[picks]
        self.keys[self._count : end] = found
        self._count = end
        self._nearest[rows] = nearest
        self._seen[rows] = end
        self._mark(rows[picks])

    def _mark(self, rows: Rows) -> None:
        """Marks rows as centers, which are never picked again."""
        self._nearest[rows] = _PICKED
        if self._weights is not None:
            self._weights[rows] = 1.0

    def _keys(self, rows: Rows | slice) -> Floats:
        nearest = self._nearest[rows]
        return nearest if self._weights is None else nearest * self._weights[rows]

    def _copies(self) -> Rows:
        """Returns rows that equal a lower row, most of them: nothing is left to cover there.

        Equal points have equal distances to the first center, so they are found side by side.
        """
        order = np.argsort(self._nearest, kind="stable")
        distances = self._nearest[order]
        tied = np.flatnonzero(distances[1:] == distances[:-1])
        step = self._tile[0]
        parts = [tied[i : i + step] for i in range(0, len(tied), step)]
        same = [part[self._space.equal(order[part], order[part + 1])] for part in parts]
        return order[np.concatenate(same) + 1] if same else order[:0]
