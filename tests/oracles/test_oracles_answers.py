"""Who answers queries, and how often wrongly."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from omegaconf import OmegaConf

from alframe.cli.build import build
from alframe.data.dataset import Splits, build_dataset
from alframe.errors import UserError
from alframe.oracles.dataset import DatasetOracle
from alframe.oracles.noisy import NoisyOracle

CONFIGS = sorted((Path(__file__).parents[2] / "configs" / "oracle").glob("*.yaml"))
CLASSES = 4


def dataset(rows=4000, classes=CLASSES):
    rng = np.random.default_rng(0)
    inputs, labels = rng.normal(size=(rows, 2)), np.arange(rows) % classes
    test = inputs[:8], labels[:8]
    return build_dataset("toy", (inputs, labels), test, None, Splits())


DATA = dataset()
ALL_ROWS = np.arange(DATA.num_rows)
TRUTH = DATA.reveal(ALL_ROWS)


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_every_oracle_answers_by_row_in_any_order_and_always_the_same(path):
    node = OmegaConf.merge({"seed": 3}, {"oracle": OmegaConf.load(path)})
    config = OmegaConf.to_container(node, resolve=True)
    oracle, again = (build(config, "oracle", data=DATA, seed=3) for _ in range(2))
    _, every = oracle.answer(ALL_ROWS)
    assert every.dtype == np.int64
    assert ((every >= 0) & (every < CLASSES)).all()
    rows = np.random.default_rng(1).permutation(ALL_ROWS)[:500]
    answered, labels = oracle.answer(rows)
    np.testing.assert_array_equal(answered, rows)
    np.testing.assert_array_equal(labels, every[rows])
    np.testing.assert_array_equal(again.answer(rows)[1], labels)
    assert [len(part) for part in oracle.answer(ALL_ROWS[:0])] == [0, 0]


def test_the_dataset_answers_the_truth():
    np.testing.assert_array_equal(DatasetOracle(DATA).answer(ALL_ROWS)[1], TRUTH)


@pytest.mark.parametrize("rate", [0.0, 0.1, 0.5, 1.0])
def test_the_rate_of_wrong_labels_and_their_even_spread(rate):
    labels = NoisyOracle(DATA, rate, 0).answer(ALL_ROWS)[1]
    wrong = labels != TRUTH
    deviation = np.sqrt(rate * (1 - rate) / len(TRUTH))
    assert abs(wrong.mean() - rate) <= 4 * deviation
    shifts = np.bincount((labels - TRUTH)[wrong] % CLASSES, minlength=CLASSES)[1:]
    expected = wrong.sum() / (CLASSES - 1)
    assert (np.abs(shifts - expected) <= 4.5 * np.sqrt(expected)).all()


def test_with_two_classes_a_wrong_label_is_the_other_one():
    data = dataset(classes=2)
    labels = NoisyOracle(data, 1.0, 0).answer(ALL_ROWS)[1]
    np.testing.assert_array_equal(labels, 1 - data.reveal(ALL_ROWS))


def test_seed_0_is_a_seed():
    answers = [NoisyOracle(DATA, 0.5, seed).answer(ALL_ROWS)[1] for seed in (0, 1, 2**40)]
    for i, one in enumerate(answers):
        for other in answers[i + 1 :]:
            assert not np.array_equal(one, other)


def test_a_higher_rate_keeps_the_wrong_rows_of_a_lower_one():
    """So that runs that differ in the rate alone can be compared."""
    low, high = (NoisyOracle(DATA, rate, 0).answer(ALL_ROWS)[1] for rate in (0.1, 0.3))
    wrong = low != TRUTH
    np.testing.assert_array_equal(high[wrong], low[wrong])


@pytest.mark.parametrize("rate", [-0.1, 1.1, float("nan")])
def test_a_rate_out_of_range_is_refused_with_the_key(rate):
    with pytest.raises(UserError, match=r"oracle\.rate="):
        NoisyOracle(DATA, rate, 0)
