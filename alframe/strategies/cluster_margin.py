"""Uncertainty and diversity: rows of small margin, in turns from clusters, the smallest first."""

from __future__ import annotations

import math

import numpy as np

from alframe.errors import UserError
from alframe.functional.linkage import average_linkage, take_turns
from alframe.functional.topk import pairwise_topk
from alframe.functional.uncertainty import margin
from alframe.options import check_whole, is_number
from alframe.pool import Pool
from alframe.protocols import Cost, Need, Observations, PipelineName, Query, Rows, Work
from alframe.strategies.top_score import highest


class ClusterMargin:
    """Takes rows of small margin from as many clusters as possible, from small clusters first.

    Of the k_m = factor * k candidates with the smallest margins (the difference of the two largest
    class probabilities), the query takes one at random from each cluster, from the cluster that
    holds the fewest of them to that which holds the most, and again from those that have any left.
    The clusters are those of average linkage on the embeddings.

    Needs: class probabilities of the candidates, reduced to one number each within the pass; their
    embeddings.
    Cost: time O(s^2 d + k_m s d), memory O(s^2 + k_m d) beyond the observations, with s = 6 sqrt(n)
    rows by default, so that s^2 = 36 n (n candidates, d width, k picks).

    Source: Citovsky et al., "Batch Active Learning at Scale" (NeurIPS 2021), algorithms 1 and 2;
    arXiv:2107.14263.
    Deviations: 1. average linkage takes memory quadratic in its rows, so it clusters a random part
    of the candidates; each of the k_m rows joins the cluster of the nearest row of that part. All
    candidates are clustered where ``sample`` is as large. 2. The clusters are found anew for each
    query, since the embeddings move, where the paper clusters once. 3. By default the tree is cut
    into as many clusters as rows are asked for (at most the rows of the sample); the paper's
    threshold is in the units of the embeddings. Labeled rows play no role.

    Args:
        factor: k_m over k, 1 or more; the paper's 10.
        sample: Rows that are clustered by average linkage, 1 or more (8 bytes for each pair of
            them); None = 6 times the square root of the number of candidates.
        threshold: The mean distance above which clusters are not merged, 0 or more; None = the tree
            is cut into as many clusters as rows are asked for, or as the sample has rows.
    """

    needs: tuple[Need, ...] = (Need("probs", reduce=margin), Need("embeddings"))
    pipelines: frozenset[PipelineName] = frozenset({"active_learning", "core_set"})
    stochastic = True

    def __init__(
        self, factor: int = 10, sample: int | None = None, threshold: float | None = None
    ) -> None:
        check_whole("strategy.factor", factor, at_least=1)
        if sample is not None:
            check_whole("strategy.sample", sample, at_least=1)
        if threshold is not None and not (is_number(threshold) and threshold >= 0):
            raise UserError(
                f"strategy.threshold={threshold}: expected null or a number, 0 or more."
            )
        self.factor, self.sample, self.threshold = factor, sample, threshold

    def select(
        self,
        size: int,
        candidates: Rows,
        pool: Pool,  # noqa: ARG002
        seen: Observations,
        rng: np.random.Generator,
    ) -> Query:
        """See `alframe.protocols.Strategy.select`."""
        margins = seen.probs(candidates).double().cpu().numpy()
        uncertain = highest(candidates, margins, min(len(candidates), self.factor * size)).rows
        part = rng.choice(candidates, self._sampled(len(candidates)), replace=False)
        points = seen.embeddings(np.sort(part))
        count = size if self.threshold is None else None
        clusters = average_linkage(points, count, self.threshold).cpu().numpy()
        _, nearest = pairwise_topk(seen.embeddings(uncertain), points, 1)
        shuffled = rng.permutation(len(uncertain))
        order = take_turns(clusters[nearest[:, 0].cpu().numpy()[shuffled]])
        return Query(uncertain[shuffled[order[:size]]])

    def cost(self, work: Work) -> Cost:
        """See `alframe.protocols.Cost`: the distances of the sample twice, and the margin rows."""
        sampled, uncertain = self._sampled(work.candidates), self.factor * work.size
        uncertain = min(work.candidates, uncertain)
        size = 9 * sampled**2 + (sampled + uncertain) * (24 * work.width + 160)
        pairs = sampled * (sampled + float(uncertain))
        return Cost(size + 48 * work.candidates + 2**26, pairs * work.width)

    def _sampled(self, candidates: int) -> int:
        sample = math.ceil(6 * math.sqrt(candidates)) if self.sample is None else self.sample
        return min(candidates, sample)
