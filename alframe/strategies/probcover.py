"""Coverage with balls of one radius, as many rows as possible in them: for small budgets."""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor

from alframe.errors import UserError
from alframe.functional.coverage import max_coverage_greedy, purity_radius
from alframe.functional.kmeans import kmeans
from alframe.options import check_whole, is_number
from alframe.pool import Pool
from alframe.protocols import Cost, Need, Observations, PipelineName, Query, Rows, Scope, Work


def how_many(probs: Tensor) -> Tensor:
    """Returns, for each row, how many probabilities it has: the classes are to be counted only."""
    return torch.full_like(probs[:, 0], probs.shape[1], dtype=torch.int64)


class ProbCover:
    """Picks, again and again, the candidate whose ball holds the most rows that are not covered.

    A row is covered by a labeled or picked row at a distance of at most delta. Without a given
    delta it is the largest at which a share alpha of all balls is pure: holds rows of one pseudo-
    label only, where the pseudo-labels are k-means clusters, as many as there are classes. A row's
    score is how many rows it covers newly. Where all rows are covered, those whose balls hold the
    most rows follow, with score 0.

    Needs: embeddings of candidates and labeled rows; and the number of class probabilities of a
    candidate, unless ``delta`` or ``clusters`` is given.
    Cost: time O(r^2 d), however many rows are picked, memory O(r d) beyond the observations
    (r candidates and labeled rows, d width).

    Source: Yehuda et al., "Active Learning Through a Covering Lens" (NeurIPS 2022), greedy
    algorithm and purity; arXiv:2205.11320; code: github.com/avihu111/TypiClust.
    Deviations: 1. the embeddings are those of the selector, the paper's are self-supervised. 2.
    delta is exact, where implementations try a grid, and is found anew in each round, because the
    embeddings move. 3. Ties go to the lowest row. 4. A row at a distance of just delta is covered;
    in the authors' code it is not. 5. What follows when all is covered is not in the paper. Without
    labeled rows, as in core-set selection, nothing is covered at first.

    Args:
        delta: Radius of the balls, above 0, in units of the embeddings; None = by purity.
        alpha: The share of pure balls, in (0, 1]; the paper's 0.95.
        clusters: Pseudo-labels for the rule, 1 or more; None = as many as class probabilities.
        iterations: Of Lloyd's algorithm at most, 0 or more.
    """

    pipelines: frozenset[PipelineName] = frozenset({"active_learning", "core_set"})

    def __init__(
        self,
        delta: float | None = None,
        alpha: float = 0.95,
        clusters: int | None = None,
        iterations: int = 25,
    ) -> None:
        if delta is not None and not (is_number(delta) and 0 < delta < math.inf):
            raise UserError(f"strategy.delta={delta}: expected null or a number above 0.")
        if not (is_number(alpha) and 0 < alpha <= 1):
            raise UserError(f"strategy.alpha={alpha}: expected a number above 0, at most 1.")
        if clusters is not None:
            check_whole("strategy.clusters", clusters, at_least=1)
        check_whole("strategy.iterations", iterations, at_least=0)
        self.delta, self.alpha = delta, float(alpha)
        self.clusters, self.iterations = clusters, iterations
        self.stochastic = delta is None
        self.needs: tuple[Need, ...] = (Need("embeddings", Scope.POOL),)
        if delta is None and clusters is None:
            self.needs = (*self.needs, Need("probs", reduce=how_many))

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
        radius = self.delta
        if radius is None:
            k = self.clusters or int(seen.probs(candidates)[0])
            _, labels, _ = kmeans(embeddings, min(k, len(rows)), rng, self.iterations)
            radius = purity_radius(embeddings, labels, self.alpha)
        known = np.searchsorted(rows, pool.labeled)
        picks, gains = max_coverage_greedy(embeddings, size, radius, known)
        return Query(rows[picks.cpu().numpy()], gains.double().cpu().numpy())

    def cost(self, work: Work) -> Cost:
        """See `alframe.protocols.Cost`: copies of the embeddings, and marks of 32 balls."""
        k = self.clusters or work.outputs
        size = work.rows * (32 * (work.width + 2) + 320) + 48 * k * (work.width + 2) + 2**27
        pairs = 3.0 * work.rows**2 + (self.iterations + 2.0) * work.rows * k
        return Cost(size, (pairs + 32.0 * work.size * work.rows) * work.width)
