"""ProbCover by row number against scikit-activeml, and its delta rule by hand."""

from __future__ import annotations

import warnings
from dataclasses import replace

import numpy as np
import pytest
import torch
from skactiveml.pool import ProbCover as Peer
from strategy_worlds import select, strategy_of, world

from alframe.errors import UserError
from alframe.functional.coverage import purity_radius
from alframe.functional.kmeans import kmeans
from alframe.strategies.probcover import ProbCover


def pooled(seen):
    """Observed rows, ascending, and their embeddings."""
    rows = np.union1d(seen.candidates, seen.labeled)
    order = np.argsort(seen.rows)
    return rows, seen.embeddings[order[np.searchsorted(seen.rows[order], rows)]]


def first(values, random_state):
    return [np.nanargmax(values)]


@pytest.mark.parametrize("labeled", [0, 1, 12])
@pytest.mark.parametrize("seed", range(4))
def test_picks_equal_those_of_scikit_activeml(seed, labeled, monkeypatch):
    monkeypatch.setattr("skactiveml.pool._prob_cover.rand_argmax", first)  # ties go at random
    seen = world(seed)
    seen = replace(seen, labeled=seen.labeled[:labeled])
    query = select(ProbCover(delta=1.5), seen, 15, pipeline="active_learning")
    rows, points = pooled(seen)
    labels = np.where(np.isin(rows, seen.labeled), 0.0, np.nan)
    theirs = Peer(n_classes=2, deltas=[1.5])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # one radius is tried, so that its purity is not known
        picks, covered = theirs.query(points.numpy(), labels, batch_size=15, return_utilities=True)
    np.testing.assert_array_equal(np.nanmax(covered, axis=1), query.scores)
    covering = query.scores > 0
    assert covering.sum() >= 5
    np.testing.assert_array_equal(rows[picks][covering], query.rows[covering])


def test_without_delta_it_is_the_radius_of_pure_balls():
    seen = world()
    _, points = pooled(seen)
    _, labels, _ = kmeans(points, 5, np.random.default_rng(3))  # five class probabilities
    delta = purity_radius(points, labels, 0.8)
    query = select(ProbCover(alpha=0.8), seen, 20, 3, "active_learning")
    given = select(ProbCover(delta=delta), seen, 20, 0, "active_learning")
    other = select(ProbCover(alpha=0.8, clusters=5), seen, 20, 3, "active_learning")
    np.testing.assert_array_equal(query.rows, given.rows)
    np.testing.assert_array_equal(query.rows, other.rows)
    for radius, enough in ((delta, True), (delta * 1.000001, False)):
        inside = torch.cdist(points, points) <= radius
        pure = (~inside | (labels[:, None] == labels)).all(1).double().mean()
        assert (pure >= 0.8) == enough


def test_it_covers_blobs_by_size_and_delta_is_their_gap():
    """Tight blobs far apart: each ball of the rule holds a blob, so that each needs one row."""
    rng = np.random.default_rng(0)
    label = np.repeat(np.arange(4), [30, 5, 20, 10])
    points = torch.from_numpy(0.1 * rng.normal(size=(65, 2)) + 10 * np.eye(4)[label][:, :2])
    points[label == 2] += 20
    points[label == 3] -= 20
    rows = np.arange(65) * 3
    seen = replace(
        world(rows=65, labeled=0, candidates=0, classes=4),
        num_rows=200,
        rows=rows,
        labeled=rows[[0]],
        candidates=rows[1:],
        embeddings=points,
    )
    query = select(ProbCover(alpha=1.0), seen, 5, pipeline="active_learning")
    assert query.scores.tolist() == [20, 10, 5, 0, 0]
    assert label[query.rows[:3] // 3].tolist() == [2, 3, 1]


def test_needs_follow_from_the_options():
    def kinds(strategy):
        return [need.what for need in strategy.needs]

    assert kinds(strategy_of("probcover")) == ["embeddings", "probs"]
    assert kinds(ProbCover(clusters=7)) == kinds(ProbCover(delta=0.5)) == ["embeddings"]
    assert strategy_of("probcover").stochastic
    assert not ProbCover(delta=0.5).stochastic
    reduced = strategy_of("probcover").needs[1].reduce(torch.rand(3, 7))
    assert reduced.tolist() == [7, 7, 7]


def test_wrong_options_are_refused():
    for key, value in (
        ("delta", 0),
        ("delta", "a"),
        ("alpha", 0),
        ("alpha", 1.1),
        ("clusters", 0),
        ("iterations", -1),
    ):
        with pytest.raises(UserError, match=rf"strategy\.{key}={value}: expected"):
            ProbCover(**{key: value})
