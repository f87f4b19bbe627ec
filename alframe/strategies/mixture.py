"""A wrapper: several strategies share the picks."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from alframe.errors import UserError
from alframe.functional.shares import proportional_shares
from alframe.limits import estimate
from alframe.options import is_number
from alframe.pool import Pool
from alframe.protocols import Cost, Observations, PipelineName, Query, Rows, Strategy, Work
from alframe.strategies.turns import in_turns

_PARTS = 10**6


class Mixture:
    """Splits the picks among strategies in proportion to weights.

    The strategies pick one after the other, each from the candidates that are left; then their
    picks are merged in proportion to the weights.

    Needs: what the strategies need, all of it in one pass.
    Cost: that of the strategies, one after the other.

    Source: mixtures of a share of uncertain, diverse and random rows are common practice; see
    Settles, "Active Learning Literature Survey" (2009), section 3, for their parts.
    Deviations: none; a later strategy does not see the earlier ones' picks other than as rows that
    are no candidates any more.

    Args:
        parts: The strategies by name.
        weights: Of each of them by name, above 0.
    """

    def __init__(self, parts: Mapping[str, Strategy], weights: Mapping[str, float]) -> None:
        if not parts or parts.keys() != weights.keys():
            raise UserError(
                f"strategy.weights has {', '.join(weights) or 'nothing'}: expected one weight for "
                f"each of strategy.parts, {', '.join(parts) or 'of which there are none'}."
            )
        for name, weight in weights.items():
            if not (is_number(weight) and 0 < weight < float("inf")):
                raise UserError(f"strategy.weights.{name}={weight}: expected a number above 0.")
        self.parts = dict(parts)
        shares = np.array([weights[name] for name in parts], dtype=np.float64)
        self._weights = np.maximum(1, np.round(_PARTS * shares / shares.sum())).astype(np.int64)
        self.needs = tuple(dict.fromkeys(need for part in parts.values() for need in part.needs))
        both: frozenset[PipelineName] = frozenset({"active_learning", "core_set"})
        self.pipelines = both.intersection(*(part.pipelines for part in parts.values()))
        if not self.pipelines:
            said = ", ".join(
                f"{name} in {' and '.join(sorted(part.pipelines))}" for name, part in parts.items()
            )
            raise UserError(
                f"strategy.parts: expected strategies that are defined in one pipeline, got {said}"
            )
        self.stochastic = any(part.stochastic for part in parts.values())

    def select(
        self, size: int, candidates: Rows, pool: Pool, seen: Observations, rng: np.random.Generator
    ) -> Query:
        """See `alframe.protocols.Strategy.select`."""
        # Of many times the weights, so that no share is cut off by its weight.
        shares = proportional_shares(self._weights * max(1, size), size)
        left, queries, turns = candidates, [], []
        for part, share in zip(self.parts.values(), shares, strict=True):
            if share:
                query = part.select(int(share), left, pool, seen.of(part.needs), rng)
                left = np.setdiff1d(left, query.rows, assume_unique=True)
                queries.append(query)
                turns.append((np.arange(share) + 0.5) / share)
        rows = in_turns([query.rows for query in queries], turns)
        if all(query.weights is None for query in queries):
            return Query(rows)
        weights = [_weights(query) for query in queries]
        order = np.argsort(np.concatenate(turns), kind="stable")
        return Query(rows, weights=np.concatenate(weights)[order])

    def cost(self, work: Work) -> Cost:
        """See `alframe.protocols.Cost`."""
        costs = [estimate(part, work) for part in self.parts.values()]
        most = max(cost.bytes for cost in costs)
        return Cost(most + 64 * work.rows, sum(cost.operations for cost in costs))


def _weights(query: Query) -> np.ndarray:
    """Returns a query's weights at a mean of 1, as queries without weights have."""
    if query.weights is None:
        return np.ones(len(query.rows))
    return np.asarray(query.weights / query.weights.mean())
