"""BatchBALD against enumeration, scikit-activeml, and itself looking at every row."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import scipy.stats
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from skactiveml.pool._bald import batch_bald

from alframe.functional import batch_bald as module
from alframe.functional import joint_entropy as joints
from alframe.functional.batch_bald import batch_bald_greedy
from alframe.functional.disagreement import bald
from alframe.functional.joint_entropy import (
    ExactJointEntropy,
    SampledJointEntropy,
    joint_entropy_exact,
    joint_entropy_sampled,
)


def draws(seed, n=12, k=5, c=3, concentration=0.5):
    return np.random.default_rng(seed).dirichlet(np.full(c, concentration), size=(n, k))


def joint_twin(probs_nkc):
    """Every configuration of labels, one at a time."""
    n, k, c = probs_nkc.shape
    shares = []
    for labels in itertools.product(range(c), repeat=n):
        by_draw = [math.prod(probs_nkc[i, draw, labels[i]] for i in range(n)) for draw in range(k)]
        shares.append(sum(by_draw) / k)
    return scipy.stats.entropy(shares)


def information_twin(probs_nkc):
    """Mutual information of the labels of all rows and the draw."""
    return joint_twin(probs_nkc) - scipy.stats.entropy(probs_nkc, axis=2).mean(axis=1).sum()


def greedy_twin(probs_nkc, size):
    rows, gains, before = [], [], 0.0
    for _ in range(size):
        gain = {
            row: information_twin(probs_nkc[[*rows, row]]) - before
            for row in range(len(probs_nkc))
            if row not in rows
        }
        best = max(gain.values())
        rows.append(min(row for row, value in gain.items() if value >= best - 1e-9))
        gains.append(gain[rows[-1]])
        before += gains[-1]
    return rows, gains


def pick(probs_nkc, size, seed=0, **options):
    return batch_bald_greedy(probs_nkc, size, np.random.default_rng(seed), **options)


@pytest.mark.parametrize(("n", "k", "c"), [(1, 1, 1), (1, 4, 3), (4, 1, 3), (5, 3, 2), (3, 4, 5)])
def test_exact_joint_entropy_equals_enumeration(n, k, c):
    probs_nkc = draws(0, n, k, c)
    assert joint_entropy_exact(probs_nkc) == pytest.approx(joint_twin(probs_nkc), rel=1e-12)


@given(
    weights=hnp.arrays(
        np.float64,
        hnp.array_shapes(min_dims=3, max_dims=3, min_side=1, max_side=3),
        elements=st.just(0.0) | st.floats(1e-300, 1.0),
    )
)
def test_exact_joint_entropy_equals_enumeration_on_any_probabilities(weights):
    weights[..., 0] += 0.01
    probs_nkc = weights / weights.sum(axis=2, keepdims=True)
    assert joint_entropy_exact(probs_nkc) == pytest.approx(joint_twin(probs_nkc), abs=1e-12)


def test_joint_entropy_of_one_draw_adds_up_and_of_copies_does_not():
    one_draw = draws(1, n=6, k=1)
    total = scipy.stats.entropy(one_draw[:, 0], axis=1).sum()
    assert joint_entropy_exact(one_draw) == pytest.approx(total, rel=1e-12)
    certain = np.eye(3)[np.newaxis]  # three draws, each sure of another class
    assert joint_entropy_exact(np.repeat(certain, 6, axis=0)) == pytest.approx(math.log(3))


def test_conditional_entropy_is_the_chain_rule():
    probs_nkc = draws(2)
    joint = ExactJointEntropy(5)
    added(joint, torch.from_numpy(probs_nkc[:3]))
    fresh = joint.conditional(torch.from_numpy(probs_nkc[3:]))
    for value, row in zip(fresh.tolist(), range(3, 12), strict=True):
        whole = joint_twin(probs_nkc[[0, 1, 2, row]])
        assert value == pytest.approx(whole - joint_twin(probs_nkc[:3]), rel=1e-10)


@pytest.mark.parametrize("seed", range(3))
def test_sampled_joint_entropy_approaches_the_exact_one(seed):
    probs_nkc = draws(seed, n=6, k=4, c=3)
    exact = joint_entropy_exact(probs_nkc)
    rng = np.random.default_rng(seed)
    estimates = [joint_entropy_sampled(probs_nkc, rng, samples=400) for _ in range(60)]
    error = np.std(estimates, ddof=1) / math.sqrt(len(estimates))
    assert abs(np.mean(estimates) - exact) < 5 * error
    assert error < 0.02
    many = joint_entropy_sampled(probs_nkc, rng, samples=200_000)
    assert abs(many - exact) < 5 * np.std(estimates, ddof=1) * math.sqrt(400 / 200_000)


def added(joint, rows):
    for row in rows:
        joint.add_row(row)
    return joint


@pytest.mark.parametrize("seed", range(3))
def test_sampled_gains_approach_the_exact_ones(seed):
    probs = torch.from_numpy(draws(seed, n=9, k=4, c=3))
    rng = np.random.default_rng(seed)
    exact = added(ExactJointEntropy(4), probs[:5]).gains(probs[5:]).numpy()
    many = [added(SampledJointEntropy(4, 200, rng), probs[:5]).gains(probs[5:]) for _ in range(60)]
    estimates = torch.stack(many).numpy()
    error = estimates.std(axis=0, ddof=1)
    assert (np.abs(estimates.mean(axis=0) - exact) < 5 * error / math.sqrt(60)).all()
    assert estimates.min() > 0
    assert (error < np.sqrt(exact * math.log(4) / 200)).all()  # the documented bound


def test_reach_bounds_later_estimates_by_earlier_ones():
    probs = torch.from_numpy(draws(3, n=60, k=4, c=3))
    rng = np.random.default_rng(0)
    for samples in (20, 2000):
        before = added(SampledJointEntropy(4, samples, rng), probs[:3]).gains(probs[5:])
        joint = added(SampledJointEntropy(4, samples, rng), probs[:5])
        reach = joint.reach(before)
        assert (joint.gains(probs[5:]) <= reach).all()
        assert reach.argsort().equal(before.argsort())
    assert (reach - before).max() < 0.2  # and says something


def test_what_is_unknown_bounds_every_gain_and_goes_down_with_them():
    probs = torch.from_numpy(draws(4, n=20, k=4, c=3))
    joint = ExactJointEntropy(4)
    assert joint.unknown() == pytest.approx(math.log(4))
    told = 0.0
    for row in range(6):
        gains = joint.gains(probs)
        assert gains.max() < joint.unknown()
        told += gains[row].item()
        joint.add_row(probs[row])
        assert joint.unknown() == pytest.approx(math.log(4) - told, abs=1e-12)


def test_the_rest_is_taken_by_bald_where_enough_is_known():
    probs_nkc = np.concatenate([draws(19, n=20, k=4, c=4), np.eye(4)[np.newaxis]])
    rows, gains = pick(probs_nkc, 21, enough=1e-3)
    assert rows[0] == 20
    assert gains[0] == pytest.approx(math.log(4))
    assert rows[1:].tolist() == np.argsort(-bald(probs_nkc[:20])).tolist()
    assert (gains[1:] == 0).all()
    assert pick(probs_nkc, 21)[0].tolist() == [20, *range(20)]  # all equal, to rounding


def test_a_sample_has_possible_labels_only_and_as_many_of_each_draw():
    probs_kc = torch.tensor([[0.0, 0.3, 0.7, 0.0], [1.0, 0.0, 0.0, 0.0]], dtype=torch.float64)
    joint = SampledJointEntropy(2, 7, np.random.default_rng(0))
    for _ in range(50):
        joint.add_row(probs_kc)
    assert len(joint) == 8
    assert joint.entropy() >= math.log(2)  # no -log 0, and the draw itself is known by now
    certain = torch.tensor([[[0.0, 1.0], [1.0, 0.0]]], dtype=torch.float64)
    assert joint.conditional(certain).item() == pytest.approx(0, abs=1e-15)


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize(("n", "k", "c", "size"), [(9, 4, 3, 4), (6, 3, 2, 6), (8, 1, 3, 3)])
def test_greedy_equals_its_twin(seed, n, k, c, size):
    probs_nkc = draws(seed, n, k, c)
    rows, gains = pick(probs_nkc, size)
    expected_rows, expected_gains = greedy_twin(probs_nkc, size)
    assert rows.tolist() == expected_rows
    np.testing.assert_allclose(gains, expected_gains, atol=1e-12)
    assert gains.sum() == pytest.approx(information_twin(probs_nkc[rows]), abs=1e-12)
    assert (np.diff(gains) <= 1e-9).all()


def test_greedy_picks_as_scikit_activeml():
    probs_nkc = draws(4, n=200, k=10, c=4)
    rows, gains = pick(probs_nkc, 5)
    theirs = batch_bald(probs_nkc.swapaxes(0, 1).copy(), 5, n_MC_samples=10_000)
    assert rows.tolist() == np.nanargmax(theirs, axis=1).tolist()
    np.testing.assert_allclose(np.cumsum(gains), np.nanmax(theirs, axis=1), atol=1e-4)  # eps 1e-7


def test_the_first_gain_is_the_largest_bald_score():
    probs_nkc = draws(5, n=100)
    rows, gains = pick(probs_nkc, 1)
    scores = bald(probs_nkc)
    theirs = batch_bald(probs_nkc.swapaxes(0, 1).copy(), 1)[0]
    np.testing.assert_allclose(scores, theirs, atol=1e-5)
    assert rows.tolist() == [scores.argmax()]
    assert gains.tolist() == pytest.approx([scores.max()], rel=1e-12)


def eager_twin(probs_nkc, size, joint, exact=None):
    """The same greedy steps with every row looked at in each."""
    probs = torch.from_numpy(probs_nkc)
    rows, gains = [], []
    for _ in range(size):
        now = exact if exact is not None and len(exact) <= 1 else joint
        gain = now.gains(probs)
        gain[rows] = -torch.inf
        rows.append(int((gain >= gain.max() - 1e-9).int().argmax()))
        gains.append(gain[rows[-1]].item())
        joint.add_row(probs[rows[-1]])
        if exact is not None:
            exact.add_row(probs[rows[-1]])
    return rows, gains


@pytest.mark.parametrize("seed", range(3))
def test_lazy_picks_equal_those_of_looking_at_every_row(seed):
    probs_nkc = draws(seed, n=300, k=6, c=3, concentration=0.2)
    rows, gains = pick(probs_nkc, 7)
    expected_rows, expected_gains = eager_twin(probs_nkc, 7, ExactJointEntropy(6))
    assert rows.tolist() == expected_rows
    np.testing.assert_allclose(gains, expected_gains, atol=1e-12)


@pytest.mark.parametrize("seed", range(3))
def test_sampled_lazy_picks_equal_those_of_looking_at_every_row(seed):
    probs_nkc = draws(seed, n=300, k=6, c=3, concentration=0.2)
    rows, gains = pick(probs_nkc, 10, seed, exact_up_to=1, samples=600)
    joint = SampledJointEntropy(6, 600, np.random.default_rng(seed))
    expected_rows, expected_gains = eager_twin(probs_nkc, 10, joint, ExactJointEntropy(6))
    assert rows.tolist() == expected_rows
    np.testing.assert_allclose(gains, expected_gains, atol=1e-12)


def test_lazy_looks_at_few_rows(monkeypatch):
    looked = []
    gains = joints.JointEntropy.gains
    monkeypatch.setattr(
        joints.JointEntropy,
        "gains",
        lambda joint, rows: looked.append(len(rows)) or gains(joint, rows),
    )
    probs_nkc = draws(6, n=2000, k=6, c=3, concentration=0.2)
    probs_nkc[200:] = probs_nkc[200:, :1]  # most rows tell nothing
    pick(probs_nkc, 5)
    assert 4 * 32 <= sum(looked) < 1000 < 4 * 1996


def test_estimates_take_over_where_configurations_become_too_many():
    probs_nkc = draws(7, n=60, k=6, c=3)
    exact_rows, exact_gains = pick(probs_nkc, 8)
    rows, gains = pick(probs_nkc, 8, exact_up_to=27, samples=60_000)
    assert rows[:4].tolist() == exact_rows[:4].tolist()
    np.testing.assert_array_equal(gains[:4], exact_gains[:4])
    errors = np.sqrt(exact_gains * math.log(6) / 60_000)
    assert (np.abs(gains - exact_gains) <= 5 * errors).all()
    assert (gains[4:] != exact_gains[4:]).all()


@pytest.mark.parametrize("exact_up_to", [1, 10_000])
@pytest.mark.parametrize("size", [0, 1, 12])
def test_any_size_gives_distinct_rows(size, exact_up_to):
    rows, gains = pick(draws(8), size, exact_up_to=exact_up_to, samples=50)
    assert rows.dtype == np.int64
    assert gains.dtype == np.float64
    assert len(set(rows.tolist())) == size == len(rows) == len(gains)


@pytest.mark.parametrize("exact_up_to", [10_000, 1])
def test_once_the_draws_are_told_apart_the_rest_is_taken_by_its_bald_score(exact_up_to):
    """The labels of rows 1 and 5 name the draw for sure; the others tell a little, alone."""
    sure = np.zeros((2, 4, 2))
    sure[0, [0, 1], 0] = sure[0, [2, 3], 1] = sure[1, [0, 2], 0] = sure[1, [1, 3], 1] = 1
    first = np.linspace(0.5, [0.5, 0.6, 0.55, 0.9, 0.5, 0.7], 4).T
    probs = np.stack([first, 1 - first], 2)
    probs[[1, 5]] = sure
    rng = np.random.default_rng(0)
    rows, gains = batch_bald_greedy(probs, 6, rng, exact_up_to=exact_up_to, enough=1e-6)
    alone = bald(probs)
    assert rows.tolist() == [1, 5, *sorted([0, 2, 3, 4], key=lambda row: (-alone[row], row))]
    np.testing.assert_allclose(gains, [np.log(2), np.log(2), 0, 0, 0, 0], atol=1e-9)
    assert batch_bald_greedy(probs, 3, rng, exact_up_to=exact_up_to)[0].tolist() == [1, 5, 0]


def test_same_seed_same_rows():
    probs_nkc = draws(9, n=100, k=10)
    options = {"exact_up_to": 1, "samples": 20}
    first, again, other = (pick(probs_nkc, 10, seed, **options)[0].tolist() for seed in (3, 3, 4))
    assert first == again != other


def test_of_equal_rows_the_lowest_comes_first_and_another_one_between():
    probs_nkc = draws(10, n=30, k=6)
    probs_nkc = np.concatenate([probs_nkc, probs_nkc])
    rows = pick(probs_nkc, 6)[0].tolist()
    copies = [row for row in rows if row >= 30]
    assert all(rows.index(copy - 30) < rows.index(copy) for copy in copies)
    top_two = bald(probs_nkc).argsort()[-2:]
    assert top_two[0] % 30 == top_two[1] % 30  # plain BALD takes both copies at once
    assert rows[0] % 30 != rows[1] % 30


@pytest.mark.parametrize("exact_up_to", [1, 10_000])
@pytest.mark.parametrize(
    "probs_nkc",
    [
        pytest.param(np.full((40, 4, 3), 1 / 3), id="constant"),
        pytest.param(np.tile(np.eye(3)[[0]], (40, 4, 1)), id="one_hot"),
        pytest.param(np.full((40, 4, 1), 1.0), id="one_class"),
        pytest.param(draws(11, n=40, k=1), id="one_draw"),
    ],
)
def test_rows_that_tell_nothing_are_picked_in_order(probs_nkc, exact_up_to):
    rows, gains = pick(probs_nkc, 40, exact_up_to=exact_up_to, samples=40)
    assert rows.tolist() == list(range(40))
    np.testing.assert_allclose(gains, 0, atol=1e-9)


def test_one_hot_draws_that_contradict_are_worth_the_log_of_the_draws_once():
    probs_nkc = np.tile(np.eye(4), (10, 1, 1))
    _, gains = pick(probs_nkc, 10)  # four possible configurations, not 4 ** 9
    np.testing.assert_allclose(gains, [math.log(4)] + [0] * 9, atol=1e-12)


def test_hundreds_of_picks_do_not_underflow():
    probs_nkc = draws(12, n=600, k=3, c=2, concentration=0.05)
    rows, gains = pick(probs_nkc, 600, samples=30, exact_up_to=8)
    assert len(set(rows.tolist())) == 600
    assert np.isfinite(gains).all()


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
def test_low_precision_picks_as_its_float64_values_made_to_sum_to_one(dtype):
    probs_nkc = torch.from_numpy(draws(13, n=80)).to(dtype)
    rows, gains = pick(probs_nkc, 5)
    assert isinstance(rows, torch.Tensor)
    wide = probs_nkc.double()
    same_rows, same_gains = pick(wide / wide.sum(dim=2, keepdim=True), 5)
    assert rows.tolist() == same_rows.tolist()
    np.testing.assert_allclose(gains, same_gains, rtol=1e-9, atol=1e-12)
    assert (gains.diff() <= 1e-9).all()


def test_chunks_change_nothing(monkeypatch):
    probs_nkc = draws(14, n=50)
    whole = pick(probs_nkc, 6, exact_up_to=27, samples=50)
    monkeypatch.setattr(joints, "_CHUNK", 7)
    monkeypatch.setattr(module, "_CHUNK", 40)
    parts = pick(probs_nkc, 6, exact_up_to=27, samples=50)
    assert whole[0].tolist() == parts[0].tolist()
    np.testing.assert_allclose(whole[1], parts[1], atol=1e-12)


def test_renumbered_rows_give_renumbered_picks():
    probs_nkc = draws(15, n=60)
    order = np.random.default_rng(0).permutation(60)
    assert order[pick(probs_nkc[order], 5)[0]].tolist() == pick(probs_nkc, 5)[0].tolist()


@pytest.mark.parametrize("function", [pick, lambda probs_nkc, _: joint_entropy_exact(probs_nkc)])
@pytest.mark.parametrize("value", [np.nan, np.inf, -0.1, 2.0])
def test_impossible_probabilities_are_refused_with_count_and_first_rows(function, value):
    probs_nkc = draws(16, n=20)
    probs_nkc[[3, 11], 4, 2] = value
    with pytest.raises(ValueError, match=r"2 bad rows of 20: 3, 11$"):
        function(probs_nkc, 2)


@pytest.mark.parametrize(
    ("shape", "size", "options", "message"),
    [
        ((5, 2), 1, {}, r"\[n, draws >= 1, classes >= 1\], got shape \(5, 2\)"),
        ((5, 2, 2), 6, {}, r"size from 0 to 5 \(rows\), got 6"),
        ((5, 2, 2), 1, {"samples": 0}, "samples to be at least 1, got 0"),
        ((5, 2, 2), 1, {"exact_up_to": 0}, "exact_up_to to be at least 1, got 0"),
    ],
)
def test_other_mistakes_are_named(shape, size, options, message):
    with pytest.raises(ValueError, match=message):
        pick(np.full(shape, 0.5), size, **options)


def test_a_draw_of_zeros_is_refused():
    probs_nkc = draws(17)
    probs_nkc[4, 1] = 0
    with pytest.raises(ValueError, match=r"do not all vanish, got 1 bad rows of 12: 4$"):
        pick(probs_nkc, 1)


@pytest.mark.gpu
def test_picks_on_a_gpu_equal_those_on_the_cpu():
    probs_nkc = torch.from_numpy(draws(18, n=500, k=8))
    rows, gains = pick(probs_nkc.cuda(), 10, exact_up_to=27)
    expected_rows, expected_gains = pick(probs_nkc, 10, exact_up_to=27)
    assert rows.is_cuda
    assert rows.tolist() == expected_rows.tolist()
    np.testing.assert_allclose(gains.cpu(), expected_gains, rtol=0, atol=1e-9)
