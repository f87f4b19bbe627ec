"""Forgetting events counted by a plain loop."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from alframe.observations import Table, TableObservations
from alframe.pool import Pool
from alframe.strategies.forgetting import Forgetting


def events(history):
    """Algorithm 1 of Toneva et al. for one row; never learned = infinite."""
    forgotten, learned, before = 0, False, 0
    for correct in history:
        if before > correct:
            forgotten += 1
        learned = learned or correct == 1
        before = correct
    return forgotten if learned else math.inf


def pick(history, rows, size, dtype=torch.uint8):
    history = torch.as_tensor(history, dtype=dtype).reshape(-1, len(rows), 1)
    seen = TableObservations({Forgetting.needs[0]: Table(rows, history, "dynamics", ("correct",))})
    pool = Pool(int(rows.max()) + 1, rows)
    return Forgetting().select(size, rows, pool, seen, np.random.default_rng(0))


@settings(deadline=None)
@given(st.data(), st.integers(1, 8), st.integers(1, 6))
def test_against_the_loop(data, epochs, count):
    bits = st.lists(st.integers(0, 1), min_size=count, max_size=count)
    history = data.draw(st.lists(bits, min_size=epochs, max_size=epochs))
    rows = np.arange(count) * 7 + 2
    query = pick(history, rows, count)
    by_row = {
        int(row): events(column) for row, column in zip(rows, np.array(history).T, strict=True)
    }
    slow = sorted(by_row, key=lambda row: (-by_row[row], row))
    assert query.rows.tolist() == slow
    assert query.scores.tolist() == [by_row[row] for row in slow]


@pytest.mark.parametrize("dtype", [torch.uint8, torch.bool, torch.float16, torch.float64])
def test_by_hand_in_any_type(dtype):
    rows = np.array([10, 20, 30, 40])
    # 10: learned for good; 20: never; 30: forgotten twice; 40: forgotten once, at the end.
    history = [[0, 0, 1, 0], [1, 0, 0, 1], [1, 0, 1, 1], [1, 0, 0, 0]]
    query = pick(history, rows, 4, dtype)
    assert query.rows.tolist() == [20, 30, 40, 10]
    assert query.scores.tolist() == [math.inf, 2, 1, 0]


def test_more_than_255_events_are_counted():
    history = np.stack([np.arange(700) % 2 == 0, np.arange(700) % 4 == 0], axis=1)
    assert pick(history, np.array([3, 4]), 2).scores.tolist() == [350, 175]


def test_it_is_defined_for_core_sets_only():
    assert Forgetting.pipelines == {"core_set"}
    assert Forgetting.needs[0].fields == ("correct",)
