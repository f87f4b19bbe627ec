"""TypiClust by row number against scikit-activeml on the same clusters, loops and by hand."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from skactiveml.pool import TypiClust as Peer
from strategy_worlds import select, strategy_of, world

from alframe.errors import UserError
from alframe.functional.kmeans import kmeans
from alframe.strategies.typiclust import TypiClust


def pooled(seen, size, rng, most=500):
    """Rows, points and clusters, as the strategy makes them."""
    rows = np.union1d(seen.candidates, seen.labeled)
    order = np.argsort(seen.rows)
    points = seen.embeddings[order[np.searchsorted(seen.rows[order], rows)]]
    k = min(len(seen.labeled) + size, most, len(rows))
    return rows, points.numpy(), kmeans(points, k, rng)[1].numpy()


@pytest.mark.parametrize("labeled", [0, 1, 12])
@pytest.mark.parametrize("seed", range(4))
def test_picks_equal_those_of_scikit_activeml_on_the_same_clusters(seed, labeled, monkeypatch):
    def first(values, random_state):
        return [np.nanargmax(values)]

    class Given:
        """A clustering that is known already."""

        def __init__(self, n_clusters):
            pass

        def fit_predict(self, points):
            return clusters

    monkeypatch.setattr("skactiveml.pool._typi_clust.rand_argmax", first)  # ties go at random
    seen = world(seed)
    seen = replace(seen, labeled=seen.labeled[:labeled])
    rows, points, clusters = pooled(seen, 9, np.random.default_rng(seed))
    labels = np.where(np.isin(rows, seen.labeled), 0.0, np.nan)
    theirs = Peer(cluster_algo=Given, k=3, random_state=0).query(points, labels, batch_size=9)
    ours = TypiClust(neighbors=3, min_cluster_size=0)
    query = select(ours, seen, 9, seed, "active_learning")
    np.testing.assert_array_equal(query.rows, rows[theirs])
    assert query.scores is None


def slow(seen, size, options, rng):
    """Dictionaries of row numbers; one scan over the clusters for each pick."""
    rows, points, labels = pooled(seen, size, rng, options["max_clusters"])
    points = dict(zip(rows.tolist(), points, strict=True))
    clusters = {}
    for row, label in zip(rows.tolist(), labels.tolist(), strict=True):
        clusters.setdefault(label, []).append(row)

    def distance(row, cluster):
        near = sorted(np.linalg.norm(points[row] - points[o]) for o in cluster if o != row)
        near = near[: options["neighbors"]]
        return np.mean(near) if near else 0.0

    def key(item):
        label, cluster = item
        known = sum(row in taken for row in cluster)
        return len(cluster) < options["min_cluster_size"], known, -len(cluster), label

    taken, picks = set(seen.labeled.tolist()), []
    for _ in range(size):
        open_ones = {i: c for i, c in clusters.items() if set(c) - taken}
        _, cluster = min(open_ones.items(), key=key)
        free = [row for row in cluster if row not in taken]
        picks.append(min(free, key=lambda row: (distance(row, cluster), row)))
        taken.add(picks[-1])
    return picks


@pytest.mark.parametrize("most", [1, 4, 500])
@pytest.mark.parametrize("least", [0, 5])
@pytest.mark.parametrize("labeled", [0, 12])
def test_all_candidates_come_in_the_order_of_the_loops(labeled, least, most):
    seen = world(1)
    seen = replace(seen, labeled=seen.labeled[:labeled])
    options = {"neighbors": 4, "max_clusters": most, "min_cluster_size": least}
    for size in (6, 37):
        query = select(TypiClust(**options), seen, size, 5, "active_learning")
        assert query.rows.tolist() == slow(seen, size, options, np.random.default_rng(5))


def blobs(counts, labeled=()):
    """A world of round clusters far from each other, and the cluster of each row."""
    rng = np.random.default_rng(0)
    label = np.repeat(np.arange(len(counts)), counts)
    points = rng.normal(size=(len(label), 2)) + 100 * np.stack([label, label**2], axis=1)
    rows = np.sort(rng.choice(10 * len(label), len(label), replace=False))
    known = np.array([rows[label == i][0] for i in labeled], dtype=np.int64)
    seen = replace(
        world(rows=len(label), labeled=0, candidates=0),
        num_rows=10 * len(label),
        rows=rows,
        labeled=known,
        candidates=np.setdiff1d(rows, known),
        embeddings=torch.from_numpy(points),
    )
    return seen, dict(zip(rows.tolist(), label.tolist(), strict=True))


def test_the_largest_uncovered_clusters_come_first_and_an_outlier_never():
    # 5 clusters for 2 labeled rows and 3 picks, and one row far away that is one of them
    seen, cluster = blobs([30, 40, 60, 20, 1], labeled=[2, 3])
    query = select(TypiClust(), seen, 3, pipeline="active_learning")
    assert [cluster[row] for row in query.rows.tolist()[:2]] == [1, 0]
    assert cluster[query.rows[2]] != 4
    query = select(TypiClust(min_cluster_size=0), seen, 3, pipeline="active_learning")
    assert [cluster[row] for row in query.rows.tolist()] == [1, 0, 4]


def test_the_row_in_the_middle_is_typical():
    seen, _ = blobs([200])
    query = select(TypiClust(neighbors=199), seen, 1, pipeline="core_set")
    centre = seen.embeddings.mean(0)
    distances = dict(zip(seen.rows.tolist(), (seen.embeddings - centre).norm(dim=1), strict=True))
    assert distances[query.rows[0]] <= np.sort(list(distances.values()))[5]


def test_options():
    made = strategy_of("typiclust")
    assert (made.neighbors, made.max_clusters, made.min_cluster_size) == (20, 500, 5)
    for wrong in ({"neighbors": 0}, {"max_clusters": 0}, {"min_cluster_size": -1}):
        (key,) = wrong
        with pytest.raises(UserError, match=rf"strategy\.{key}="):
            TypiClust(**wrong)
    with pytest.raises(UserError, match=r"strategy\.iterations=True"):
        TypiClust(iterations=True)
