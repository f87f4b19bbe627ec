"""Gradients: weighted rows whose gradients add up to those of all rows."""

from __future__ import annotations

import numpy as np

from alframe.errors import UserError
from alframe.functional.gradients import residuals
from alframe.functional.matching_pursuit import omp_match
from alframe.functional.shares import proportional_shares
from alframe.options import is_number
from alframe.pool import Pool
from alframe.protocols import Array, Cost, Need, Observations, PipelineName, Query, Rows, Work
from alframe.strategies.turns import groups_of, in_turns

_LEAST = 0.01


class GradMatch:
    """Picks rows and weights so that the weighted sum of their gradients is that of all rows.

    For each label y: the gradients in the weights of its output, (p_y - 1) h, are matched by
    orthogonal matching pursuit with weights of 0 or more, and y has a share of the picks in
    proportion to its rows. The learner trains with the weights.

    Needs: class probabilities and embeddings of the candidates; their labels, therefore it is
    defined for core-sets only.
    Cost: time O((n d + d^2) k) for the n rows and k picks of a label, memory O(n d + d^2) beyond
    the observations (d width).

    Source: Killamsetty et al., "GRAD-MATCH: Gradient Matching based Data Subset Selection for
    Efficient Deep Model Training" (ICML 2021), algorithm 2, and section 4 for the last layer and
    single classes; arXiv:2103.00123.
    Deviations: 1. selected once, with the trained selector, not every 20 epochs. 2. The ridge is
    relative to the gradients' mean squared length. 3. A row whose best weight is below a hundredth
    of its label's mean weight gets that hundredth, as all rows that were asked for are trained on.

    Args:
        ridge: More makes the weights more even; above 0. The paper's is 0.5, in absolute units.
    """

    needs: tuple[Need, ...] = (Need("probs"), Need("embeddings"))
    pipelines: frozenset[PipelineName] = frozenset({"core_set"})
    stochastic = False

    def __init__(self, ridge: float = 0.5) -> None:
        if not (is_number(ridge) and ridge > 0):
            raise UserError(f"strategy.ridge={ridge}: expected a number above 0.")
        self.ridge = ridge

    def select(
        self,
        size: int,
        candidates: Rows,
        pool: Pool,
        seen: Observations,
        rng: np.random.Generator,  # noqa: ARG002
    ) -> Query:
        """See `alframe.protocols.Strategy.select`."""
        groups = groups_of(candidates, pool, by_label=True)
        shares = proportional_shares(np.array([len(members) for members in groups]), size)
        rows, turns, weights = [], [], []
        for members, share in zip(groups, shares, strict=True):
            label = int(pool.labels(members[:1])[0])
            errors = residuals(seen.probs(members), pool.labels(members))[:, label]
            embeddings = seen.embeddings(members).double()
            # At most 1 each, so that the product with an error does not underflow or overflow.
            largest = embeddings.abs().amax().clamp_min(1e-300)
            gradients = (embeddings / largest) * errors.double()[:, None]
            picks, own = omp_match(gradients, int(share), ridge=self.ridge)
            rows.append(members[picks.cpu().numpy()])
            turns.append((np.arange(share) + 0.5) / max(1, share))
            weights.append(at_least(own.cpu().numpy(), len(members)))
        order = np.argsort(np.concatenate(turns), kind="stable")
        return Query(in_turns(rows, turns), weights=np.concatenate(weights)[order])

    def cost(self, work: Work) -> Cost:
        """See `alframe.protocols.Cost`."""
        memory = work.candidates * (32 * work.width + 16 * work.outputs + 128)
        picked = work.size * 16 * work.width
        operations = (float(work.candidates) * work.width + work.width**2) * work.size
        return Cost(memory + picked + 64 * work.width**2 + 2**24, operations)


def at_least(weights: Array, rows: int) -> Array:
    """Returns weights of at least a hundredth of their mean; equal ones if all are 0."""
    mean = weights.mean() if len(weights) else 0.0
    if not mean > 0:
        return np.full(len(weights), rows / max(1, len(weights)))
    least: Array = np.maximum(weights, _LEAST * mean)
    return least
