"""Training dynamics: rows that were hard, or easy, to learn."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Literal

import numpy as np

from alframe.errors import UserError
from alframe.options import check_whole
from alframe.pool import Pool
from alframe.protocols import Cost, Need, Observations, PipelineName, Query, Rows, Work
from alframe.strategies.top_score import highest

if TYPE_CHECKING:
    from torch import Tensor


class TopHistory:
    """Takes the rows that the selector found hardest (or easiest) while it trained on them.

    One value of every row is recorded in every epoch, and reduced to a difficulty: EL2N is the
    length of the probabilities' error after a few epochs, GraNd that of the loss's gradient, AUM
    minus the mean margin, confidence minus the label's mean probability, and variability the
    standard deviation of that. EL2N and GraNd average several short fits, because a single one
    says little so early.

    Needs: dynamics of the candidates, one field; with ``n_fits`` above 1 or an ``until_epoch``
    from short fits of their own, without which the selector is not trained at all.
    Cost: time O(e n), memory O(n) beyond the observations (n candidates, e epochs).

    Source: Paul, Ganguli & Dziugaite, "Deep Learning on a Data Diet: Finding Important Examples
    Early in Training" (NeurIPS 2021), definitions 2.1 (GraNd) and 2.2 (EL2N); arXiv:2107.07075.
    Pleiss, Zhang, Elenberg & Weinberger, "Identifying Mislabeled Data using the Area Under the
    Margin Ranking" (NeurIPS 2020), AUM; arXiv:2001.10528. Swayamdipta et al., "Dataset
    Cartography: Mapping and Diagnosing Datasets with Training Dynamics" (EMNLP 2020), section 2,
    confidence and variability; arXiv:2009.10795.
    Deviations: 1. A row is judged when its batch is trained on, in augmented form and by the
    weights before that step; Paul et al. pass over the un-augmented rows with the weights of the
    checkpoint, and Swayamdipta et al. with those at the end of an epoch. 2. GraNd is the gradient
    of the last layer alone, as if it had a bias; the paper's is of all layers. 3. Margins are of
    probabilities, in [-1, 1]; those of Pleiss et al. are of logits (the authors of CCS take
    probabilities, too). 4. AUM is Pleiss et al.'s statistic without their threshold samples: they
    drop rows of low AUM as mislabeled, a core-set of a given size by AUM is Zheng et al.'s
    (arXiv:2210.15809) baseline, which keeps them. 5. Where early stopping ends the fits after
    different epochs, the mean is over the epochs that all have.

    Args:
        field: What is recorded of a row in every epoch, see `alframe.protocols.Need.fields`.
        difficulty: History [epochs, n] -> difficulties [n], higher = harder.
        n_fits: Over how many fits from different seeds the history is averaged.
        until_epoch: The epochs after which these fits stop, 1 or more; null = at their end.
        keep: ``hard`` takes the rows of highest difficulty, ``easy`` those of lowest: better where
            labels are noisy, since a wrong label is hard to learn.
    """

    pipelines: frozenset[PipelineName] = frozenset({"core_set"})
    stochastic = False
    scores_rows = True

    def __init__(
        self,
        field: str,
        difficulty: Callable[[Tensor], Tensor],
        n_fits: int = 1,
        until_epoch: int | None = None,
        keep: Literal["hard", "easy"] = "hard",
    ) -> None:
        check_whole("strategy.n_fits", n_fits, at_least=1)
        if until_epoch is not None:
            check_whole("strategy.until_epoch", until_epoch, at_least=1)
        if keep not in ("hard", "easy"):
            raise UserError(f"strategy.keep={keep}: expected hard or easy")
        self.needs = (Need("dynamics", fields=(field,), fits=n_fits, until_epoch=until_epoch),)
        self._field = field
        self._difficulty = difficulty
        self._sign = 1.0 if keep == "hard" else -1.0

    def select(
        self,
        size: int,
        candidates: Rows,
        pool: Pool,  # noqa: ARG002
        seen: Observations,
        rng: np.random.Generator,  # noqa: ARG002
    ) -> Query:
        """See `alframe.protocols.Strategy.select`."""
        difficulty = self._difficulty(seen.dynamics(candidates, self._field))
        return highest(candidates, self._sign * difficulty.double().cpu().numpy(), size)

    def cost(self, work: Work) -> Cost:
        """See `alframe.protocols.Cost`: ten float64 by row at most; some operations by epoch."""
        return Cost(80 * work.candidates, 1e3 * work.candidates)
