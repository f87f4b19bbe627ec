"""Every plain acquisition function: score the candidates, take the highest."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np

from alframe.pool import Pool
from alframe.protocols import Array, Need, Observations, PipelineName, Query, Rows

if TYPE_CHECKING:
    from torch import Tensor


def highest(rows: Rows, scores: Array, size: int) -> Query:
    """Returns the ``size`` rows of highest score, best first, ties to the lowest row.

    Args:
        rows: Ascending.
        scores: One per row, higher = sooner; infinite is allowed, NaN is not.
        size: At most ``len(rows)``.
    """
    missing = np.flatnonzero(np.isnan(scores))
    if len(missing):
        raise ValueError(f"{len(missing)} scores are NaN, the first is of row {rows[missing[0]]}")
    best = np.argsort(-scores, kind="stable")[:size]
    return Query(rows[best], scores[best])


class TopScore:
    """Takes the ``size`` candidates with the highest acquisition score ("top-J").

    Needs class probabilities of the candidates, reduced to one number each within the pass: memory
    O(candidates), time of one pass over the candidates and one sort.

    Source: the scores are those of `alframe.functional`; pool-based sampling as in Settles, "Active
    Learning Literature Survey" (2009), section 3.
    Deviations: none; in a batch the scores are taken one by one, without regard to diversity.

    Args:
        acquisition: Probabilities [n, classes] -> scores [n], higher = sooner.
    """

    pipelines: frozenset[PipelineName] = frozenset({"active_learning", "core_set"})
    stochastic = False

    def __init__(self, acquisition: Callable[[Tensor], Tensor]) -> None:
        self.needs = (Need("probs", reduce=acquisition),)

    def select(
        self,
        size: int,
        candidates: Rows,
        pool: Pool,  # noqa: ARG002
        seen: Observations,
        rng: np.random.Generator,  # noqa: ARG002
    ) -> Query:
        """See `alframe.protocols.Strategy.select`."""
        scores = seen.probs(candidates).double().cpu().numpy()
        return highest(candidates, scores, size)
