"""Representation: every row should have a similar one among those that are picked."""

from __future__ import annotations

from typing import Literal

import numpy as np

from alframe.errors import UserError
from alframe.functional.facility_location import facility_location_greedy
from alframe.pool import Pool
from alframe.protocols import Cost, Need, Observations, PipelineName, Query, Rows, Scope, Work


class FacilityLocation:
    """Picks the candidates that make all observed rows similar to some picked or labeled row.

    Maximizes f(S) = sum over rows i of max over j in S of s(i, j) greedily, S being the picks and
    the labeled rows: at least 1 - 1/e of the best possible. A row's score is by how much it raised
    f; scores fall.

    Needs: embeddings of candidates and labeled rows.
    Cost: time O((n + m)^2 d), a few passes over all pairs; memory O((n + m) d) beyond the
    observations, about 2 KB a row and two float32 copies (n candidates, m labeled, d width).

    Source: Wei, Iyer & Bilmes, "Submodularity in Data Subset Selection and Active Learning" (ICML
    2015), section 3; as a selection via proxy Coleman et al. (ICLR 2020), arXiv:1906.11829.
    Deviations: 1. no filtering by uncertainty before it, as the first paper does in active
    learning. 2. Greedy is exact, where some implementations look at a random part of the rows.

    Args:
        metric: ``cosine`` (negative ones count as 0), ``euclidean`` (a constant minus the
            distance), or ``sqeuclidean`` (greedy k-medoids).
    """

    needs: tuple[Need, ...] = (
        Need("embeddings", Scope.CANDIDATES),
        Need("embeddings", Scope.LABELED),
    )
    pipelines: frozenset[PipelineName] = frozenset({"active_learning", "core_set"})
    stochastic = False

    def __init__(self, metric: Literal["cosine", "euclidean", "sqeuclidean"] = "cosine") -> None:
        if metric not in ("cosine", "euclidean", "sqeuclidean"):
            raise UserError(f"strategy.metric={metric}: expected cosine, euclidean or sqeuclidean.")
        self.metric = metric

    def select(
        self,
        size: int,
        candidates: Rows,
        pool: Pool,
        seen: Observations,
        rng: np.random.Generator,  # noqa: ARG002
    ) -> Query:
        """See `alframe.protocols.Strategy.select`."""
        rows = np.union1d(candidates, pool.labeled)
        given = np.searchsorted(rows, pool.labeled)
        embeddings = seen.embeddings(rows)
        picks, gains = facility_location_greedy(embeddings, size, metric=self.metric, given=given)
        # Ties are decided within rounding, so a gain may rise by less than that.
        scores = np.minimum.accumulate(gains.cpu().numpy())
        return Query(rows[picks.cpu().numpy()], scores)

    def cost(self, work: Work) -> Cost:
        """See `alframe.protocols.Cost`."""
        memory = work.rows * (24 * work.width + 4096) + 2**26
        return Cost(memory, 4.0 * work.rows**2 * work.width)
