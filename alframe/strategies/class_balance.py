"""A wrapper: the same number of picks for each label."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import numpy as np

from alframe.errors import UserError
from alframe.functional.shares import leveled_shares
from alframe.limits import estimate
from alframe.pool import Pool
from alframe.protocols import Cost, Need, Observations, Query, Rows, Strategy, Work
from alframe.strategies.turns import in_turns

if TYPE_CHECKING:
    from torch import Tensor


def likeliest(probs: Tensor) -> Tensor:
    """Returns the likeliest label of each row [b], ties to the lowest."""
    return probs.argmax(dim=1)


class ClassBalance:
    """Lets a strategy pick from the rows of each label in turn, so that labels come out even.

    Each pick goes to the label of which fewest are picked or labeled so far (the lowest of equals)
    and of which candidates are left; within a label the strategy inside decides.

    Needs: what the strategy inside needs, and with ``by=predicted`` the likeliest labels of the
    candidates, one number each.
    Cost: that of the strategy inside for each label, O(k) more.

    Source: balanced sampling is folklore; as a wrapper for any strategy Aggarwal, Popescu &
    Hudelot, "Active Learning for Imbalanced Datasets" (WACV 2020).
    Deviations: 1. one strategy call for each label, which does not see the picks of other labels.
    2. Predicted labels may be wrong, so the balance is approximate with ``by=predicted``.

    Args:
        strategy: The strategy inside.
        by: ``predicted`` labels (both pipelines), or the true ``labels`` (core-sets only).
        count_labeled: Whether rows that are labeled already count for their label.
    """

    def __init__(
        self,
        strategy: Strategy,
        by: Literal["predicted", "labels"] = "predicted",
        count_labeled: bool = True,
    ) -> None:
        if by not in ("predicted", "labels"):
            raise UserError(f"strategy.by={by}: expected predicted or labels.")
        self.inner, self.by, self.count_labeled = strategy, by, count_labeled
        self._own = (Need("probs", reduce=likeliest),) if by == "predicted" else ()
        self.needs = (*strategy.needs, *self._own)
        defined = {"active_learning", "core_set"} if by == "predicted" else {"core_set"}
        self.pipelines = frozenset(strategy.pipelines & defined)
        if not self.pipelines:
            raise UserError(
                f"strategy.by={by} is defined in pipeline=core_set alone: expected a "
                f"strategy.strategy that is, got {type(strategy).__name__}, defined in "
                f"{' and '.join(sorted(strategy.pipelines))}; set strategy.by=predicted"
            )
        self.stochastic = strategy.stochastic

    def select(
        self, size: int, candidates: Rows, pool: Pool, seen: Observations, rng: np.random.Generator
    ) -> Query:
        """See `alframe.protocols.Strategy.select`."""
        if self.by == "labels":
            labels = pool.labels(candidates)
        else:
            labels = seen.of(self._own).probs(candidates).cpu().numpy().astype(np.int64)
        known = pool.labeled if self.count_labeled else pool.labeled[:0]
        names, groups = np.unique(labels, return_inverse=True)
        held = pool.labels(known) if len(known) else labels[:0]
        shares = leveled_shares(
            np.bincount(groups), np.array([(held == name).sum() for name in names]), size
        )
        queries, turns = [], []
        for group, share in enumerate(shares):
            if share:
                members = candidates[groups == group]
                inside = seen.of(self.inner.needs)
                queries.append(self.inner.select(int(share), members, pool, inside, rng))
                turns.append(np.arange(share, dtype=np.float64))
        rows = in_turns([query.rows for query in queries], turns)
        weights = [query.weights for query in queries]
        if any(own is None for own in weights):
            return Query(rows)
        order = np.argsort(np.concatenate(turns), kind="stable")
        return Query(rows, weights=np.concatenate([w for w in weights if w is not None])[order])

    def cost(self, work: Work) -> Cost:
        """See `alframe.protocols.Cost`: as if all rows had one label."""
        inside = estimate(self.inner, work)
        return Cost(inside.bytes + 64 * work.rows + 2**20, inside.operations + work.candidates)
