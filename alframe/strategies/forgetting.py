"""Training dynamics: rows that the selector learned and forgot again."""

from __future__ import annotations

import numpy as np
import torch

from alframe.pool import Pool
from alframe.protocols import Cost, Need, Observations, PipelineName, Query, Rows, Work
from alframe.strategies.top_score import highest


class Forgetting:
    """Takes the rows that were forgotten most often while the selector trained.

    A row is forgotten when it was classified correctly in one epoch and wrongly in the next; a row
    that was never classified correctly counts as forgotten infinitely often.

    Needs: dynamics of the candidates: ``correct`` in every epoch, one byte each.
    Cost: time O(e n), memory O(n) beyond the observations (n candidates, e epochs).

    Source: Toneva et al., "An Empirical Study of Example Forgetting during Deep Neural Network
    Learning" (ICLR 2019), algorithm 1; arXiv:1812.05159.
    Deviations: none; as there, a row is judged when its batch is trained on, in augmented form.
    """

    needs: tuple[Need, ...] = (Need("dynamics", fields=("correct",)),)
    pipelines: frozenset[PipelineName] = frozenset({"core_set"})
    stochastic = False
    scores_rows = True

    def select(
        self,
        size: int,
        candidates: Rows,
        pool: Pool,  # noqa: ARG002
        seen: Observations,
        rng: np.random.Generator,  # noqa: ARG002
    ) -> Query:
        """See `alframe.protocols.Strategy.select`."""
        history = seen.dynamics(candidates, "correct")
        before = ever = history[0] > 0.5
        forgotten = torch.zeros_like(before, dtype=torch.float64)
        for epoch in history[1:]:
            now = epoch > 0.5
            forgotten += before & ~now
            ever, before = ever | now, now
        scores = torch.where(ever, forgotten, torch.inf)
        return highest(candidates, scores.cpu().numpy(), size)

    def cost(self, work: Work) -> Cost:
        """See `alframe.protocols.Cost`; the time is that of 300 epochs."""
        return Cost(80 * work.candidates, 1000.0 * work.candidates)
