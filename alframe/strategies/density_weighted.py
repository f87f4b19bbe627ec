"""Uncertainty where the data are: scores weighted by how similar a row is to the whole pool."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np

from alframe.errors import UserError
from alframe.functional.density import mean_cosine
from alframe.options import check_range
from alframe.pool import Pool
from alframe.protocols import Cost, Need, Observations, PipelineName, Query, Rows, Scope, Work
from alframe.strategies.scored import check_not_negative
from alframe.strategies.top_score import highest

if TYPE_CHECKING:
    from torch import Tensor


_ROUNDING = 2.0**-5  # the entropy of probabilities that rounding put above 1 is a little below 0


def as_weights(scores: Tensor) -> Tensor:
    """Returns acquisition scores as factors of 0 or more, in float64.

    Raises:
        UserError: Where scores are below 0, and not by rounding.
    """
    below = int((scores < -_ROUNDING).sum())
    if below:
        raise UserError(
            f"strategy.acquisition: expected scores of 0 or more, since they are multiplied, got "
            f"{below} below 0 of {len(scores)}; take alframe.functional.entropy or least_confidence"
        )
    return scores.double().clamp_min(0)


class DensityWeighted:
    """Takes the uncertain rows that are similar to many others, and leaves uncertain outliers.

    The information density of a row is phi(x) * (mean over the pool of sim(x, u)) ** beta, with an
    acquisition score phi and the cosine similarity of embeddings. The mean over the pool is one
    product with the mean of all unit vectors, so that nothing pairwise is computed. In a batch the
    rows of the highest scores are taken, without regard to diversity among them.

    Needs: class probabilities of the candidates, reduced to one number each within the pass;
    embeddings of candidates and labeled rows.
    Cost: time O((n + m) d), memory O(n + m) beyond the observations (n candidates, m labeled rows,
    width d).

    Source: Settles & Craven, "An Analysis of Active Learning Strategies for Sequence Labeling
    Tasks" (EMNLP 2008), information density; Settles, "Active Learning Literature Survey" (2009),
    section 3.6.
    Deviations: 1. cosines are mapped from [-1, 1] to [0, 1] by (1 + sim) / 2, because
    embeddings may be signed, where the paper's counts of features are not: the order by density is
    the same, its weight against uncertainty is smaller at the same beta. 2. The mean is over all
    that is observed, labeled rows included, where the paper's is over the unlabeled ones. 3.
    Similarities are those of the model's embeddings, so they change from round to round. Nothing
    changes where no row is labeled.

    Args:
        acquisition: Probabilities [n, classes] -> scores [n] of 0 or more, higher = sooner.
        beta: How much density counts, in [0, 100]; 0 = not at all. The paper, and the default: 1.
    """

    pipelines: frozenset[PipelineName] = frozenset({"active_learning", "core_set"})
    stochastic = False
    scores_rows = True

    def __init__(self, acquisition: Callable[[Tensor], Tensor], beta: float = 1.0) -> None:
        check_range("strategy.beta", beta, 0, 100)
        self.needs = (Need("probs", reduce=acquisition), Need("embeddings", Scope.POOL))
        remedy = "take alframe.functional.entropy or least_confidence"
        check_not_negative(self.needs[0], "strategy.acquisition", remedy)
        self.beta = float(beta)

    def select(
        self,
        size: int,
        candidates: Rows,
        pool: Pool,
        seen: Observations,
        rng: np.random.Generator,  # noqa: ARG002
    ) -> Query:
        """See `alframe.protocols.Strategy.select`."""
        uncertainty = as_weights(seen.probs(candidates)).cpu().numpy()
        rows = np.union1d(candidates, pool.labeled)
        density = (1 + mean_cosine(seen.embeddings(rows)).cpu().numpy()) / 2
        own = density[np.searchsorted(rows, candidates)]
        return highest(candidates, uncertainty * own**self.beta, size)

    def cost(self, work: Work) -> Cost:
        """See `alframe.protocols.Cost`: some float64 by row, and chunks of 1 MB."""
        return Cost(64 * work.rows + 2**23, 4.0 * work.rows * work.width)
