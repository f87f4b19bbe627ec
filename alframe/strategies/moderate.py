"""Neither the easy nor the odd: rows at the median distance from the center of their class."""

from __future__ import annotations

import numpy as np

from alframe.errors import UserError
from alframe.functional.moderate import center_distances, from_the_median, members_of
from alframe.pool import Pool
from alframe.protocols import Cost, Need, Observations, PipelineName, Query, Rows, Work


class Moderate:
    """Takes the rows whose distance to the center of their class is closest to the median distance.

    Rows near the center are easy and alike, rows far from it are hard, rare or mislabeled; the
    median stands for all. The center of a class is the mean of its embeddings, M the median of the
    distances d to it, and rows come in the order of abs(d - M). Classes take turns so that each has
    its share of any number of picks: the i-th row of a class of n rows comes at (i - 1/2) / n, ties
    to the lowest label, and minus that is its score.

    Needs: embeddings of the candidates; their labels, therefore it is defined for core-sets only.
    Cost: time O(n d + n log n), memory O(n + d) beyond the observations (n candidates, width d).

    Source: Xia et al., "Moderate Coreset: A Universal Method of Data Selection for Real-world
    Data-efficient Deep Learning" (ICLR 2023).
    Deviations: 1. a median and a share for each class, where the authors' code
    (github.com/tmllab/Moderate-DS) ranks the distances of all classes together, so that compact and
    wide classes are cut unequally; ``by_label=false`` ranks them together. 2. The center is the
    mean; their code takes the median of each coordinate. 3. Closest in distance to the median,
    where their code takes as many ranks below it as above. 4. Of an even number of distances the
    lower middle one is the median.

    Args:
        by_label: Whether each class has its own median and a share in proportion to its size; else
            the distances of all classes have one median.
    """

    needs: tuple[Need, ...] = (Need("embeddings"),)
    pipelines: frozenset[PipelineName] = frozenset({"core_set"})
    stochastic = False

    def __init__(self, by_label: bool = True) -> None:
        if not isinstance(by_label, bool):
            raise UserError(f"strategy.by_label={by_label}: expected true or false.")
        self.by_label = by_label

    def select(
        self,
        size: int,
        candidates: Rows,
        pool: Pool,
        seen: Observations,
        rng: np.random.Generator,  # noqa: ARG002
    ) -> Query:
        """See `alframe.protocols.Strategy.select`."""
        embeddings = seen.embeddings(candidates)
        _, groups = np.unique(pool.labels(candidates), return_inverse=True)
        distances = center_distances(embeddings, groups).cpu().numpy()
        if not self.by_label:
            groups = np.zeros_like(groups)
        closer = np.empty(len(candidates))
        for members in members_of(groups):
            order = members[from_the_median(distances[members])]
            closer[order] = (np.arange(len(order)) + 0.5) / len(order)
        best = np.lexsort((groups, closer))[:size]
        return Query(candidates[best], -closer[best])

    def cost(self, work: Work) -> Cost:
        """See `alframe.protocols.Cost`: some 8-byte values by row, and chunks of 1 MB."""
        return Cost(96 * work.candidates + 2**23, 2.0 * work.candidates * work.width)
