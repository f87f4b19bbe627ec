"""k-means picks by row number against scikit-learn's clusters where any clustering agrees."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from sklearn.cluster import KMeans as Peer
from strategy_worlds import select, strategy_of, world

from alframe.errors import UserError
from alframe.strategies.kmeans import KMeans


def blobs(counts, seed=0):
    """A world of candidates in round clusters far from each other."""
    rng = np.random.default_rng(seed)
    label = rng.permutation(np.repeat(np.arange(len(counts)), counts))
    points = rng.normal(size=(len(label), 3)) + 100 * np.eye(len(counts))[label][:, :3]
    points[label == 3] -= 200
    rows = rng.choice(10 * len(label), len(label), replace=False)
    return replace(
        world(rows=len(label), labeled=0, candidates=0),
        num_rows=10 * len(label),
        rows=rows,
        candidates=np.sort(rows),
        embeddings=torch.from_numpy(points),
    )


@pytest.mark.parametrize("pipeline", ["active_learning", "core_set"])
@pytest.mark.parametrize("seed", range(3))
def test_the_rows_nearest_to_the_centroids_of_scikit_learn(seed, pipeline):
    seen = blobs([20, 35, 7, 12], seed)
    peer = Peer(4, n_init=5, random_state=0).fit(seen.embeddings.numpy())
    nearest = {}
    for row, point, label in zip(
        seen.rows.tolist(), seen.embeddings.numpy(), peer.labels_.tolist(), strict=True
    ):
        distance = np.linalg.norm(point - peer.cluster_centers_[label])
        nearest[label] = min(nearest.get(label, (np.inf, 0)), (distance, row))
    sizes = np.bincount(peer.labels_)
    expected = [nearest[label][1] for label in np.argsort(-sizes)]
    query = select(KMeans(), seen, 4, seed, pipeline)
    assert query.rows.tolist() == expected
    assert query.scores.tolist() == [35, 20, 12, 7]


def test_labeled_rows_are_not_looked_at():
    seen = world()
    before = select(KMeans(), seen, 8, pipeline="active_learning")
    seen.embeddings[np.isin(seen.rows, seen.labeled)] = 1e6
    after = select(KMeans(), seen, 8, pipeline="active_learning")
    np.testing.assert_array_equal(before.rows, after.rows)


def test_it_covers_better_than_chance():
    """What k-means minimizes: the mean squared distance to the nearest picked row."""
    seen = world(rows=400, labeled=0, candidates=400)
    points = dict(zip(seen.rows.tolist(), seen.embeddings.numpy(), strict=True))

    def spread(rows):
        picked = np.stack([points[row] for row in rows.tolist()])
        everything = np.stack(list(points.values()))
        return ((everything[:, None] - picked) ** 2).sum(-1).min(1).mean()

    rng = np.random.default_rng(0)
    chance = [spread(rng.choice(seen.candidates, 20, replace=False)) for _ in range(50)]
    for seed in range(5):
        assert spread(select(KMeans(), seen, 20, seed).rows) < min(chance)


def test_options():
    assert strategy_of("kmeans").iterations == 25
    with pytest.raises(UserError, match=r"strategy\.iterations=-1"):
        KMeans(iterations=-1)
