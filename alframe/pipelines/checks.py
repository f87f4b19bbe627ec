"""What is refused before the first epoch, while nothing has been written."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

from alframe.errors import UserError, placed
from alframe.limits import estimate, operations_per_second
from alframe.parts import FirstParts, Parts
from alframe.protocols import Candidates, Need, PipelineName, Scope, Strategy, Work

REASONS: dict[PipelineName, str] = {
    "active_learning": "it needs the labels, or the training dynamics, of the rows that it picks "
    "from",
    "core_set": "it compares unlabeled rows with labeled ones, and here all labels are known",
}
"""Why a strategy is not defined in a pipeline."""
COPIES = 3
"""Of the observed values at a time: the batches, their concatenation, and the rows asked for."""


def check_defined(strategy: Strategy, pipeline: PipelineName) -> None:
    """Refuses a strategy that is not defined in the pipeline."""
    name = type(strategy).__name__
    if pipeline not in strategy.pipelines:
        raise UserError(
            f"strategy {name} cannot run in pipeline={pipeline}: expected pipeline="
            f"{' or '.join(sorted(strategy.pipelines))}, since {REASONS[pipeline]}; change "
            "strategy or pipeline"
        )
    if pipeline == "active_learning":
        _check_dynamics(name, strategy.needs)


def check_strategy(parts: Parts, pipeline: PipelineName) -> None:
    """Refuses a strategy that is not defined in the pipeline, or needs what no one records."""
    check_defined(parts.strategy, pipeline)
    strategy, name = parts.strategy, type(parts.strategy).__name__
    missing = sorted({need.what for need in strategy.needs} - parts.selector.records)
    if missing:
        key = selector_key(parts)
        remedy = f"change strategy or learner@{key}"
        if "mc_probs" in missing:
            drops = f"a network with dropout ({key}.model.dropout=0.2)"
            remedy = f"choose {drops}, learner@{key}=ensemble or another strategy"
        elif getattr(parts.selector, "module", None) is not None:
            remedy = f"change strategy, or set {key}.module=null"
        raise UserError(
            f"strategy {name} needs {' and '.join(missing)}, which {type(parts.selector).__name__} "
            f"does not give; {remedy}"
        )


def _check_dynamics(name: str, needs: Sequence[Need]) -> None:
    """Refuses histories that a round of active learning cannot record."""
    recorded = [need for need in needs if need.what == "dynamics"]
    unlabeled = any(need.scope is not Scope.LABELED for need in recorded)
    if unlabeled or any(need.short for need in recorded):
        what = "the dynamics of rows that have no label" if unlabeled else "short fits of their own"
        raise UserError(
            f"strategy {name} needs {what}, which cannot be recorded in pipeline=active_learning; "
            "change strategy or pipeline"
        )


def check_rounds(parts: Parts | FirstParts) -> list[int]:
    """Returns the number of labels at each round, the initial one first.

    Raises:
        UserError: If the pool has fewer rows, or the schedule asks for what no round has.
    """
    counts = parts.schedule.counts(len(parts.data.pool_rows))
    parts.schedule.check_evaluate_at(counts)
    target = parts.schedule.target_accuracy
    if target is not None and not len(parts.data.validation_rows):
        raise UserError(
            f"schedule.target_accuracy={target} is measured on the validation rows: expected "
            "some, got data.validation=0; set schedule.target_accuracy=null or data.validation"
        )
    return counts


def selector_key(parts: Parts) -> str:
    """Returns the config key of the learner that the strategy listens to."""
    return "target" if parts.proxy is None else "proxy"


def bytes_per_row(parts: Parts, need: Need) -> int:
    """Returns what observing one row takes; a mistake names the key that it is about."""
    try:
        return parts.selector.bytes_per_row(need)
    except UserError as mistake:
        raise placed(mistake, selector_key(parts)) from mistake


def check_cost(
    parts: Parts, candidates: int, labeled: int, size: int, needs: Sequence[Need]
) -> dict[str, float]:
    """Estimates what observing and selecting take at most.

    Args:
        parts: The composed parts.
        candidates: Rows that are looked at in the largest round.
        labeled: Rows that are labeled by then.
        size: Rows that are asked for in the largest round.
        needs: What the selector is to see.

    Returns:
        ``observed_bytes``, ``select_bytes`` and, rough, ``select_seconds``.

    Raises:
        UserError: If that is more than the limits allow.
    """
    selector, strategy = parts.selector, parts.strategy
    rows = {
        Scope.CANDIDATES: candidates,
        Scope.LABELED: labeled,
        Scope.POOL: candidates + labeled,
    }
    observed = sum(COPIES * rows[need.scope] * bytes_per_row(parts, need) for need in needs)
    widths = (selector.width("embeddings"), selector.width("probs"))
    cost = estimate(strategy, Work(size, candidates, labeled, *widths))
    seconds = cost.operations / operations_per_second()
    what = f"strategy {type(strategy).__name__} on {candidates} candidates"
    parts.limits.check(observed + cost.bytes, seconds, what)
    return {
        "observed_bytes": observed,
        "select_bytes": cost.bytes,
        "select_seconds": round(seconds, 3),
    }


def check_candidates(rule: Candidates, total: int, counts: Sequence[int]) -> None:
    """Refuses a candidate rule that gives too few rows in one of the rounds.

    Args:
        rule: The rule.
        total: Rows of the pool.
        counts: Labels before the first selection, and after each one.
    """
    for before, after in itertools.pairwise(counts):
        given, size = rule.at_least(total - before), after - before
        if given < size:
            raise UserError(
                f"the candidate rule gives {given} of {total - before} rows when {before} are "
                f"labeled: expected at least the {size} that are asked for; raise candidates.size "
                "or ask for fewer rows (schedule.query_size, pipeline.sizes)"
            )
