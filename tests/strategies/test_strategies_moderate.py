"""Moderate core-sets by row number against a plain loop."""

from __future__ import annotations

import statistics
from dataclasses import replace

import numpy as np
import pytest
import torch
from strategy_worlds import select, strategy_of, world

from alframe.errors import UserError
from alframe.strategies.moderate import Moderate


def slow_places(seen, by_label):
    """(place in its class from 0 to 1, label) of each row, with dictionaries of rows."""
    points = dict(zip(seen.rows.tolist(), seen.embeddings.numpy(), strict=True))
    labels = dict(zip(seen.rows.tolist(), seen.labels.tolist(), strict=True))
    rows = seen.candidates.tolist()
    far = {}
    for row in rows:
        mates = [points[r] for r in rows if labels[r] == labels[row]]
        far[row] = np.linalg.norm(points[row] - np.mean(mates, axis=0))
    places = {}
    for row in rows:
        mates = [r for r in rows if not by_label or labels[r] == labels[row]]
        median = statistics.median_low([far[r] for r in mates])
        closer = sum(abs(far[r] - median) < abs(far[row] - median) for r in mates)
        places[row] = ((closer + 0.5) / len(mates), labels[row])
    return places


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("by_label", [True, False])
def test_order_and_scores_against_the_loop(seed, by_label):
    seen = world(seed)
    places = slow_places(seen, by_label)
    query = select(Moderate(by_label), seen, 30)
    assert query.rows.tolist() == sorted(places, key=lambda row: places[row])[:30]
    np.testing.assert_allclose(query.scores, [-places[row][0] for row in query.rows])


@pytest.mark.parametrize("size", [1, 5, 20, 37])
def test_each_class_has_its_share(size):
    seen = world()
    query = select(strategy_of("moderate"), seen, size)
    labels = dict(zip(seen.rows.tolist(), seen.labels.tolist(), strict=True))
    for label in set(labels.values()):
        members = [row for row in seen.candidates.tolist() if labels[row] == label]
        taken = [row for row in query.rows.tolist() if labels[row] == label]
        assert abs(len(taken) - size * len(members) / 37) < 1


def test_the_middle_of_a_line_and_not_its_ends():
    """One class on a line, seen from its center at 0: of |x| = 1, 2, 3, 4, 5 the median is 3."""
    seen = world(rows=10, labeled=0, candidates=10)
    line = torch.tensor([-5.0, -4, -3, -2, -1, 1, 2, 3, 4, 5])
    order = np.argsort(seen.rows)
    seen.embeddings[:] = 0
    seen.embeddings[order, 0] = line.double()
    query = select(Moderate(), replace(seen, labels=np.zeros(10, np.int64)), 6)
    picked = line[np.searchsorted(seen.candidates, query.rows)].tolist()
    assert picked == [-3, 3, -4, -2, 2, 4]  # ties to the lowest row
    assert query.scores.tolist() == [-0.05, -0.15, -0.25, -0.35, -0.45, -0.55]


def test_it_is_for_core_sets_and_its_option_is_checked():
    assert Moderate.pipelines == {"core_set"}
    with pytest.raises(UserError, match=r"strategy\.by_label=1: expected true or false"):
        Moderate(by_label=1)
