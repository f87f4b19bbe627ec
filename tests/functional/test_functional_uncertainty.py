"""Uncertainty scores against numpy twins and scipy."""

from __future__ import annotations

import math

import numpy as np
import pytest
import scipy.stats
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from skactiveml.pool import uncertainty_scores

from alframe.functional import probabilities as shared
from alframe.functional.uncertainty import entropy, least_confidence, margin

SCORES = [
    pytest.param(least_confidence, id="least_confidence"),
    pytest.param(margin, id="margin"),
    pytest.param(entropy, id="entropy"),
]


def probabilities(seed, n=50, classes=7):
    return np.random.default_rng(seed).dirichlet(np.full(classes, 0.3), size=n)


def least_confidence_twin(probs):
    return np.array([1 - max(row) for row in probs])


def margin_twin(probs):
    ordered = [sorted(row) for row in probs]
    return np.array([row[-2] - row[-1] for row in ordered])


def entropy_twin(probs):
    return scipy.stats.entropy(probs, axis=1)


TWINS = [
    pytest.param(least_confidence, least_confidence_twin, id="least_confidence"),
    pytest.param(margin, margin_twin, id="margin"),
    pytest.param(entropy, entropy_twin, id="entropy"),
]


@pytest.mark.parametrize(("score", "twin"), TWINS)
@pytest.mark.parametrize("seed", range(3))
def test_score_equals_its_twin(score, twin, seed):
    probs = probabilities(seed)
    np.testing.assert_allclose(score(probs), twin(probs), rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize(
    ("score", "method", "shift"),
    [
        pytest.param(least_confidence, "least_confident", 0, id="least_confidence"),
        pytest.param(margin, "margin_sampling", 1, id="margin"),
        pytest.param(entropy, "entropy", 0, id="entropy"),
    ],
)
def test_score_equals_that_of_scikit_activeml(score, method, shift):
    probs = probabilities(8, n=200)
    theirs = uncertainty_scores(probs, method=method)  # their margin is 1 - difference
    np.testing.assert_allclose(score(probs) + shift, theirs, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize(("score", "twin"), TWINS)
@given(
    weights=hnp.arrays(
        np.float64,
        hnp.array_shapes(min_dims=2, max_dims=2, min_side=2, max_side=6),
        elements=st.just(0.0) | st.floats(1e-12, 1.0),
    )
)
def test_score_equals_its_twin_on_any_probabilities(score, twin, weights):
    weights[:, 0] += 0.1
    probs = weights / weights.sum(axis=1, keepdims=True)
    np.testing.assert_allclose(score(probs), twin(probs), rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("score", SCORES)
def test_the_uniform_row_comes_first_and_the_certain_row_last(score):
    scores = score(np.array([[0.0, 1.0, 0.0], [1 / 3, 1 / 3, 1 / 3], [0.1, 0.6, 0.3]]))
    assert np.argsort(-scores).tolist() == [1, 2, 0]


@pytest.mark.parametrize(
    ("score", "low", "high"),
    [(least_confidence, 0, 1 - 1 / 7), (margin, -1, 0), (entropy, 0, math.log(7))],
)
def test_range_is_reached_and_kept(score, low, high):
    certain, uniform = np.eye(7), np.full((1, 7), 1 / 7)
    np.testing.assert_allclose(score(certain), low, atol=1e-15)
    np.testing.assert_allclose(score(uniform), high, rtol=1e-12)
    scores = score(probabilities(3, n=500))
    assert low <= scores.min() < scores.max() <= high


def test_entropy_is_finite_where_a_probability_underflows():
    logits = torch.tensor([[0.0, -200.0, -1000.0]])
    assert entropy(logits.softmax(dim=1)).tolist() == [0.0]
    assert entropy(np.array([[1.0, 5e-324]])).item() == pytest.approx(0, abs=1e-300)


@pytest.mark.parametrize("score", SCORES)
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_computed_in_float32(score, dtype):
    probs = torch.from_numpy(probabilities(4)).to(dtype)
    scores = score(probs)
    assert scores.dtype == torch.float32
    assert torch.equal(scores, score(probs.float()))


@pytest.mark.parametrize("score", SCORES)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_numpy_gives_numpy_and_torch_gives_torch(score, dtype):
    probs = probabilities(5).astype(dtype)
    from_numpy, from_torch = score(probs), score(torch.from_numpy(probs))
    assert isinstance(from_numpy, np.ndarray)
    assert isinstance(from_torch, torch.Tensor)
    assert from_numpy.dtype == dtype
    np.testing.assert_array_equal(from_numpy, from_torch.numpy())


@pytest.mark.parametrize("score", SCORES)
def test_renumbered_rows_get_renumbered_scores(score):
    probs = probabilities(6)
    order = np.random.default_rng(0).permutation(len(probs))
    np.testing.assert_array_equal(score(probs[order]), score(probs)[order])


@pytest.mark.parametrize("score", SCORES)
def test_no_rows_give_no_scores(score):
    assert score(np.zeros((0, 3))).shape == (0,)


@pytest.mark.parametrize("score", SCORES)
@pytest.mark.parametrize("value", [np.nan, np.inf, -0.1, 2.0])
def test_impossible_probabilities_are_refused_with_count_and_first_rows(score, value):
    probs = probabilities(7, n=20)
    probs[[3, 11], 2] = value
    with pytest.raises(ValueError, match=r"2 bad rows of 20: 3, 11$"):
        score(probs)


@pytest.mark.parametrize("score", SCORES)
def test_another_shape_is_refused(score):
    with pytest.raises(ValueError, match=r"got shape \(3,\)"):
        score(np.ones(3))
    with pytest.raises(ValueError, match=r"got shape \(3, 0\)"):
        score(np.ones((3, 0)))


def test_margin_wants_two_classes():
    with pytest.raises(ValueError, match="classes >= 2"):
        margin(np.ones((3, 1)))


@pytest.fixture
def tiny_chunks(monkeypatch):
    monkeypatch.setattr(shared, "_CPU_CHUNK", 30)  # four rows of seven values


@pytest.mark.parametrize(("score", "twin"), TWINS)
@pytest.mark.parametrize("n", [1, 3, 4, 5, 8, 21])
@pytest.mark.usefixtures("tiny_chunks")
def test_every_row_is_scored_whatever_the_chunks(score, twin, n):
    probs = probabilities(9, n)
    np.testing.assert_allclose(score(probs), twin(probs), rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("score", SCORES)
@pytest.mark.parametrize("bad", [[0], [10], [3, 4, 20]])
@pytest.mark.parametrize("value", [np.nan, -1e-3, 1.1])
@pytest.mark.usefixtures("tiny_chunks")
def test_a_bad_value_in_any_chunk_is_found(score, bad, value):
    probs = probabilities(10, 21)
    probs[bad, -1] = value
    with pytest.raises(ValueError, match=f"{len(bad)} bad rows of 21: {', '.join(map(str, bad))}$"):
        score(probs)


@pytest.mark.parametrize("score", SCORES)
def test_one_chunk_and_a_row_score_as_the_parts_do(score):
    rows = shared._CPU_CHUNK // 1000 + 1
    probs = torch.rand(rows, 1000, generator=torch.Generator().manual_seed(0)) / 1000
    parts = torch.cat([score(part) for part in probs.split(100)])
    np.testing.assert_allclose(score(probs), parts, rtol=1e-6, atol=0)


@pytest.mark.parametrize("score", SCORES)
def test_the_input_is_not_written_to(score):
    probs = probabilities(11)
    probs.flags.writeable = False
    before = probs.copy()
    score(probs)
    score(torch.from_numpy(before))
    np.testing.assert_array_equal(before, probs)


@pytest.mark.parametrize("score", SCORES)
def test_any_memory_layout(score):
    probs = torch.from_numpy(probabilities(12))
    for view in (probs.T.contiguous().T, probs.repeat(1, 2)[:, :7], probs.repeat(2, 1)[::2]):
        np.testing.assert_allclose(score(view), score(view.clone()), rtol=1e-13, atol=1e-15)


def test_margin_of_equal_largest_is_zero():
    assert margin(np.array([[0.4, 0.2, 0.4], [0.5, 0.5, 0.0]])).tolist() == [0, 0]


@pytest.mark.parametrize("score", SCORES)
def test_values_a_bfloat16_rounding_above_one_are_taken(score):
    assert torch.isfinite(score(torch.tensor([[1 + 2**-7, 0.0]], dtype=torch.bfloat16))).all()


def test_entropy_in_float32_is_as_good_as_in_float64():
    probs = probabilities(13, n=300, classes=100).astype(np.float32)
    probs[0] = np.eye(100)[3]
    # 100 terms, each within a few roundings of at most 0.37
    np.testing.assert_allclose(entropy(probs), entropy(probs.astype(np.float64)), atol=1e-5)


@pytest.mark.gpu
@pytest.mark.parametrize("score", SCORES)
def test_scores_on_a_gpu_equal_those_on_the_cpu(score):
    probs = torch.from_numpy(probabilities(14, n=300)).float()
    on_gpu = score(probs.cuda())
    assert on_gpu.is_cuda
    np.testing.assert_allclose(on_gpu.cpu(), score(probs), rtol=1e-5, atol=1e-6)
