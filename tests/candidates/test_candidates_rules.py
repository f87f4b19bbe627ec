"""Which unlabeled rows are looked at."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hydra.utils import get_object, instantiate
from hypothesis import given
from hypothesis import strategies as st
from neighbor_twins import PlainNeighbors
from omegaconf import OmegaConf

from alframe.candidates.all import All
from alframe.candidates.random_subset import RandomSubset
from alframe.cli.build import accepted
from alframe.errors import UserError
from alframe.pool import Pool

CONFIGS = sorted((Path(__file__).parents[2] / "configs" / "candidates").glob("*.yaml"))
POINTS = np.random.default_rng(0).normal(size=(200, 3))
ELIGIBLE = np.arange(3, 103, 2)


def pool(asked=10):
    one = Pool(200, ELIGIBLE)
    rows = np.random.default_rng(1).permutation(ELIGIBLE)[:asked]
    one.ask(rows, 0)
    one.label(rows[: (asked + 1) // 2], rows[: (asked + 1) // 2] % 3, 0)
    return one


def draw(rule, seed=0, asked=10):
    return rule.rows(pool(asked), 1, np.random.default_rng(seed))


def made(path):
    """Returns the rule of a config, and whether it looks near labeled rows."""
    node = OmegaConf.load(path)
    near = "neighbors" in accepted(get_object(node["_target_"]))[0]
    return instantiate(node, **({"neighbors": PlainNeighbors(POINTS)} if near else {})), near


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
@pytest.mark.parametrize("asked", [0, 1, 10, 49, 50])
def test_every_rule_gives_unlabeled_rows_ascending_and_the_same_again(path, asked):
    rule, near = made(path)
    if near and not asked:
        with pytest.raises(UserError, match="labeled rows"):
            draw(rule, asked=asked)
        return
    rows = draw(rule, asked=asked)
    assert rows.dtype == np.int64
    assert (np.diff(rows) > 0).all()
    assert np.isin(rows, pool(asked).unlabeled).all()
    assert len(rows) >= min(1, 50 - asked)
    np.testing.assert_array_equal(rows, draw(rule, asked=asked))


def test_all_are_all_that_were_never_asked():
    np.testing.assert_array_equal(draw(All()), pool().unlabeled)
    assert len(draw(All())) == 40


@given(st.integers(1, 60), st.integers(0, 50))
def test_a_number_of_rows_or_what_is_left(size, asked):
    assert len(draw(RandomSubset(size), asked=asked)) == min(size, 50 - asked)


@pytest.mark.parametrize(
    ("share", "count"), [(0.5, 20), (1.0, 40), (0.01, 1), (0.99, 40), (1e-9, 1)]
)
def test_a_share_is_of_what_is_unlabeled_and_never_nothing(share, count):
    assert len(draw(RandomSubset(share))) == count


def test_the_part_is_drawn_from_the_given_stream_alone():
    rule = RandomSubset(12)
    parts = {tuple(draw(rule, seed)) for seed in range(5)}
    assert len(parts) == 5


def test_every_row_is_as_likely_as_any_other():
    counts = np.zeros(200)
    for seed in range(2000):
        counts[draw(RandomSubset(8), seed)] += 1
    drawn = counts[pool().unlabeled]
    deviation = np.sqrt(2000 * 0.2 * 0.8)
    assert np.abs(drawn - 400).max() < 5 * deviation
    assert counts.sum() == drawn.sum()


@pytest.mark.parametrize("size", [0, -1, 0.0, -0.5, 1.5, float("nan"), float("inf")])
def test_promise_5_a_size_out_of_range_is_refused_with_the_key(size):
    with pytest.raises(UserError, match=r"candidates\.size="):
        RandomSubset(size)
