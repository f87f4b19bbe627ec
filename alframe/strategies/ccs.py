"""Training dynamics: easy and hard rows alike, without the hardest."""

from __future__ import annotations

import numpy as np

from alframe.errors import UserError
from alframe.functional.strata import coverage_centric
from alframe.options import check_range, check_whole
from alframe.pool import Pool
from alframe.protocols import Cost, Observations, PipelineName, Query, Rows, Strategy, Work
from alframe.strategies.scored import check_scores, scores_of, scoring_cost


class CCS:
    """Drops the hardest rows, and draws the others evenly from all degrees of difficulty.

    Coverage-centric core-set selection. Every candidate is scored by another strategy, higher =
    harder. The share beta of highest score is dropped, as these rows are often mislabeled. The
    range of the scores that are left is cut into k strata of equal width, and the budget is
    spread evenly over the strata, from the one with the fewest rows up: a stratum that has fewer
    rows than its share gives all, and what it lacks goes to the others. Within a stratum the rows
    are drawn at random.

    Needs: those of the scoring strategy.
    Cost: those of the scoring strategy for all n candidates; besides time O(n log n + k n), memory
    O(n).

    Source: Zheng, Liu, Lai & Prakash, "Coverage-centric Coreset Selection for High Pruning Rates"
    (ICLR 2023), algorithm 1; arXiv:2210.15809.
    Deviations: 1. beta is dropped in part where the size leaves fewer rows to drop. 2. An infinite
    score (a row that forgetting never saw learned) counts as the highest finite one when the
    strata are cut. 3. Picks come in random order and without scores, since no row of a draw is
    better than another.

    Args:
        score: The strategy whose scores say how hard a row is, higher = harder (``keep: hard``);
            the paper's default is AUM.
        beta: Share of the candidates to drop, in [0, 1). A hyper-parameter that the paper sets for
            each dataset and pruning rate: the fewer rows are kept, the larger it should be (the
            authors' example takes 0.3 where a tenth of CIFAR-10 is kept; 0.1 here is mild). A run
            has one beta for all of its sizes; others in a sweep: ``-m strategy.beta=0,0.1,0.3``.
        strata: k, 1 or more; the authors take 50.
    """

    pipelines: frozenset[PipelineName] = frozenset({"core_set"})
    stochastic = True

    def __init__(self, score: Strategy, beta: float = 0.1, strata: int = 50) -> None:
        check_range("strategy.beta", beta, 0, 1)
        if beta == 1:
            raise UserError("strategy.beta=1: expected a share below 1")
        check_whole("strategy.strata", strata, at_least=1)
        if "core_set" not in score.pipelines:
            raise UserError(
                f"strategy.score={type(score).__name__}: expected a strategy that is defined in "
                "pipeline=core_set; change strategy.score"
            )
        check_scores(score)
        self.needs = score.needs
        self._score = score
        self._beta = beta
        self._strata = strata

    def select(
        self, size: int, candidates: Rows, pool: Pool, seen: Observations, rng: np.random.Generator
    ) -> Query:
        """See `alframe.protocols.Strategy.select`."""
        difficulty = scores_of(self._score, candidates, pool, seen, rng)
        picks = coverage_centric(difficulty, size, rng, beta=self._beta, strata=self._strata)
        return Query(candidates[picks])

    def cost(self, work: Work) -> Cost:
        """See `alframe.protocols.Cost`: the scores of all candidates, and some copies of them."""
        inner = scoring_cost(self._score, work)
        sorting = (64 + self._strata) * work.candidates
        return Cost(inner.bytes + 64 * work.candidates, inner.operations + sorting)
