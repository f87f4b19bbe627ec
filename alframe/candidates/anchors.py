"""AnchorAL: the unlabeled rows that are most similar to a few labeled rows of each class."""

from __future__ import annotations

import numpy as np

from alframe.candidates.near import (
    check_options,
    completed,
    filled,
    looked_for,
    no_labeled_rows,
    too_few,
)
from alframe.errors import UserError
from alframe.functional.kmeans import kmeans_pp
from alframe.neighbors.protocol import Neighbors
from alframe.options import check_whole
from alframe.pool import Pool
from alframe.protocols import Array, Rows

CHOICES = ("kmeans_pp", "random")


class Anchors:
    """Looks at the ``size`` unlabeled rows that are most similar to anchors of the classes.

    In each round and for each class, some of its labeled rows are drawn as anchors. The ``k``
    nearest unlabeled rows of each anchor are found; a row's score is the mean of its cosine
    similarities to those anchors that found it; the rows of the highest scores are the candidates,
    of equal scores the lowest rows.

    Args:
        neighbors: Finds the rows, by embeddings of a frozen encoder: these need not be those that
            the strategy sees, which are the selector's.
        anchors: Of each class, at most.
        k: Unlabeled neighbors of each anchor.
        size: How many rows there are at most; not fewer than are asked for.
        choose: How anchors are drawn: ``kmeans_pp``, far from each other, or ``random``.
        when_short: What is done where the neighbors are fewer than the rows that are asked for:
            ``random`` adds random unlabeled rows up to that number, ``widen`` doubles k for this
            round until they are enough, ``refuse`` ends the run.

    Raises:
        UserError: For other options.

    **Source:** P. Lesci & A. Vlachos, *AnchorAL: Computationally Efficient Active Learning for
    Large and Imbalanced Datasets*, NAACL 2024, arXiv:2404.05623. **Deviations:** neighbors are the
    nearest by the index's own metric, and only their scores are of the cosine; labeled rows whose
    embedding is absent are no anchors; what is done where neighbors are too few is ours.
    """

    def __init__(
        self,
        neighbors: Neighbors,
        anchors: int = 10,
        k: int = 50,
        size: int = 1000,
        choose: str = "kmeans_pp",
        when_short: str = "random",
    ) -> None:
        check_options(neighbors, k, when_short)
        check_whole("candidates.anchors", anchors, at_least=1)
        check_whole("candidates.size", size, at_least=1)
        if choose not in CHOICES:
            raise UserError(f"candidates.choose={choose}: expected one of {', '.join(CHOICES)}")
        self.neighbors = neighbors
        self._anchors, self._k, self._size = anchors, k, size
        self._choose, self._when_short = choose, when_short

    def at_least(self, unlabeled: int) -> int:
        """See `alframe.protocols.Candidates.at_least`."""
        return min(self._size, unlabeled)  # however few neighbors there are

    def at_most(self, unlabeled: int, labeled: int) -> int:  # noqa: ARG002
        """See `alframe.protocols.Candidates.at_most`."""
        return min(self._size, unlabeled)

    def rows(self, pool: Pool, size: int, rng: np.random.Generator) -> Rows:
        """See `alframe.protocols.Candidates.rows`."""
        if not len(pool.labeled):
            raise no_labeled_rows("anchors")
        anchors, k = self._drawn(pool, rng), self._k
        most = max(self._size, size)
        found = self._most_similar(anchors, k, most, pool)
        if len(found) >= size:
            return found
        if self._when_short == "random":
            return filled(found, size, pool, rng)
        if self._when_short == "refuse":
            raise too_few(found, size, k)
        while len(found) < size and k < self.neighbors.num_rows - 1 and len(anchors):
            k = min(2 * k, self.neighbors.num_rows - 1)
            more = self._most_similar(anchors, k, most, pool)
            found = more if len(more) > len(found) else found
        return found if len(found) >= size else completed(found, size, pool)

    def _drawn(self, pool: Pool, rng: np.random.Generator) -> Rows:
        """Returns the anchors of all classes, class by class, in the order of drawing."""
        labeled = pool.labeled
        labeled = labeled[np.isfinite(self.neighbors.points(labeled)).all(axis=1)]
        labels = pool.labels(labeled)
        drawn = [np.empty(0, np.int64)]
        for label in np.unique(labels):
            members = labeled[labels == label]
            count = min(self._anchors, len(members))
            if self._choose == "random":
                drawn.append(rng.choice(members, count, replace=False))
            else:
                drawn.append(members[kmeans_pp(self.neighbors.points(members), count, rng)])
        return np.concatenate(drawn)

    def _most_similar(self, anchors: Rows, k: int, most: int, pool: Pool) -> Rows:
        """Returns the rows near anchors, at most so many: those that are most similar to them."""
        lists = self._nearest_unlabeled(anchors, k, pool)
        line, column = np.nonzero(lists >= 0)
        rows, position = np.unique(lists[line, column], return_inverse=True)
        points, directions = (_directions(self.neighbors.points(part)) for part in (rows, anchors))
        sums, counts = np.zeros(len(rows)), np.bincount(position, minlength=len(rows))
        for anchor, direction in enumerate(directions):
            near = position[line == anchor]
            sums[near] += points[near] @ direction
        order = np.argsort(-sums / np.maximum(counts, 1), kind="stable")
        return np.sort(rows[order[:most]])

    def _nearest_unlabeled(self, anchors: Rows, k: int, pool: Pool) -> Rows:
        """Returns the k nearest unlabeled rows of each anchor [m, k], -1 where there are fewer."""
        others = self.neighbors.num_rows - 1
        k = min(k, others, len(pool.unlabeled))
        found = np.full((len(anchors), k), -1, dtype=np.int64)
        wanted, reach = np.arange(len(anchors)), k
        while len(wanted) and k:  # those whose nearest rows are labeled already look further
            lists = looked_for(self.neighbors, anchors[wanted], reach, self._k)
            if lists is None:
                break
            good = (lists >= 0) & pool.is_unlabeled(np.maximum(lists, 0))
            rank = good.cumsum(axis=1)
            line, column = np.nonzero(good & (rank <= k))
            found[wanted[line], rank[line, column] - 1] = lists[line, column]
            if reach == others:
                break
            wanted, reach = wanted[rank[:, -1] < k], min(2 * reach, others)
        return found


def _directions(points: Array) -> Array:
    """Returns points, float64 [m, d], scaled to length 1; zero rows stay zero."""
    exact = points.astype(np.float64)
    lengths = np.linalg.norm(exact, axis=1, keepdims=True)
    directions: Array = exact / np.where(lengths > 0, lengths, 1.0)
    return directions
