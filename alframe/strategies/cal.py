"""Contrastive rows: close to labeled rows in the embedding, and yet predicted differently."""

from __future__ import annotations

import numpy as np

from alframe.errors import UserError
from alframe.functional.contrastive import neighbor_divergence
from alframe.functional.topk import pairwise_topk
from alframe.functional.uncertainty import entropy
from alframe.options import check_whole
from alframe.pool import Pool
from alframe.protocols import Cost, Need, Observations, PipelineName, Query, Rows, Scope, Work
from alframe.strategies.top_score import highest

METRICS = ("cosine", "euclidean")


class ContrastiveActiveLearning:
    """Takes the rows whose prediction differs most from those of their nearest labeled neighbors.

    A row's score is the mean of KL(p(y | x_l) || p(y | x)) over its k nearest labeled rows x_l in
    the embedding, in nats. In a batch the rows of the highest scores are taken, without regard to
    diversity among them.

    Needs: embeddings and class probabilities of candidates and labeled rows. Defined for active
    learning only, because it compares with what is labeled.
    Cost: time O(n m d + n k c), memory O(n k + (n + m) (d + c)) beyond the observations (n
    candidates, m labeled rows, width d, k neighbors, c labels).

    Source: Margatina, Vernikos, Barrault & Aletras, "Active Learning by Acquiring Contrastive
    Examples" (EMNLP 2021), algorithm 1; arXiv:2109.03764.
    Deviations: 1. probabilities of 0 count as 1.2e-38 in the logarithms. 2. Where no row is labeled
    the score is the entropy of the prediction; where fewer than k are, all of them are neighbors.
    With fewer than k labeled rows of a class the neighbors are of other classes, and the surest
    rows score highest: lower ``neighbors`` then (on digits from 20 labels on, 2 is far better).

    Args:
        neighbors: k, 1 or more; the authors' and the default: 10.
        metric: ``cosine``, as in the authors' code, which takes Euclidean distances of embeddings
            of length 1, or ``euclidean``.
    """

    needs: tuple[Need, ...] = (Need("embeddings", Scope.POOL), Need("probs", Scope.POOL))
    pipelines: frozenset[PipelineName] = frozenset({"active_learning"})
    stochastic = False
    scores_rows = True

    def __init__(self, neighbors: int = 10, metric: str = "cosine") -> None:
        check_whole("strategy.neighbors", neighbors, 1)
        if metric not in METRICS:
            raise UserError(f"strategy.metric={metric}: expected one of {', '.join(METRICS)}.")
        self.neighbors = neighbors
        self.metric = metric

    def select(
        self,
        size: int,
        candidates: Rows,
        pool: Pool,
        seen: Observations,
        rng: np.random.Generator,  # noqa: ARG002
    ) -> Query:
        """See `alframe.protocols.Strategy.select`."""
        labeled = pool.labeled
        probs = seen.probs(candidates)
        if len(labeled) == 0:
            return highest(candidates, entropy(probs).double().cpu().numpy(), size)
        k = min(self.neighbors, len(labeled))
        queries, points = seen.embeddings(candidates), seen.embeddings(labeled)
        _, near = pairwise_topk(queries, points, k, metric=self.metric)
        scores = neighbor_divergence(probs, seen.probs(labeled), near)
        return highest(candidates, scores.cpu().numpy(), size)

    def cost(self, work: Work) -> Cost:
        """See `alframe.protocols.Cost`: float64 and float32 copies, neighbors, blocks of pairs."""
        values = 16 * work.rows * (work.width + 1) + 8 * work.rows * work.outputs
        near = 32 * work.candidates * min(self.neighbors, max(work.labeled, 1)) + 64 * work.rows
        pairs = float(work.candidates) * work.labeled * work.width
        steps = float(work.candidates) * self.neighbors * work.outputs
        return Cost(values + near + 2**27, pairs + 4 * steps)
