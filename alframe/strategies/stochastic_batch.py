"""A wrapper: rows are drawn at random by a score, instead of those of the highest scores."""

from __future__ import annotations

import math
from typing import Literal, get_args

import numpy as np

from alframe.errors import UserError
from alframe.functional.sampling import Kind, gumbel_top_k
from alframe.options import is_number
from alframe.pool import Pool
from alframe.protocols import Array, Cost, Observations, Query, Rows, Strategy, Work
from alframe.strategies.scored import check_not_negative, check_scores, scores_of, scoring_cost

_ROUNDING = 2.0**-5  # the entropy of probabilities that rounding put above 1 is a little below 0


class StochasticBatch:
    """Draws rows without replacement, in proportion to a power of their score.

    The score of a row is what it is worth alone; in a batch it is worth less as others are picked,
    nobody knows how much. Drawing by the score instead of taking the highest models that, and
    spreads the batch, at no cost. A row is drawn in proportion to score ** coldness (``power``,
    where a score of 0 means that there is nothing to gain), exp(coldness * score) (``softmax``) or
    rank ** -coldness (``softrank``, which knows the order of the scores only).

    The score is that of the strategy inside, asked for all candidates; it must be one that stands
    for each row alone. The rows come in the order drawn; they have no scores of their own.

    Needs: what the strategy inside needs.
    Cost: that of the strategy inside for all candidates; time O(n log n), memory O(n) more (n
    candidates).

    Source: Kirsch, Farquhar, Atighehchian, Jesson, Branchaud-Charron & Gal, "Stochastic Batch
    Acquisition: A Simple Baseline for Deep Active Learning" (TMLR 2023), section 3;
    arXiv:2106.12059. With ``score=bald`` and ``by=power`` it is their PowerBALD.
    Deviations: equal scores share their rank with ``softrank``, so that no row number is favored.

    Args:
        score: A strategy that gives scores, such as entropy, margin or bald.
        by: ``power`` (scores of 0 or more: not margin), ``softmax`` or ``softrank``.
        coldness: Beta of the paper, above 0; larger = closer to the highest scores, smaller =
            closer to uniform. The paper, and the default: 1.
    """

    def __init__(
        self,
        score: Strategy,
        by: Literal["power", "softmax", "softrank"] = "power",
        coldness: float = 1.0,
    ) -> None:
        if by not in get_args(Kind):
            raise UserError(f"strategy.by={by}: expected power, softmax or softrank.")
        if not (is_number(coldness) and 0 < coldness < math.inf):
            raise UserError(f"strategy.coldness={coldness}: expected a number above 0.")
        check_scores(score)
        if by == "power" and len(score.needs) == 1:
            remedy = "choose strategy.by=softmax or softrank"
            check_not_negative(score.needs[0], "strategy.by=power", remedy)
        self.inner, self.by, self.coldness = score, by, float(coldness)
        self.needs = score.needs
        self.pipelines = score.pipelines
        self.stochastic = True

    def select(
        self, size: int, candidates: Rows, pool: Pool, seen: Observations, rng: np.random.Generator
    ) -> Query:
        """See `alframe.protocols.Strategy.select`."""
        scores = self._checked(scores_of(self.inner, candidates, pool, seen, rng))
        return Query(candidates[gumbel_top_k(scores, size, rng, kind=self.by, beta=self.coldness)])

    def _checked(self, scores: Array) -> Array:
        below = int((scores < -_ROUNDING).sum())
        if self.by == "power" and below:
            name = type(self.inner).__name__
            raise UserError(
                f"strategy.by=power: expected scores of 0 or more, got {below} below 0 of "
                f"{len(scores)} from {name}; choose strategy.by=softmax or softrank"
            )
        return np.maximum(scores, 0) if self.by == "power" else scores

    def cost(self, work: Work) -> Cost:
        """See `alframe.protocols.Strategy`."""
        inside = scoring_cost(self.inner, work)
        own = 96 * work.candidates
        return Cost(inside.bytes + own, inside.operations + own)
