"""Every plain acquisition function: score the candidates, take the highest."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Literal

import numpy as np

from alframe.errors import UserError
from alframe.options import check_whole
from alframe.pool import Pool
from alframe.protocols import Array, Cost, Need, Observations, PipelineName, Query, Rows, Work

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
    if 0 < size < len(rows):  # what is below the last score that counts need not be sorted
        last = np.partition(scores, len(scores) - size)[len(scores) - size]
        near = np.flatnonzero(scores >= last)
        rows, scores = rows[near], scores[near]
    best = np.argsort(-scores, kind="stable")[:size]
    return Query(rows[best], scores[best])


class TopScore:
    """Takes the ``size`` candidates with the highest acquisition score ("top-J").

    The score may be of the plain class probabilities, or of those of several Monte-Carlo draws
    (dropout, or the members of an ensemble). It is taken batch by batch while the candidates are
    looked at, so that one number for each row is all that is kept.

    Needs: class probabilities of the candidates, or those of each draw (``mc_probs``), reduced to
    one number each within the pass.
    Cost: time O(n log n), memory O(n) (n candidates).

    Source: the scores are those of `alframe.functional`; pool-based sampling as in Settles, "Active
    Learning Literature Survey" (2009), section 3.
    Deviations: none; in a batch the scores are taken one by one, without regard to diversity.

    Args:
        acquisition: Probabilities [n, classes], or [n, draws, classes] of draws, -> scores [n],
            higher = sooner.
        of: What the score is of: ``probs`` or ``mc_probs``.
        draws: For ``mc_probs``, how many, 2 or more; an ensemble must have as many members.
    """

    pipelines: frozenset[PipelineName] = frozenset({"active_learning", "core_set"})
    stochastic = False
    scores_rows = True

    def __init__(
        self,
        acquisition: Callable[[Tensor], Tensor],
        of: Literal["probs", "mc_probs"] = "probs",
        draws: int = 20,
    ) -> None:
        if of not in ("probs", "mc_probs"):
            raise UserError(f"strategy.of={of}: expected probs or mc_probs")
        check_whole("strategy.draws", draws, at_least=2)
        self.needs = (Need(of, reduce=acquisition, draws=draws if of == "mc_probs" else 0),)
        self._of = of

    def select(
        self,
        size: int,
        candidates: Rows,
        pool: Pool,  # noqa: ARG002
        seen: Observations,
        rng: np.random.Generator,  # noqa: ARG002
    ) -> Query:
        """See `alframe.protocols.Strategy.select`."""
        scores = seen.probs(candidates) if self._of == "probs" else seen.mc_probs(candidates)
        return highest(candidates, scores.double().cpu().numpy(), size)

    def cost(self, work: Work) -> Cost:
        """See `alframe.protocols.Strategy`: the scores, their order, and copies of them."""
        return Cost(64 * work.candidates, 32.0 * work.candidates)
