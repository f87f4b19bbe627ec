"""Coverage where the model is unsure: greedy k-center with distances weighted by uncertainty."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np
import torch

from alframe.functional.kcenter import kcenter_greedy
from alframe.pool import Pool
from alframe.protocols import Cost, Need, Observations, PipelineName, Query, Rows, Scope, Work
from alframe.strategies.density_weighted import as_weights
from alframe.strategies.scored import check_not_negative

if TYPE_CHECKING:
    from torch import Tensor


class KCenterWeighted:
    """Picks, again and again, the candidate whose uncertainty times distance is largest.

    The distance is that to the nearest labeled or picked row, the weight an acquisition score of
    the candidate: greedy for the weighted k-center problem, min over centers S of max over x of
    w(x) d(x, S). A row that the model is sure of need not be covered closely; an unsure one waits
    only if a center is near. Where nothing is labeled the row of the largest weight comes first. A
    row's score is its weighted distance before it was picked (in units of the embedding times the
    score), infinite for the first pick where nothing is labeled.

    Needs: class probabilities of the candidates, reduced to one number each within the pass;
    embeddings of candidates and labeled rows.
    Cost: time at most O((m + k) n d), memory O(n + m) beyond the observations (n candidates, m
    labeled, k picks, width d).

    Source: greedy core-sets of Sener & Savarese, "Active Learning for Convolutional Neural
    Networks: A Core-Set Approach" (ICLR 2018), algorithm 1; arXiv:1708.00489; the weighted
    objective of Dyer & Frieze, "A simple heuristic for the p-centre problem" (Operations Research
    Letters 3, 1985), whose heuristic is this greedy, and of Plesnik, "A heuristic for the p-center
    problem in graphs" (Discrete Applied Mathematics 17, 1987).
    Deviations: 1. that the weights are uncertainties is in none of these papers. 2. Greedy is
    within min(3, 1 + largest weight / smallest weight) of the best (Dyer & Frieze) only where no
    weight is 0. Candidates of weight 0 come last, the lowest row first.

    Args:
        acquisition: Probabilities [n, classes] -> scores [n] of 0 or more, higher = sooner.
    """

    pipelines: frozenset[PipelineName] = frozenset({"active_learning", "core_set"})
    stochastic = False

    def __init__(self, acquisition: Callable[[Tensor], Tensor]) -> None:
        self.needs = (Need("probs", reduce=acquisition), Need("embeddings", Scope.POOL))
        remedy = "take alframe.functional.entropy or least_confidence"
        check_not_negative(self.needs[0], "strategy.acquisition", remedy)

    def select(
        self,
        size: int,
        candidates: Rows,
        pool: Pool,
        seen: Observations,
        rng: np.random.Generator,  # noqa: ARG002
    ) -> Query:
        """See `alframe.protocols.Strategy.select`."""
        own = as_weights(seen.probs(candidates))
        rows = np.union1d(candidates, pool.labeled)
        weights = own.new_zeros(len(rows))  # labeled rows are centers: no weight moves them
        weights[torch.from_numpy(np.searchsorted(rows, candidates))] = own
        centers = np.searchsorted(rows, pool.labeled)
        first = centers[:0] if len(centers) else weights.argmax().cpu().numpy()[None]
        centers, left = np.concatenate([centers, first]), size - len(first)
        points = seen.embeddings(rows)
        picks, radii = kcenter_greedy(points, left, centers, weights=weights)
        order = np.concatenate([first, picks.cpu().numpy()])
        return Query(rows[order], np.concatenate([first + np.inf, radii.cpu().numpy()]))

    def cost(self, work: Work) -> Cost:
        """See `alframe.protocols.Cost`: that of k-center, and the weights in two forms."""
        own = 48 * work.rows
        memory = work.rows * (8 * work.width + 96) + 2**26
        return Cost(own + memory, float(work.rows) * work.width * (work.size + work.labeled))
