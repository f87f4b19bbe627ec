import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from alframe.data.splits import Splits, hold_out
from alframe.errors import UserError

LABELS = st.lists(st.integers(0, 4), min_size=2, max_size=120).map(np.array)
SEEDS = st.integers(0, 2**70)


def per_class(labels, rows):
    return np.bincount(labels[rows], minlength=5)


def assert_stratified(labels, drawn, among):
    """Each class has its share of the drawn rows, up to less than one row."""
    share = per_class(labels, among) * len(drawn) / len(among)
    assert np.all(np.abs(per_class(labels, drawn) - share) < 1)


@given(LABELS, SEEDS, st.data())
def test_exact_counts_disjoint_ascending_and_stratified(labels, seed, data):
    subset = data.draw(st.integers(1, len(labels)))
    validation = data.draw(st.integers(0, subset - 1))
    splits = Splits(validation=validation, subset=subset, split_seed=seed)
    pool, held = splits.rows(labels, 5)

    assert len(held) == validation
    assert len(pool) + len(held) == subset
    assert pool.dtype == held.dtype == np.int64
    assert np.all(np.diff(pool) > 0)
    assert np.all(np.diff(held) > 0)
    both = np.union1d(pool, held)
    assert len(both) == subset
    assert both.min() >= 0
    assert both.max() < len(labels)
    assert_stratified(labels, both, np.arange(len(labels)))
    assert_stratified(labels, held, both)


@given(LABELS, SEEDS, st.floats(0, 0.5))
def test_fraction_is_of_the_subset(labels, seed, fraction):
    size = len(labels) // 2 + 1
    pool, held = Splits(validation=fraction, subset=size, split_seed=seed).rows(labels, 5)
    assert abs(len(held) - fraction * size) <= 0.5
    assert len(pool) + len(held) == size


@given(LABELS, SEEDS, st.floats(0.01, 1))
def test_imbalance_keeps_the_named_shares_and_leaves_validation_alone(labels, seed, ratio):
    balanced = Splits(validation=0.2, split_seed=seed).rows(labels, 5)
    pool, held = Splits(validation=0.2, split_seed=seed, imbalance=ratio).rows(labels, 5)

    np.testing.assert_array_equal(held, balanced[1])
    assert np.isin(pool, balanced[0]).all()
    before, after = per_class(labels, balanced[0]), per_class(labels, pool)
    for c in range(5):
        wanted = before[c] * ratio ** (c / 4)
        assert abs(after[c] - wanted) <= 0.5 or after[c] == min(before[c], 1)


@given(LABELS, SEEDS, st.floats(0.01, 1), st.floats(0.01, 1))
def test_a_stronger_imbalance_keeps_some_of_the_same_rows(labels, seed, one, other):
    weak, strong = (
        Splits(imbalance=ratio, split_seed=seed).rows(labels, 5)[0]
        for ratio in (max(one, other), min(one, other))
    )
    assert np.isin(strong, weak).all()


@given(LABELS, SEEDS)
def test_same_seed_same_split(labels, seed):
    splits = Splits(validation=0.3, subset=len(labels), imbalance=0.5, split_seed=seed)
    for first, second in zip(splits.rows(labels, 5), splits.rows(labels, 5), strict=True):
        np.testing.assert_array_equal(first, second)


def test_another_seed_gives_another_split():
    labels = np.arange(200) % 4
    splits = [Splits(validation=0.5, split_seed=seed).rows(labels, 4)[1] for seed in (0, 1, 2**40)]
    assert len({held.tobytes() for held in splits}) == 3


def test_every_row_is_drawn_about_equally_often():
    labels = np.repeat([0, 1], [30, 10])
    times = np.zeros(40)
    for seed in range(400):
        times[Splits(validation=10, split_seed=seed).rows(labels, 2)[1]] += 1
    # 10 of 40 rows: 100 times of 400 each, standard deviation 8.7.
    assert np.all(np.abs(times - 100) < 45)


def test_nothing_asked_for_is_the_whole_pool():
    pool, held = Splits().rows(np.array([1, 0, 1]), 2)
    np.testing.assert_array_equal(pool, [0, 1, 2])
    assert held.shape == (0,)


