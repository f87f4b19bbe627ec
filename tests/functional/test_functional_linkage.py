"""Average linkage against scikit-learn and by hand; taking turns and typicality against loops."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from sklearn.cluster import AgglomerativeClustering
from sklearn.metrics import adjusted_rand_score
from sklearn.neighbors import NearestNeighbors

from alframe.functional.linkage import average_linkage, take_turns
from alframe.functional.typicality import typicality


@pytest.mark.parametrize("seed", range(3))
def test_clusters_equal_those_of_scikit_learn(seed):
    points = np.random.default_rng(seed).normal(size=(80, 3))
    for clusters in (1, 2, 7, 80):
        theirs = AgglomerativeClustering(clusters, linkage="average").fit_predict(points)
        assert adjusted_rand_score(theirs, average_linkage(points, clusters)) == 1
    theirs = AgglomerativeClustering(None, linkage="average", distance_threshold=1.5)
    labels = average_linkage(torch.from_numpy(points), threshold=1.5)
    assert adjusted_rand_score(theirs.fit_predict(points), labels) == 1
    assert sorted(set(labels.tolist())) == list(range(labels.max() + 1))


def test_the_threshold_is_the_mean_distance():
    points = np.array([[0.0], [1.0], [4.0]])  # to {0, 1} the third has a mean distance of 3.5
    assert len(set(average_linkage(points, threshold=0.99))) == 3
    assert len(set(average_linkage(points, threshold=1.0))) == 2
    assert len(set(average_linkage(points, threshold=3.49))) == 2
    assert len(set(average_linkage(points, threshold=3.5))) == 1


@pytest.mark.parametrize("factor", [1e-300, 1e300])
def test_huge_and_tiny_and_equal_points(factor):
    points = np.array([[0.0, 0], [0, 1], [9, 9], [9, 8], [0, 0]]) / 10
    labels = average_linkage(points * factor, 2)
    assert adjusted_rand_score(labels, [0, 0, 1, 1, 0]) == 1
    assert (
        adjusted_rand_score(average_linkage(points * factor, threshold=0.3 * factor), labels) == 1
    )
    assert average_linkage(np.ones((4, 2)), 3).max() <= 2
    assert average_linkage(np.ones((1, 2)), 1).tolist() == [0]


def test_what_cannot_be_clustered_is_refused():
    points = np.ones((3, 2))
    with pytest.raises(ValueError, match="clusters or a threshold, got None and None"):
        average_linkage(points)
    with pytest.raises(ValueError, match=r"embeddings \[n >= 1, d\]"):
        average_linkage(points[:0], 1)
    points[2] = np.inf
    with pytest.raises(ValueError, match="1 bad rows of 3: 2"):
        average_linkage(points, 1)


@given(st.lists(st.sampled_from([0, 3, 4, 9]), max_size=30))
def test_turns_against_queues(groups):
    queues = {g: [i for i, other in enumerate(groups) if other == g] for g in groups}
    order = sorted(queues.values(), key=lambda queue: (len(queue), queue[0]))
    taken = []
    while any(order):
        taken += [queue.pop(0) for queue in order if queue]
    assert take_turns(groups).tolist() == taken


@pytest.mark.parametrize("neighbors", [1, 5, 20, 200])
def test_typicality_against_scikit_learn(neighbors):
    points = np.random.default_rng(0).normal(size=(90, 4))
    k = min(neighbors, 89)
    distances, _ = NearestNeighbors(n_neighbors=k + 1).fit(points).kneighbors(points)
    expected = 1 / distances[:, 1:].mean(axis=1)
    np.testing.assert_allclose(typicality(points, neighbors), expected, rtol=1e-9)


def test_typicality_of_equal_single_and_huge_points():
    assert typicality(np.ones((3, 2))).tolist() == [np.inf] * 3
    assert typicality(np.ones((1, 2))).tolist() == [np.inf]
    huge = typicality(np.array([[0.0], [1e300], [1.5e308]]), 2)
    assert huge.argmin() == 2
    assert (huge > 0).all()
    with pytest.raises(ValueError, match="at least 1 neighbor, got 0"):
        typicality(np.ones((3, 2)), 0)
