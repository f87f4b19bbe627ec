"""Fisher information: the rows that would settle the weights which matter for all rows."""

from __future__ import annotations

import numpy as np

from alframe.errors import UserError
from alframe.functional.fisher import bait_greedy
from alframe.options import is_number
from alframe.pool import Pool
from alframe.protocols import Cost, Need, Observations, PipelineName, Query, Rows, Scope, Work


class Bait:
    """Picks a batch that minimizes tr(M^-1 F), forward greedily and then back.

    F is the mean Fisher information of all observed rows in the last layer, M that of labeled and
    picked rows: rows are worth much where the pool's predictions hang on weights of which little is
    known yet. ``oversample`` times as many rows as asked for are added, then the least useful ones
    are taken away again.

    Needs: class probabilities and embeddings of candidates and labeled rows.
    Cost: time O((n + m) d c) for each of the k ``oversample`` forward picks, memory
    O((n + m) (d + c) + c d^2) beyond the observations (n candidates, m labeled, d width, k picks, c
    classes).

    Source: Ash, Goel, Krishnamurthy & Kakade, "Gone Fishing: Neural Active Learning with Fisher
    Embeddings" (NeurIPS 2021), algorithm 1; arXiv:2106.09675.
    Deviations: 1. the information between weights of different classes is dropped: c blocks of
    d x d in place of one matrix of c d x c d, which makes 50,000 rows practical. 2. Labeled rows
    count in M as picks do. 3. The ridge is relative to the mean information. 4. In core-set
    selection predicted probabilities stand for the labels, as in active learning.

    Args:
        ridge: Of M, in units of the mean diagonal of F, above 0.
        oversample: Rows added for each that is asked for, 1 or more; the paper's 2.
    """

    needs: tuple[Need, ...] = (Need("probs", Scope.POOL), Need("embeddings", Scope.POOL))
    pipelines: frozenset[PipelineName] = frozenset({"active_learning", "core_set"})
    stochastic = False

    def __init__(self, ridge: float = 1.0, oversample: float = 2.0) -> None:
        if not (is_number(ridge) and ridge > 0):
            raise UserError(f"strategy.ridge={ridge}: expected a number above 0.")
        if not (is_number(oversample) and oversample >= 1):
            raise UserError(f"strategy.oversample={oversample}: expected a number, 1 or more.")
        self.ridge, self.oversample = ridge, oversample

    def select(
        self,
        size: int,
        candidates: Rows,
        pool: Pool,
        seen: Observations,
        rng: np.random.Generator,  # noqa: ARG002
    ) -> Query:
        """See `alframe.protocols.Strategy.select`."""
        rows = np.union1d(candidates, pool.labeled)
        picks = bait_greedy(
            seen.probs(rows),
            seen.embeddings(rows),
            size,
            given=np.searchsorted(rows, pool.labeled),
            ridge=self.ridge,
            oversample=self.oversample,
        )
        return Query(rows[picks.cpu().numpy()])

    def cost(self, work: Work) -> Cost:
        """See `alframe.protocols.Cost`: what was observed again, five numbers a row and output."""
        picks = work.labeled + self.oversample * work.size
        kept = round(self.oversample * work.size) * (8 * work.width + 24 * work.outputs)
        memory = work.rows * (8 * work.width + 48 * work.outputs + 64) + kept
        blocks = 64 * work.outputs * work.width**2
        return Cost(memory + blocks + 2**25, 2.0 * work.rows * work.width * work.outputs * picks)
