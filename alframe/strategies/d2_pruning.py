"""Difficulty and diversity at once: scores passed along a graph of nearest neighbors."""

from __future__ import annotations

import numpy as np
import torch

from alframe.errors import UserError
from alframe.functional.message_passing import d2_greedy
from alframe.options import check_range, check_whole
from alframe.pool import Pool
from alframe.protocols import Cost, Need, Observations, PipelineName, Query, Rows, Strategy, Work
from alframe.strategies.scored import check_scores, scores_of, scoring_cost


class D2Pruning:
    """Takes hard rows from dense regions, and after each pick fewer of its neighbors.

    Every candidate is scored by another strategy, higher = harder. On the graph of the k nearest
    neighbors in the embedding, with messages exp(-gamma d^2) times a score, every row first gains
    the scores of its neighbors (so that a row stands for its region); then, again and again, the
    row of the highest score is picked and takes its own score from its neighbors (so that the next
    pick is unlike it). d is in units of its median over the graph. A row's score is what it had
    when it was picked, in units of the highest score before any message.

    Needs: those of the scoring strategy, and embeddings of the candidates.
    Cost: those of the scoring strategy for all candidates; besides time O(n^2 d) for the neighbors
    and O(k + sqrt(n)) a pick, memory O(n (d + k)) beyond the observations (n candidates, width d, k
    neighbors).

    Source: Maharana, Yadav & Bansal, "D2 Pruning: Message Passing for Balancing Diversity and
    Difficulty in Data Pruning" (ICLR 2024); arXiv:2310.07931.
    Deviations: 1. distances in units of their median, where the paper tunes gamma for each dataset;
    in the authors' code (github.com/adymaharana/d2pruning) messages fall with d, not d^2. 2.
    Negative scores are shifted up to 0, infinite ones (a row that forgetting never saw learned)
    count as the highest finite one. 3. A pick whose score fell below 0 sends no message. 4. No rows
    are dropped as mislabeled before (their experiments drop the hardest as CCS does), and there is
    one graph for all labels.

    Args:
        score: The strategy whose scores say how hard a row is, higher = harder. The default, as the
            paper's for CIFAR: forgetting.
        neighbors: k, 1 or more; the authors' default: 10.
        gamma_forward: How fast messages between neighbors fall with distance, in [0, 1000].
        gamma_reverse: How fast messages of a pick fall with distance, in [0, 1000]; the smaller,
            the more diverse.
    """

    stochastic = False

    def __init__(
        self,
        score: Strategy,
        neighbors: int = 10,
        gamma_forward: float = 1.0,
        gamma_reverse: float = 1.0,
    ) -> None:
        check_whole("strategy.neighbors", neighbors, 1)
        check_range("strategy.gamma_forward", gamma_forward, 0, 1000)
        check_range("strategy.gamma_reverse", gamma_reverse, 0, 1000)
        if "core_set" not in score.pipelines:
            raise UserError(
                f"strategy.score={type(score).__name__}: expected a strategy that is defined in "
                "pipeline=core_set; change strategy.score"
            )
        check_scores(score)
        self.pipelines: frozenset[PipelineName] = frozenset({"core_set"})
        self.needs = tuple(dict.fromkeys((Need("embeddings"), *score.needs)))
        self.stochastic = score.stochastic
        self._score = score
        self._neighbors = neighbors
        self._gammas = {"gamma_forward": gamma_forward, "gamma_reverse": gamma_reverse}

    def select(
        self, size: int, candidates: Rows, pool: Pool, seen: Observations, rng: np.random.Generator
    ) -> Query:
        """See `alframe.protocols.Strategy.select`."""
        embeddings = seen.of((Need("embeddings"),)).embeddings(candidates)
        difficulty = scores_of(self._score, candidates, pool, seen, rng)
        hardness = torch.from_numpy(difficulty)
        picks, scores = d2_greedy(embeddings, hardness, size, self._neighbors, **self._gammas)
        return Query(candidates[picks.cpu().numpy()], scores.cpu().numpy())

    def cost(self, work: Work) -> Cost:
        """See `alframe.protocols.Cost`: the scores, and the graph in both directions, twice."""
        inner = scoring_cost(self._score, work)
        n, k = work.candidates, self._neighbors
        graph = n * (24 * (work.width + 2) + 120 * k + 160) + 2**27
        return Cost(max(inner.bytes, graph), inner.operations + float(n) * n * work.width)
