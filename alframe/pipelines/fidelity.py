"""Proxy fidelity: whether the proxy selects what the target itself would have selected."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from alframe.agreement import overlap, rank_correlations
from alframe.errors import UserError
from alframe.meter import Meter
from alframe.parts import Parts
from alframe.pipelines.stages import LazyFit, Look, Stages
from alframe.pool import Pool
from alframe.protocols import Array, Rows, State
from alframe.schedule import rng
from alframe.selection import check_query

log = logging.getLogger(__name__)


def check_fidelity(parts: Parts, full: bool) -> None:
    """Refuses a comparison that has not two models that each select for themselves.

    Args:
        parts: The composed parts.
        full: Whether the target is trained on all rows.
    """
    strategy, wanted = parts.strategy, "pipeline.fidelity=true compares the proxy's selection with "
    name = type(strategy).__name__
    if parts.proxy is None or not full:
        missing = "learner@proxy" if parts.proxy is None else "pipeline.full=true"
        raise UserError(
            f"{wanted}that of the target trained on all rows: expected {missing}; set it, or "
            "pipeline.fidelity=false"
        )
    if not strategy.needs or any(need.short for need in strategy.needs):
        why = "has short fits of its own" if strategy.needs else "listens to no model"
        raise UserError(
            f"{wanted}the target's, and strategy {name} {why}: expected one that listens to one "
            "fit on all rows; change strategy or set pipeline.fidelity=false"
        )
    missing = ", ".join(sorted({need.what for need in strategy.needs} - parts.target.records))
    if missing:
        raise UserError(
            f"{wanted}the target's, and {type(parts.target).__name__} does not give the {missing} "
            f"that strategy {name} needs; change learner@target or set pipeline.fidelity=false"
        )


def compare(
    stages: Stages, pool: Pool, look: Callable[[], Look], full: LazyFit, picks: Sequence[Rows]
) -> None:
    """Lets the strategy select from what the full-data target sees, and records the agreement.

    ``fidelity.csv`` gets a row for each size: ``overlap`` (the share of the proxy's picks that are
    also the target's), ``chance`` (what random picks would share), ``spearman`` and ``kendall``
    (rank correlation of the scores of all candidates, where the strategy scores each row on its
    own), and the seconds that the target took to observe and select. The target's picks stay in
    the stage.

    Args:
        stages: Of the run.
        pool: With all labels disclosed.
        look: What the proxy saw.
        full: The target on all rows.
        picks: The proxy's, for each size.
    """

    def measure() -> State:
        log.info("fidelity: the target selects from the rows that the proxy selected from")
        mine = stages.look(pool, full, 0, max(map(len, picks)))
        chosen = [_choose(stages, pool, mine, len(rows), index) for index, rows in enumerate(picks)]
        place: dict[str, Any] = {
            "candidates": len(mine.candidates),
            "seconds_observe": mine.seconds,
        }
        place["spearman"], place["kendall"] = _correlations(stages, pool, look, mine)
        rows = [
            {
                "round_id": index,
                "train_rows": len(own),
                "overlap": overlap(own, target),
                "chance": len(own) / len(mine.candidates),
                **place,
                "seconds_select": seconds,
            }
            for index, (own, (target, seconds)) in enumerate(zip(picks, chosen, strict=True))
        ]
        return {"rows": rows} | {f"rows_{i:03d}": target for i, (target, _) in enumerate(chosen)}

    stages.record.add_fidelity(stages.run.once("stages/fidelity", measure)["rows"])


def _choose(stages: Stages, pool: Pool, look: Look, size: int, index: int) -> tuple[Rows, float]:
    """Selects as the proxy did, from the same random stream; returns the rows and the seconds."""
    stream = rng(stages.seed, "select", index)
    with Meter() as meter:
        query = stages.pick(size, pool, look, stream)
    check_query(query, size, look.candidates)
    return query.rows, meter.seconds


def _correlations(
    stages: Stages, pool: Pool, look: Callable[[], Look], mine: Look
) -> tuple[float | None, float | None]:
    if not getattr(stages.parts.strategy, "scores_rows", False):
        return None, None
    scores = [_scores(stages, pool, each) for each in (look(), mine)]
    return rank_correlations(*scores)


def _scores(stages: Stages, pool: Pool, look: Look) -> Array:
    """Returns the scores of all candidates [n], in their order."""
    size, stream = len(look.candidates), rng(stages.seed, "select")
    query = stages.pick(size, pool, look, stream)
    assert query.scores is not None  # what scores_rows promises
    scores: Array = query.scores[np.argsort(query.rows)]
    return scores
