"""Strategies inside others: the scores that they give to rows one by one."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch

from alframe.errors import UserError
from alframe.limits import estimate
from alframe.pool import Pool
from alframe.protocols import Array, Cost, Need, Observations, Rows, Strategy, Work

_EXAMPLES = ([0.5, 0.5], [0.9, 0.1], [1.0, 0.0])


def check_scores(score: Strategy) -> None:
    """Refuses a strategy whose scores are not of each row on its own.

    Raises:
        UserError: Naming ``strategy.score``.
    """
    if not getattr(score, "scores_rows", False):
        raise UserError(
            f"strategy.score={type(score).__name__}: expected a strategy that scores each row on "
            "its own, such as entropy or forgetting; change strategy@strategy.score"
        )


def check_not_negative(need: Need, key: str, remedy: str) -> None:
    """Refuses a score of probabilities that can be below 0, where it is used as a factor.

    Args:
        need: What the score is of; ``reduce`` is tried out on three rows.
        key: Of the config.
        remedy: What to change.

    Raises:
        UserError: Naming the key.
    """
    if need.reduce is None or need.what not in ("probs", "mc_probs"):
        return
    rows = torch.tensor(_EXAMPLES, dtype=torch.float64)
    lowest = float(
        need.reduce(rows if need.what == "probs" else torch.stack([rows, rows], 1)).min()
    )
    if lowest < 0:
        raise UserError(f"{key}: expected scores of 0 or more, got {lowest:.3g}; {remedy}")


def scores_of(
    score: Strategy, candidates: Rows, pool: Pool, seen: Observations, rng: np.random.Generator
) -> Array:
    """Returns the scores of all candidates [n], in their order.

    Raises:
        UserError: If the strategy gives none.
    """
    inside = seen.of(score.needs)
    scored = score.select(len(candidates), candidates, pool, inside, rng)
    if scored.scores is None:
        raise UserError(f"strategy.score={type(score).__name__} gives no scores: expected some")
    scores: Array = scored.scores[np.argsort(scored.rows)]
    return scores


def scoring_cost(score: Strategy, work: Work) -> Cost:
    """Returns what scoring all candidates takes."""
    return estimate(score, replace(work, size=work.candidates))
