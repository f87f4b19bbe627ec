"""BatchBALD: rows that together tell most about the model, not each by itself."""

from __future__ import annotations

import numpy as np

from alframe.functional.batch_bald import batch_bald_greedy
from alframe.options import check_range, check_whole
from alframe.pool import Pool
from alframe.protocols import Cost, Need, Observations, PipelineName, Query, Rows, Work


class BatchBald:
    """Picks, again and again, the row that adds most to what the picks' labels tell of the model.

    That is the mutual information I(y_1, ..., y_b; model | x_1, ..., x_b): the joint entropy of the
    labels less the mean entropy of each under one draw. Two rows of which either label gives the
    other's away count once, while BALD would take both. The draws must be of the same networks for
    all rows, as they are here. Joint entropies are exact while the picks have few possible
    labelings (four picks of ten labels by default), and are estimated from a sample of labelings
    beyond. All labels together tell log(draws) nats at most, namely which of the draws it is; when
    that is as good as known, no row can add anything, and the rest is taken by its BALD score.

    A row's score is what it added, in nats. True gains never rise, so an estimate that does is
    lowered to the score before it.

    Needs: the probabilities of every Monte-Carlo draw (``mc_probs``) of the candidates.
    Cost: time O(n c t s k) at most, far less since rows are looked at again only while they may be
    the best; memory O(t (n c + s)) beyond the observations (n candidates, c labels, t draws, s
    labelings, k picks).

    Source: Kirsch, van Amersfoort & Gal, "BatchBALD: Efficient and Diverse Batch Acquisition for
    Deep Bayesian Active Learning" (NeurIPS 2019), algorithm 1 and section 3.2; arXiv:1906.08158.
    Deviations: 1. the sampled labelings of a batch are continued with each pick, not drawn anew.
    2. An estimated gain is the mean over the sampled labelings of what the row then tells about the
    draw; the paper subtracts the exact mean entropy from an estimated joint one, which is as
    unbiased, but noisier. 3. Rows whose stale estimate can hardly reach the best one are not
    estimated again: one that would have won is passed over a few times in a million. 4. The rest by
    BALD (``enough``), where the paper says nothing of batches that exhaust the draws.

    Args:
        draws: Networks to draw, 2 or more; an ensemble must have as many members.
        exact_up_to: Labelings of the picks up to which all of them are counted.
        samples: Labelings that are drawn beyond; rounded up to a multiple of the draws. A score's
            standard error is at most sqrt(score * log(draws) / samples), the time in proportion.
        enough: Nats that may stay unknown of which draw it is; 0 = the rest is never taken by BALD.
    """

    pipelines: frozenset[PipelineName] = frozenset({"active_learning", "core_set"})
    stochastic = True

    def __init__(
        self,
        draws: int = 20,
        exact_up_to: int = 10_000,
        samples: int = 2_000,
        enough: float = 1e-3,
    ) -> None:
        check_whole("strategy.draws", draws, at_least=2)
        check_whole("strategy.exact_up_to", exact_up_to, at_least=1)
        check_whole("strategy.samples", samples, at_least=1)
        check_range("strategy.enough", enough, 0, 1)
        self.needs: tuple[Need, ...] = (Need("mc_probs", draws=draws),)
        self._draws, self._exact_up_to = draws, exact_up_to
        self._samples, self._enough = samples, float(enough)

    def select(
        self,
        size: int,
        candidates: Rows,
        pool: Pool,  # noqa: ARG002
        seen: Observations,
        rng: np.random.Generator,
    ) -> Query:
        """See `alframe.protocols.Strategy.select`."""
        picks, gains = batch_bald_greedy(
            seen.mc_probs(candidates),
            size,
            rng,
            exact_up_to=self._exact_up_to,
            samples=self._samples,
            enough=self._enough,
        )
        scores = np.minimum.accumulate(gains.cpu().numpy())
        return Query(candidates[picks.cpu().numpy()], scores)

    def cost(self, work: Work) -> Cost:
        """See `alframe.protocols.Strategy`."""
        labelings = max(self._exact_up_to, self._samples + self._draws)
        row = 8 * self._draws * work.outputs + 64  # a copy, where other rows were observed as well
        memory = work.candidates * row + 48 * labelings * self._draws + 2**26
        looked_at = float(work.candidates) * work.size
        return Cost(memory, looked_at * labelings * self._draws * work.outputs)
