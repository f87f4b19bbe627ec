"""Typical rows of clusters that hold no labeled row yet: for small budgets."""

from __future__ import annotations

import heapq
from collections.abc import Iterator

import numpy as np
from torch import Tensor

from alframe.functional.kmeans import kmeans
from alframe.functional.typicality import typicality
from alframe.options import check_whole
from alframe.pool import Pool
from alframe.protocols import (
    Array,
    Cost,
    Need,
    Observations,
    PipelineName,
    Query,
    Rows,
    Scope,
    Work,
)


class TypiClust:
    """Takes the most typical row of the largest cluster that holds no labeled or picked row.

    Candidates and labeled rows are clustered by k-means into as many clusters as rows will be
    labeled: min(m + k, max_clusters). Typicality is the inverse of a row's mean distance to its K
    nearest neighbors in its cluster, K = min(20, the others in it). Where all clusters are covered,
    those with the fewest labeled and picked rows are next, and the next typical row of them; those
    below ``min_cluster_size`` come after all others. No label is used.

    Needs: embeddings of candidates and labeled rows.
    Cost: time O(iterations r c d + r^2 d / c) with c clusters of like sizes, memory O(r d) beyond
    the observations (r candidates and labeled rows, d width).

    Source: Hacohen et al., "Active Learning on a Budget: Opposite Strategies Suit High and Low
    Budgets" (ICML 2022); arXiv:2202.02794; code: github.com/avihu111/TypiClust.
    Deviations: 1. the embeddings are those of the selector, the paper's are self-supervised. 2. k-
    means with full passes, where the authors' code takes mini-batches beyond 50 clusters. 3.
    Typicality is that among all rows of a cluster, computed once; their code leaves out labeled
    rows and, from a cluster's second pick on, picked ones, and takes no more neighbors than half of
    the cluster. 4. Covered clusters are taken by how many rows of them are labeled or picked by
    then; their code goes through them in turn by how many were labeled before. 5. Small clusters
    are last, where they are dropped. Without labeled rows, as in core-set selection, all clusters
    are uncovered at first.

    Args:
        neighbors: The paper's K, 1 or more.
        max_clusters: 1 or more; the paper's 500.
        min_cluster_size: Rows that a cluster must have to come before the others, 0 or more; the
            paper's 5.
        iterations: Of Lloyd's algorithm at most, 0 or more.
    """

    needs: tuple[Need, ...] = (Need("embeddings", Scope.POOL),)
    pipelines: frozenset[PipelineName] = frozenset({"active_learning", "core_set"})
    stochastic = True

    def __init__(
        self,
        neighbors: int = 20,
        max_clusters: int = 500,
        min_cluster_size: int = 5,
        iterations: int = 25,
    ) -> None:
        check_whole("strategy.neighbors", neighbors, at_least=1)
        check_whole("strategy.max_clusters", max_clusters, at_least=1)
        check_whole("strategy.min_cluster_size", min_cluster_size, at_least=0)
        check_whole("strategy.iterations", iterations, at_least=0)
        self.neighbors, self.max_clusters = neighbors, max_clusters
        self.min_cluster_size, self.iterations = min_cluster_size, iterations

    def select(
        self,
        size: int,
        candidates: Rows,
        pool: Pool,
        seen: Observations,
        rng: np.random.Generator,
    ) -> Query:
        """See `alframe.protocols.Strategy.select`."""
        rows = np.union1d(candidates, pool.labeled)
        embeddings = seen.embeddings(rows)
        k = min(len(pool.labeled) + size, self.max_clusters, len(rows))
        _, clusters, _ = kmeans(embeddings, k, rng, self.iterations)
        free = np.isin(rows, candidates)
        picks = self._picks(embeddings, clusters, free)
        return Query(rows[[next(picks) for _ in range(size)]])

    def _picks(self, embeddings: Tensor, clusters: Tensor, free: Array) -> Iterator[int]:
        """Yields all free positions, the most typical of the largest uncovered cluster first."""
        labels = clusters.cpu().numpy()
        counts = np.bincount(labels)
        open_ones = np.bincount(labels[free], minlength=len(counts))
        # (is small, covered by so many, - rows, cluster): the least is next
        heap = [
            (count < self.min_cluster_size, count - left, -count, cluster)
            for cluster, (count, left) in enumerate(
                zip(counts.tolist(), open_ones.tolist(), strict=True)
            )
            if left
        ]
        heapq.heapify(heap)
        typical: dict[int, Iterator[int]] = {}
        while heap:
            small, covered, count, cluster = heap[0]
            if cluster not in typical:
                order = self._most_typical_first(embeddings, clusters == cluster)
                typical[cluster] = iter(order[free[order]].tolist())
            position = next(typical[cluster], None)
            if position is None:
                heapq.heappop(heap)
                continue
            heapq.heapreplace(heap, (small, covered + 1, count, cluster))
            yield position

    def _most_typical_first(self, embeddings: Tensor, members: Tensor) -> Array:
        rows = members.nonzero().flatten()
        scores = typicality(embeddings.index_select(0, rows), self.neighbors)
        order = scores.argsort(descending=True, stable=True)
        positions: Array = rows[order].cpu().numpy()
        return positions

    def cost(self, work: Work) -> Cost:
        """See `alframe.protocols.Cost`: as if one cluster held all rows, in memory."""
        k = max(1, min(work.labeled + work.size, self.max_clusters, work.rows))
        for_neighbors = 24 * (work.width + 2) + 48 * self.neighbors
        size = work.rows * (8 * work.width + for_neighbors + 160) + 2**27
        pairs = (self.iterations + 2.0) * work.rows * k + 4 * work.rows**2 / k
        return Cost(size + 48 * k * (work.width + 2), pairs * work.width)
