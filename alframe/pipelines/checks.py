"""What is refused before the first epoch, while nothing has been written."""

from __future__ import annotations

import numpy as np

from alframe.errors import UserError
from alframe.memory import check_fits
from alframe.pipelines.stages import scoped
from alframe.pool import Pool
from alframe.protocols import Parts, PipelineName, Rows


def check_strategy(parts: Parts, pipeline: PipelineName) -> None:
    """Refuses a strategy that is not defined in the pipeline, or needs what no one records."""
    strategy = parts.strategy
    name = type(strategy).__name__
    if pipeline not in strategy.pipelines:
        raise UserError(
            f"strategy {name} cannot run in pipeline={pipeline}: expected pipeline="
            f"{' or '.join(sorted(strategy.pipelines))}; change strategy or pipeline"
        )
    missing = sorted({need.what for need in strategy.needs} - parts.selector.records)
    if missing:
        key = "target" if parts.proxy is None else "proxy"
        raise UserError(
            f"strategy {name} needs {' and '.join(missing)}, which {type(parts.selector).__name__} "
            f"does not give; change strategy or learner@{key}"
        )


def check_memory(parts: Parts, pool: Pool, candidates: Rows) -> int:
    """Returns an estimate, in bytes, of what the selector's observations take at most.

    Raises:
        UserError: If that is more than may be taken.
    """
    needed = 0
    for need in parts.strategy.needs:
        rows = len(candidates) if need.what == "dynamics" else len(scoped(need, candidates, pool))
        needed += rows * parts.selector.bytes_per_row(need)
    check_fits(needed, f"strategy {type(parts.strategy).__name__} on {len(candidates)} candidates")
    return needed


def check_candidates(candidates: Rows, pool: Pool, size: int) -> None:
    """Refuses a candidate rule that gives too few rows, or rows that are not unlabeled."""
    if not np.isin(candidates, pool.unlabeled).all():
        raise ValueError("the candidate rule returned rows that are labeled or not in the pool")
    if len(candidates) < size:
        raise UserError(
            f"the candidate rule gives {len(candidates)} rows: expected at least the {size} that "
            "are asked for; raise candidates.size or lower schedule.query_size"
        )
