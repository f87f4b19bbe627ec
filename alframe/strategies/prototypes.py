"""Difficulty without labels: how far a row is from the nearest prototype."""

from __future__ import annotations

import math

import numpy as np

from alframe.errors import UserError
from alframe.functional.directions import cosine_to_own, unit_rows
from alframe.functional.kmeans import kmeans
from alframe.options import check_whole
from alframe.pool import Pool
from alframe.protocols import Cost, Need, Observations, PipelineName, Query, Rows, Scope, Work
from alframe.strategies.top_score import highest


class Prototypes:
    """Takes the rows that are farthest from the centroid of their cluster, or the nearest ones.

    k-means finds prototypes in the embeddings; a row's difficulty is its distance to the nearest
    one. Hard rows are those to keep where data are plenty, easy ones where they are scarce. No
    label is used. A row's score is its difficulty, or minus it where easy rows are kept.

    Needs: embeddings of candidates and labeled rows (in active learning the prototypes are those of
    both), best those of a self-supervised or another frozen encoder.
    Cost: time O(iterations (n + m) k d), memory O((n + m) d) beyond the observations (n candidates,
    m labeled, d width, k prototypes).

    Source: Sorscher et al., "Beyond neural scaling laws: beating power law scaling via data
    pruning" (NeurIPS 2022), self-supervised prototypes; arXiv:2206.14486.
    Deviations: 1. defined for active learning as well: nothing of the method needs a label. 2. The
    classes are not balanced; the class-balance wrapper does that. 3. With cosines, the clusters are
    those of k-means on embeddings of length 1, and a row's prototype is the centroid of its
    cluster.

    Args:
        keep: ``hard`` or ``easy`` rows.
        clusters: Prototypes, 1 or more, at most one a row; None = the square root of the number of
            rows.
        metric: ``cosine`` (as the paper) or ``euclidean``.
        iterations: Of Lloyd's algorithm at most, 0 or more.
    """

    needs: tuple[Need, ...] = (Need("embeddings", Scope.POOL),)
    pipelines: frozenset[PipelineName] = frozenset({"active_learning", "core_set"})
    stochastic = True
    scores_rows = True

    def __init__(
        self,
        keep: str = "hard",
        clusters: int | None = None,
        metric: str = "cosine",
        iterations: int = 25,
    ) -> None:
        if keep not in ("hard", "easy"):
            raise UserError(f"strategy.keep={keep}: expected hard or easy.")
        if metric not in ("cosine", "euclidean"):
            raise UserError(f"strategy.metric={metric}: expected cosine or euclidean.")
        if clusters is not None:
            check_whole("strategy.clusters", clusters, at_least=1)
        check_whole("strategy.iterations", iterations, at_least=0)
        self.keep, self.clusters = keep, clusters
        self.metric, self.iterations = metric, iterations

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
        points = seen.embeddings(rows)
        if self.metric == "cosine":
            points = unit_rows(points)
        k = cluster_count(self.clusters, len(rows))
        centroids, clusters, distances = kmeans(points, k, rng, self.iterations)
        if self.metric == "cosine":
            distances = 1 - cosine_to_own(points, centroids, clusters)
        difficulty = distances.cpu().numpy()[np.searchsorted(rows, candidates)]
        return highest(candidates, difficulty if self.keep == "hard" else -difficulty, size)

    def cost(self, work: Work) -> Cost:
        """See `alframe.protocols.Cost`: two copies of the embeddings, and numbers for each row."""
        k = cluster_count(self.clusters, work.rows)
        size = work.rows * (16 * work.width + 128) + 48 * k * (work.width + 2) + 2**26
        return Cost(size, (self.iterations + 3.0) * work.rows * k * work.width)


def cluster_count(clusters: int | None, rows: int) -> int:
    """Returns how many clusters to look for: the square root of the rows unless given."""
    return max(1, min(rows, math.ceil(math.sqrt(rows)) if clusters is None else clusters))
