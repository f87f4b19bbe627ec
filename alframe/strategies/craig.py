"""Gradients: medoids of the rows' gradients, weighted by the rows that they stand for."""

from __future__ import annotations

import numpy as np

from alframe.functional.facility_location import assign_counts, facility_location_greedy
from alframe.functional.gradients import residuals
from alframe.functional.shares import proportional_shares
from alframe.pool import Pool
from alframe.protocols import Cost, Need, Observations, PipelineName, Query, Rows, Work
from alframe.strategies.turns import groups_of, in_turns


class Craig:
    """Picks rows so that every row has a picked one with a similar gradient, and weighs them.

    For each label: facility location on the distances between the gradients in the outputs,
    p - e_y, which bound the distances between the full gradients; a label has a share of the picks
    in proportion to its rows. The weight of a pick is the number of rows to which it is nearest.
    The learner trains with the weights.

    Needs: class probabilities of the candidates; their labels, therefore it is defined for
    core-sets only.
    Cost: time O(n^2 c) for the n rows of a label, memory O(n c) beyond the observations: about 2 KB
    a row (c classes).

    Source: Mirzasoleiman, Bilmes & Leskovec, "Coresets for Data-efficient Training of Machine
    Learning Models" (ICML 2020), algorithm 1, and section 3.4 for deep networks; arXiv:1906.01827.
    Deviations: selected once, with the trained selector, not anew in every few epochs.
    """

    needs: tuple[Need, ...] = (Need("probs"),)
    pipelines: frozenset[PipelineName] = frozenset({"core_set"})
    stochastic = False

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
            if share == 0:
                continue
            gradients = residuals(seen.probs(members), pool.labels(members))
            picks, _ = facility_location_greedy(gradients, int(share), metric="euclidean")
            counts = assign_counts(gradients, picks, metric="euclidean")
            rows.append(members[picks.cpu().numpy()])
            turns.append((np.arange(share) + 0.5) / share)
            weights.append(counts.double().cpu().numpy())
        order = np.argsort(np.concatenate(turns), kind="stable")
        return Query(in_turns(rows, turns), weights=np.concatenate(weights)[order])

    def cost(self, work: Work) -> Cost:
        """See `alframe.protocols.Cost`: as if all rows had one label."""
        memory = work.candidates * (40 * work.outputs + 4096) + 2**26
        return Cost(memory, 4.0 * work.candidates**2 * work.outputs)
