"""Weighted greedy k-center by row number against brute force."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import scipy.stats
import torch
from strategy_worlds import select, strategy_of, world

from alframe.errors import UserError
from alframe.functional import entropy, margin
from alframe.strategies.kcenter import KCenter
from alframe.strategies.kcenter_weighted import KCenterWeighted


def brute_force(seen, size):
    """The definition with dictionaries of rows: labeled rows are centers, candidates are picked."""
    points = dict(zip(seen.rows.tolist(), seen.embeddings.numpy(), strict=True))
    unsure = dict(zip(seen.rows.tolist(), scipy.stats.entropy(seen.probs, axis=1), strict=True))
    centers, picks, scores = seen.labeled.tolist(), [], []
    for _ in range(size):
        free = [row for row in seen.candidates.tolist() if row not in picks]
        key = unsure
        if centers:
            key = {
                row: unsure[row] * min(np.linalg.norm(points[row] - points[c]) for c in centers)
                for row in free
            }
        best = max(free, key=lambda row: key[row])
        scores.append(key[best] if centers else np.inf)
        picks.append(best)
        centers = [*centers, best]
    return picks, scores


@pytest.mark.parametrize("labeled", [0, 1, 12])
@pytest.mark.parametrize("seed", range(3))
def test_picks_and_scores_equal_brute_force(seed, labeled):
    seen = world(seed)
    seen = replace(seen, labeled=seen.labeled[:labeled])
    for size in (1, 37):
        query = select(KCenterWeighted(entropy), seen, size, pipeline="active_learning")
        rows, scores = brute_force(seen, size)
        assert query.rows.tolist() == rows
        np.testing.assert_allclose(query.scores, scores, rtol=1e-10)


def test_with_equal_weights_it_is_kcenter():
    seen = world()
    query = select(KCenterWeighted(lambda probs: 0 * probs[:, 0] + 3), seen, 20)
    plain = select(KCenter(), seen, 20)
    assert query.rows.tolist() == plain.rows.tolist()
    np.testing.assert_allclose(query.scores, 3 * plain.scores)


def test_a_far_row_that_the_model_is_sure_of_waits():
    seen = world()
    far, sure = seen.candidates[[2, 5]]
    for row, places in ((far, 40.0), (sure, 60.0)):
        seen.embeddings[seen.rows == row] = torch.tensor([places, 0, 0, 0]).double()
    seen.probs[seen.rows == sure] = torch.tensor([1.0, 0, 0, 0, 0]).double()
    query = select(strategy_of("kcenter_weighted"), seen, 37, pipeline="active_learning")
    assert query.rows[0] == far
    assert query.rows[-1] == sure
    assert query.scores[-1] == 0
    assert select(KCenter(), seen, 1, pipeline="active_learning").rows.tolist() == [sure]


def test_scores_below_zero_are_no_weights():
    with pytest.raises(UserError, match=r"strategy\.acquisition: expected scores of 0 or more"):
        select(KCenterWeighted(margin), world(), 5)
