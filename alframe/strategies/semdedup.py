"""Semantic duplicates: drop the rows that are most similar to one that is kept."""

from __future__ import annotations

import numpy as np
import torch

from alframe.errors import UserError
from alframe.functional.directions import cosine_to_own, unit_rows
from alframe.functional.duplicates import earlier_similarity
from alframe.functional.kmeans import kmeans
from alframe.options import check_whole
from alframe.pool import Pool
from alframe.protocols import Cost, Need, Observations, PipelineName, Query, Rows, Scope, Work
from alframe.strategies.prototypes import cluster_count
from alframe.strategies.top_score import highest


class SemDeDup:
    """Leaves out the rows that are nearly copies of others, and keeps one of each such group.

    k-means on embeddings of length 1; the rows of a cluster are put in order, the farthest from its
    centroid first; a row is dropped where its cosine similarity to an earlier row of its cluster is
    above 1 - epsilon. Here the size is asked for, and epsilon follows from it: the rows that are
    least similar to an earlier one are kept. A row's score is the largest epsilon at which it is
    kept (2 for the first row of a cluster). No label is used.

    Needs: embeddings of candidates and labeled rows, best those of a self-supervised or another
    frozen encoder.
    Cost: time O(iterations r k d + r^2 d / k) with clusters of like sizes, memory O(r d) beyond the
    observations (r candidates and labeled rows, d width, k clusters).

    Source: Abbas et al., "SemDeDup: Data-efficient learning at web-scale through semantic
    deduplication" (2023); arXiv:2303.09540.
    Deviations: 1. epsilon is chosen by the size, ties to the lowest row; so that rows that are no
    duplicates at all are dropped, too, where the size asks for it. 2. In active learning labeled
    rows come first in their clusters: they are kept already, and copies of them come last. 3. As in
    the authors' code, similarity is to every earlier row, whether that one is kept or not.

    Args:
        keep: Which row of a group of duplicates: ``hard``, the farthest from the centroid (as the
            paper), or ``easy``, the nearest.
        clusters: 1 or more, at most one a row; None = the square root of the number of rows, at
            which clustering takes about as long as comparing.
        iterations: Of Lloyd's algorithm at most, 0 or more.
    """

    needs: tuple[Need, ...] = (Need("embeddings", Scope.POOL),)
    pipelines: frozenset[PipelineName] = frozenset({"active_learning", "core_set"})
    stochastic = True

    def __init__(
        self, keep: str = "hard", clusters: int | None = None, iterations: int = 25
    ) -> None:
        if keep not in ("hard", "easy"):
            raise UserError(f"strategy.keep={keep}: expected hard or easy.")
        if clusters is not None:
            check_whole("strategy.clusters", clusters, at_least=1)
        check_whole("strategy.iterations", iterations, at_least=0)
        self.keep, self.clusters, self.iterations = keep, clusters, iterations

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
        points = unit_rows(seen.embeddings(rows))
        k = cluster_count(self.clusters, len(rows))
        centroids, clusters, _ = kmeans(points, k, rng, self.iterations)
        closeness = cosine_to_own(points, centroids, clusters).cpu().numpy()
        unknown = ~np.isin(rows, pool.labeled)
        order = np.lexsort((closeness if self.keep == "hard" else -closeness, unknown))
        similarity = earlier_similarity(points, clusters, torch.from_numpy(order))
        epsilon = 1 - similarity.cpu().numpy()
        return highest(candidates, epsilon[np.searchsorted(rows, candidates)], size)

    def cost(self, work: Work) -> Cost:
        """See `alframe.protocols.Cost`: two copies of the embeddings, and numbers for each row."""
        k = cluster_count(self.clusters, work.rows)
        size = work.rows * (17 * work.width + 160) + 48 * k * (work.width + 2) + 2**26
        pairs = (self.iterations + 3.0) * work.rows * k + work.rows**2 / k
        return Cost(size, pairs * work.width)
