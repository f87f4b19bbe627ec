"""Diversity by clusters: the row nearest to each of k centroids."""

from __future__ import annotations

import numpy as np
import torch

from alframe.functional.kmeans import kmeans, nearest_to_centroids
from alframe.options import check_whole
from alframe.pool import Pool
from alframe.protocols import Cost, Need, Observations, PipelineName, Query, Rows, Work


class KMeans:
    """Clusters the candidates into as many clusters as rows are asked for; takes their centers.

    k-means (k-means++ seeding, then Lloyd's iterations) on the embeddings with k = size. Of each
    cluster, the largest first, the row nearest to the centroid is taken that is not taken yet. A
    row's score is the number of rows in its cluster.

    Needs: embeddings of the candidates.
    Cost: time O(iterations n k d), memory O(n + k d) beyond the observations (n candidates, d
    width, k picks).

    Source: Zhdanov, "Diverse mini-batch Active Learning" (2019); arXiv:1901.05954.
    Deviations: 1. all candidates are clustered, and all weigh the same, where the paper clusters
    the most informative ones and weighs them by how informative they are. 2. Labeled rows play no
    role, as in the paper: typiclust is the method that avoids their clusters.

    Args:
        iterations: Of Lloyd's algorithm at most, 0 or more; 25 are nearly always enough.
    """

    needs: tuple[Need, ...] = (Need("embeddings"),)
    pipelines: frozenset[PipelineName] = frozenset({"active_learning", "core_set"})
    stochastic = True

    def __init__(self, iterations: int = 25) -> None:
        check_whole("strategy.iterations", iterations, at_least=0)
        self.iterations = iterations

    def select(
        self,
        size: int,
        candidates: Rows,
        pool: Pool,  # noqa: ARG002
        seen: Observations,
        rng: np.random.Generator,
    ) -> Query:
        """See `alframe.protocols.Strategy.select`."""
        embeddings = seen.embeddings(candidates)
        centroids, clusters, _ = kmeans(embeddings, size, rng, self.iterations)
        counts = torch.bincount(clusters, minlength=size)
        largest = counts.argsort(descending=True, stable=True)
        picks = nearest_to_centroids(embeddings, centroids.index_select(0, largest))
        return Query(candidates[picks.cpu().numpy()], counts[largest].double().cpu().numpy())

    def cost(self, work: Work) -> Cost:
        """See `alframe.protocols.Cost`: some numbers for each row and centroid, and chunks."""
        passes = self.iterations + 3  # seeding, the last assignment, the nearest rows
        size = 96 * work.candidates + 48 * work.size * (work.width + 2) + 2**26
        return Cost(size, float(passes) * work.candidates * work.size * work.width)
