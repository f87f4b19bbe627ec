"""Distances to prototypes by row number against scikit-learn and plain loops."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from sklearn.cluster import KMeans as Peer
from sklearn.preprocessing import normalize
from strategy_worlds import select, strategy_of, world

from alframe.errors import UserError
from alframe.strategies.prototypes import Prototypes, cluster_count


def directions(seed=0):
    """A world of rows around three directions, at very different lengths."""
    rng = np.random.default_rng(seed)
    seen = world(seed, rows=90, labeled=15, candidates=60)
    points = 30 * np.eye(4)[rng.integers(0, 3, 90)] + rng.normal(size=(90, 4))
    lengths = rng.uniform(0.01, 100, size=(90, 1))
    return replace(seen, embeddings=torch.from_numpy(points * lengths))


def slow(seen, size, keep, metric):
    """Distances of dictionaries of rows to the centroids that scikit-learn finds."""
    observed = np.isin(seen.rows, np.union1d(seen.candidates, seen.labeled))
    rows, points = seen.rows[observed], seen.embeddings.numpy()[observed]
    points = normalize(points) if metric == "cosine" else points
    peer = Peer(3, n_init=10, random_state=0).fit(points)
    difficulty = {}
    for row, point, label in zip(rows.tolist(), points, peer.labels_.tolist(), strict=True):
        centroid = peer.cluster_centers_[label]
        if metric == "cosine":
            difficulty[row] = 1 - point @ centroid / np.linalg.norm(centroid)
        else:
            difficulty[row] = np.linalg.norm(point - centroid)
    sign = -1 if keep == "hard" else 1
    picks = sorted(seen.candidates.tolist(), key=lambda row: (sign * difficulty[row], row))
    return picks[:size], difficulty


@pytest.mark.parametrize("metric", ["cosine", "euclidean"])
@pytest.mark.parametrize("keep", ["hard", "easy"])
@pytest.mark.parametrize("seed", range(2))
def test_order_and_scores_against_scikit_learn(seed, keep, metric):
    seen = directions(seed)
    if metric == "euclidean":  # far from each other by distance as well
        seen = replace(seen, embeddings=torch.from_numpy(normalize(seen.embeddings.numpy()) * 9))
    strategy = Prototypes(keep, 3, metric, iterations=50)
    query = select(strategy, seen, 60, seed, "active_learning")
    rows, difficulty = slow(seen, 60, keep, metric)
    assert query.rows.tolist() == rows
    sign = 1 if keep == "hard" else -1
    np.testing.assert_allclose(query.scores, [sign * difficulty[row] for row in rows], atol=1e-9)


def test_hard_and_easy_are_each_others_end():
    seen = directions()
    hard, easy = (select(Prototypes(keep), seen, 60, 1) for keep in ("hard", "easy"))
    np.testing.assert_array_equal(hard.rows, easy.rows[::-1])


def test_lengths_play_no_role_for_cosines():
    seen = directions()
    longer = replace(seen, embeddings=seen.embeddings * torch.logspace(-3, 3, 90)[:, None])
    for size in (1, 30):
        one, other = (select(Prototypes(clusters=3), w, size) for w in (seen, longer))
        np.testing.assert_array_equal(one.rows, other.rows)


def test_labeled_rows_shape_the_prototypes_in_active_learning():
    seen = directions()
    seen.embeddings[np.isin(seen.rows, seen.labeled)] = torch.tensor([0.0, 0, 0, 1]).double()
    alone = select(Prototypes(clusters=4), seen, 60, pipeline="core_set")
    beside = select(Prototypes(clusters=4), seen, 60, pipeline="active_learning")
    assert not np.array_equal(alone.rows, beside.rows)


def test_options():
    made = strategy_of("prototypes")
    assert (made.keep, made.clusters, made.metric, made.iterations) == ("hard", None, "cosine", 25)
    assert [cluster_count(None, n) for n in (1, 2, 100, 101)] == [1, 2, 10, 11]
    assert cluster_count(7, 5) == 5
    for key, value in (("keep", "both"), ("metric", "l1"), ("clusters", 0), ("iterations", -1)):
        with pytest.raises(UserError, match=rf"strategy\.{key}={value}: expected"):
            Prototypes(**{key: value})