def test_seats_go_to_the_largest_remainders():
    # 10 of 16 rows: 5.625, 3.125 and 1.25 by share, so the one seat left over goes to class 0.
    labels = np.repeat([0, 1, 2], [9, 5, 2])
    _, held = Splits(validation=10).rows(labels, 3)
    np.testing.assert_array_equal(np.bincount(labels[held]), [6, 3, 1])


def test_imbalance_by_hand():
    labels = np.repeat([0, 1, 2], 100)
    pool, _ = Splits(imbalance=0.01).rows(labels, 3)
    np.testing.assert_array_equal(np.bincount(labels[pool]), [100, 10, 1])


def test_imbalance_keeps_a_row_of_every_class_and_allows_a_single_class():
    labels = np.array([0, 0, 1, 1])
    pool, _ = Splits(imbalance=0.001).rows(labels, 2)
    np.testing.assert_array_equal(np.bincount(labels[pool]), [2, 1])
    pool, _ = Splits(imbalance=0.001).rows(np.zeros(4, dtype=np.int64), 1)
    assert len(pool) == 4


@pytest.mark.parametrize(
    ("options", "start"),
    [
        ({"validation": 1.5}, "data.validation=1.5: "),
        ({"validation": 1.0}, "data.validation=1.0: "),
        ({"validation": -0.1}, "data.validation=-0.1: "),
        ({"validation": -1}, "data.validation=-1: "),
        ({"validation": float("nan")}, "data.validation=nan: "),
        ({"validation": True}, "data.validation=True: "),
        ({"validation": "tenth"}, "data.validation=tenth: "),
        ({"validation": None}, "data.validation=None: "),
        ({"subset": 0}, "data.subset=0: "),
        ({"subset": 10.0}, "data.subset=10.0: "),
        ({"imbalance": 0}, "data.imbalance=0: "),
        ({"imbalance": 1.1}, "data.imbalance=1.1: "),
        ({"imbalance": float("nan")}, "data.imbalance=nan: "),
        ({"imbalance": "strong"}, "data.imbalance=strong: "),
        ({"split_seed": -1}, "data.split_seed=-1: "),
        ({"split_seed": 0.5}, "data.split_seed=0.5: "),
    ],
)
def test_wrong_values_are_refused_by_key(options, start):
    with pytest.raises(UserError) as refusal:
        Splits(**options)
    assert str(refusal.value).startswith(start)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"subset": 11}, r"data\.subset=11: expected at most the 10 training rows"),
        ({"validation": 10}, r"data\.validation=10: expected fewer than the 10 rows"),
        ({"validation": 4, "subset": 4}, r"data\.validation=4: expected fewer than the 4 rows"),
        ({"validation": 0.99}, r"data\.validation=0\.99: expected fewer than the 10 rows"),
    ],
)
def test_values_too_large_for_the_rows_are_refused(options, message):
    with pytest.raises(UserError, match=message):
        Splits(**options).rows(np.arange(10) % 2, 2)


def test_a_misspelt_option_raises():
    with pytest.raises(TypeError, match="validaton"):
        Splits(validaton=0.1)


@given(LABELS, st.data())
def test_held_out_rows_are_stratified_and_the_rest_is_kept(labels, data):
    size = data.draw(st.integers(1, len(labels) - 1))
    train, test = hold_out(labels, size)
    assert len(test) == size
    np.testing.assert_array_equal(np.union1d(train, test), np.arange(len(labels)))
    assert len(train) + len(test) == len(labels)
    assert_stratified(labels, test, np.arange(len(labels)))


def test_held_out_rows_know_no_names():
    numbers = np.arange(60) % 3
    strings = np.array(["ant", "bee", "cat"])[numbers]
    np.testing.assert_array_equal(hold_out(numbers, 0.2)[1], hold_out(strings, 0.2)[1])


@pytest.mark.parametrize("part", [0, 0.0, 1.0, 10, -3, 0.01, None])
def test_a_test_part_out_of_range_is_refused(part):
    with pytest.raises(UserError, match=rf"data\.test={part}: expected"):
        hold_out(np.arange(10) % 2, part)
