"""Greedy k-center by row number against brute force."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from strategy_worlds import select, strategy_of, world

from alframe.strategies.kcenter import KCenter


def brute_force(seen, size):
    """The definition with dictionaries of rows: labeled rows are centers, candidates are picked."""
    points = dict(zip(seen.rows.tolist(), seen.embeddings.numpy(), strict=True))
    centers, picks, radii = seen.labeled.tolist(), [], []
    observed = sorted({*seen.candidates.tolist(), *centers})
    for _ in range(size):
        free = [row for row in seen.candidates.tolist() if row not in picks]
        if centers:
            far = {r: min(np.linalg.norm(points[r] - points[c]) for c in centers) for r in free}
            best = max(free, key=lambda row: far[row])
            radii.append(far[best])
        else:
            mean = np.mean([points[row] for row in observed], axis=0)
            best = min(free, key=lambda row: np.linalg.norm(points[row] - mean))
            radii.append(np.inf)
        picks.append(best)
        centers = [*centers, best]
    return picks, radii


@pytest.mark.parametrize("labeled", [0, 1, 12])
@pytest.mark.parametrize("seed", range(3))
def test_picks_and_radii_equal_brute_force(seed, labeled):
    seen = world(seed)
    seen = replace(seen, labeled=seen.labeled[:labeled])
    query = select(KCenter(), seen, 37, pipeline="active_learning")
    rows, radii = brute_force(seen, 37)
    assert query.rows.tolist() == rows
    np.testing.assert_allclose(query.scores, radii, rtol=1e-12)


def test_rows_that_are_no_candidates_are_neither_seen_nor_covered():
    seen = world()
    outside = ~np.isin(seen.rows, np.concatenate([seen.candidates, seen.labeled]))
    assert outside.any()
    before = select(KCenter(), seen, 20, pipeline="active_learning")
    seen.embeddings[outside] = 1e6
    after = select(KCenter(), seen, 20, pipeline="active_learning")
    np.testing.assert_array_equal(before.rows, after.rows)


def test_a_copy_of_a_labeled_row_is_picked_last():
    seen = world()
    copy = seen.rows == seen.candidates[0]
    seen.embeddings[copy] = seen.embeddings[seen.rows == seen.labeled[0]]
    query = select(KCenter(), seen, 37, pipeline="active_learning")
    assert query.rows[-1] == seen.candidates[0]
    assert query.scores[-1] == 0


def test_in_core_set_selection_no_row_is_a_center_before_the_first_pick():
    query = select(strategy_of("kcenter"), world(), 5, pipeline="core_set")
    assert np.isposinf(query.scores).tolist() == [True, False, False, False, False]
