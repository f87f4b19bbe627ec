"""SemDeDup by row number against plain loops, and on planted duplicates."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from strategy_worlds import select, strategy_of, world

from alframe.errors import UserError
from alframe.strategies.semdedup import SemDeDup


def cosine(one, other):
    return one @ other / np.linalg.norm(one) / np.linalg.norm(other)


def slow(seen, keep):
    """One cluster, so that k-means has no choice: the largest epsilon at which a row is kept."""
    points = dict(zip(seen.rows.tolist(), seen.embeddings.numpy(), strict=True))
    observed = sorted({*seen.candidates.tolist(), *seen.labeled.tolist()})
    centroid = np.mean([points[row] / np.linalg.norm(points[row]) for row in observed], axis=0)
    sign = 1 if keep == "hard" else -1
    order = sorted(
        observed,
        key=lambda row: (row not in seen.labeled, sign * cosine(points[row], centroid)),
    )
    epsilon = {}
    for i, row in enumerate(order):
        nearest = max((cosine(points[row], points[other]) for other in order[:i]), default=-1)
        epsilon[row] = 1 - nearest
    return sorted(seen.candidates.tolist(), key=lambda row: -epsilon[row]), epsilon


@pytest.mark.parametrize("labeled", [0, 12])
@pytest.mark.parametrize("keep", ["hard", "easy"])
@pytest.mark.parametrize("seed", range(3))
def test_order_and_scores_against_loops(seed, keep, labeled):
    seen = world(seed)
    seen = replace(seen, labeled=seen.labeled[:labeled])
    query = select(SemDeDup(keep, clusters=1), seen, 37, pipeline="active_learning")
    rows, epsilon = slow(seen, keep)
    assert query.rows.tolist() == rows
    np.testing.assert_allclose(query.scores, [epsilon[row] for row in rows], atol=1e-9)


def planted(copies=5, groups=12):
    """Groups of rows that are nearly copies of each other, at different lengths."""
    rng = np.random.default_rng(0)
    seen = world(rows=copies * groups, labeled=0, candidates=copies * groups)
    group = rng.permutation(np.repeat(np.arange(groups), copies))
    points = rng.normal(size=(groups, 16))[group] + 1e-3 * rng.normal(size=(copies * groups, 16))
    points *= rng.uniform(0.1, 10, size=(len(points), 1))
    of_row = dict(zip(seen.rows.tolist(), group.tolist(), strict=True))
    return replace(seen, embeddings=torch.from_numpy(points)), of_row


@pytest.mark.parametrize("pipeline", ["active_learning", "core_set"])
@pytest.mark.parametrize("clusters", [1, 3, None])
def test_one_row_of_each_planted_group_is_kept(clusters, pipeline):
    seen, group = planted()
    query = select(SemDeDup(clusters=clusters), seen, 60, pipeline=pipeline)
    assert sorted(group[row] for row in query.rows.tolist()[:12]) == list(range(12))
    assert query.scores[11] > 0.1
    assert query.scores[12] < 1e-4


def test_the_farthest_or_the_nearest_of_duplicates_is_kept():
    """Two rows close to each other, one of them nearer to the mean of all."""
    seen = world(rows=6, labeled=0, candidates=6)
    points = torch.tensor([[1.0, 0], [1, 0], [1, 0.1], [1, 0.9], [1, 1.0], [1, -0.1]]).double()
    seen = replace(seen, rows=np.arange(6), candidates=np.arange(6), embeddings=points, num_rows=9)
    hard = select(SemDeDup("hard", clusters=1), seen, 6).rows.tolist()
    easy = select(SemDeDup("easy", clusters=1), seen, 6).rows.tolist()
    assert hard.index(4) < hard.index(3)
    assert easy.index(3) < easy.index(4)
    assert hard.index(0) < hard.index(1)  # equal rows: the lowest is kept


def test_copies_of_labeled_rows_come_last():
    seen = world()
    at = [np.flatnonzero(seen.rows == row)[0] for row in seen.candidates[:5]]
    known = [np.flatnonzero(seen.rows == row)[0] for row in seen.labeled[:5]]
    seen.embeddings[at] = 3 * seen.embeddings[known]
    query = select(SemDeDup(), seen, 37, pipeline="active_learning")
    assert sorted(query.rows[-5:].tolist()) == seen.candidates[:5].tolist()
    np.testing.assert_allclose(query.scores[-5:], 0, atol=1e-11)


def test_options():
    made = strategy_of("semdedup")
    assert (made.keep, made.clusters, made.iterations) == ("hard", None, 25)
    for key, value in (("keep", "both"), ("clusters", 0), ("iterations", -1)):
        with pytest.raises(UserError, match=rf"strategy\.{key}={value}: expected"):
            SemDeDup(**{key: value})
