"""Geometry: picks whose mean is that of all rows."""

from __future__ import annotations

import numpy as np

from alframe.errors import UserError
from alframe.functional.herding import herding_greedy
from alframe.functional.shares import proportional_shares
from alframe.pool import Pool
from alframe.protocols import Cost, Need, Observations, PipelineName, Query, Rows, Work
from alframe.strategies.turns import groups_of, in_turns


class Herding:
    """Picks rows so that the mean embedding of the picks stays closest to the mean of all.

    Each pick x minimizes abs(mean - (sum of the picks + x) / t); every label has its own mean, and
    a share of the picks in proportion to its rows. Labels take turns in that proportion.

    Needs: embeddings of the candidates; their labels, therefore it is defined for core-sets only.
    Cost: time O(n d k), memory O(n d) beyond the observations: one float32 copy (n candidates, d
    width, k picks; a label's own n and k with ``by_label``).

    Source: Welling, "Herding Dynamical Weights to Learn" (ICML 2009); in this greedy form Rebuffi
    et al., "iCaRL" (CVPR 2017), algorithm 4; arXiv:1611.07725.
    Deviations: embeddings are used at the length that they have, where iCaRL brings them to length
    1 first.

    Args:
        by_label: Whether each label is herded on its own; else all rows together.
    """

    needs: tuple[Need, ...] = (Need("embeddings"),)
    pipelines: frozenset[PipelineName] = frozenset({"core_set"})
    stochastic = False

    def __init__(self, by_label: bool = True) -> None:
        if not isinstance(by_label, bool):
            raise UserError(f"strategy.by_label={by_label}: expected true or false.")
        self.by_label = by_label

    def select(
        self,
        size: int,
        candidates: Rows,
        pool: Pool,
        seen: Observations,
        rng: np.random.Generator,  # noqa: ARG002
    ) -> Query:
        """See `alframe.protocols.Strategy.select`."""
        groups = groups_of(candidates, pool, self.by_label)
        shares = proportional_shares(np.array([len(members) for members in groups]), size)
        rows, turns = [], []
        for members, share in zip(groups, shares, strict=True):
            picks, _ = herding_greedy(seen.embeddings(members), int(share))
            rows.append(members[picks.cpu().numpy()])
            turns.append((np.arange(share) + 0.5) / max(1, share))
        return Query(in_turns(rows, turns))

    def cost(self, work: Work) -> Cost:
        """See `alframe.protocols.Cost`."""
        memory = work.candidates * (16 * work.width + 128) + 2**24
        return Cost(memory, float(work.candidates) * work.width * work.size)
