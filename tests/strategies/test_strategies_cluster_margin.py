"""Cluster-margin: the law of its turns on scikit-learn's clusters, and by hand."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from sklearn.cluster import AgglomerativeClustering
from strategy_worlds import select, strategy_of, world

from alframe.errors import UserError
from alframe.strategies.cluster_margin import ClusterMargin


def margins(seen):
    """The difference of the two largest probabilities of each row."""
    two = np.sort(seen.probs.numpy(), axis=1)[:, -2:]
    return dict(zip(seen.rows.tolist(), (two[:, 1] - two[:, 0]).tolist(), strict=True))


@pytest.mark.parametrize("threshold", [None, 1.5])
@pytest.mark.parametrize(("size", "factor"), [(6, 3), (10, 2), (12, 1), (37, 10)])
@pytest.mark.parametrize("seed", range(2))
def test_turns_go_over_the_clusters_of_scikit_learn(seed, size, factor, threshold):
    seen = world(seed)
    candidates = seen.candidates.tolist()
    points = dict(zip(seen.rows.tolist(), seen.embeddings.numpy(), strict=True))
    count = size if threshold is None else None
    peer = AgglomerativeClustering(count, linkage="average", distance_threshold=threshold)
    labels = peer.fit_predict(np.stack([points[row] for row in candidates]))
    cluster = dict(zip(candidates, labels.tolist(), strict=True))

    uncertain = sorted(candidates, key=lambda row: margins(seen)[row])[: factor * size]
    left = {}
    for row in uncertain:
        left.setdefault(cluster[row], set()).add(row)
    sizes = {label: len(rows) for label, rows in left.items()}

    query = select(ClusterMargin(factor, 1000, threshold), seen, size, seed)
    turn = []
    for row in query.rows.tolist():
        turn = turn or sorted(sizes[label] for label in left if left[label])
        assert sizes[cluster[row]] == turn.pop(0)  # smallest first, each once, of those with some
        left[cluster[row]].remove(row)
    assert query.scores is None


def test_the_small_cluster_is_not_crowded_out():
    """Forty uncertain copies of one thing, and three uncertain others."""
    rng = np.random.default_rng(0)
    seen = world(rows=60, labeled=0, candidates=60, classes=2)
    kind = np.repeat([0, 1, 2], [54, 4, 2])
    points = 50 * np.eye(4)[kind] + rng.normal(size=(60, 4))
    probs = torch.full((60, 2), 0.5).double()
    probs[:14] = torch.tensor([0.99, 0.01]).double()  # the certain ones are never looked at
    probs[54] = probs[0]
    seen = replace(seen, embeddings=torch.from_numpy(points), probs=probs)
    of_row = dict(zip(seen.rows.tolist(), kind.tolist(), strict=True))
    strategy = ClusterMargin(factor=5, sample=60, threshold=30)
    query = select(strategy, seen, 9)
    assert [of_row[row] for row in query.rows.tolist()] == [2, 1, 0, 2, 1, 0, 1, 0, 0]
    certain = set(seen.rows[:14].tolist()) | {seen.rows[54]}
    assert not certain & set(query.rows.tolist())


def test_which_row_of_a_cluster_is_random():
    """Of one cluster, each of the rows of small margin is as likely as any other."""
    seen = world()
    uncertain = sorted(seen.candidates.tolist(), key=lambda row: margins(seen)[row])[:4]
    strategy = ClusterMargin(factor=4, threshold=1e9)
    picks = [select(strategy, seen, 1, seed).rows[0] for seed in range(200)]
    counts = {row: picks.count(row) for row in uncertain}
    assert sum(counts.values()) == 200
    assert min(counts.values()) > 20  # 50 expected, 5 standard deviations are 31


def test_a_part_of_the_candidates_stands_for_all():
    """Blobs far from each other: a part that hits each of them gives the clusters of all."""
    rng = np.random.default_rng(0)
    seen = world(rows=300, labeled=0, candidates=300)
    kind = np.arange(300) % 3
    seen = replace(
        seen, embeddings=torch.from_numpy(90 * np.eye(4)[kind] + rng.normal(size=(300, 4)))
    )
    of_row = dict(zip(seen.rows.tolist(), kind.tolist(), strict=True))
    query = select(ClusterMargin(sample=40), seen, 3)
    assert sorted(of_row[row] for row in query.rows.tolist()) == [0, 1, 2]


def test_options():
    made = strategy_of("cluster_margin")
    assert (made.factor, made.sample, made.threshold) == (10, None, None)
    for key, value in (("factor", 0), ("sample", 0), ("threshold", -1)):
        with pytest.raises(UserError, match=rf"strategy\.{key}={value}: expected"):
            ClusterMargin(**{key: value})
