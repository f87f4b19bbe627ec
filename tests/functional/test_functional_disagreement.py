"""Disagreement scores against plain loops, scipy and scikit-activeml."""

from __future__ import annotations

import math
from collections import Counter

import numpy as np
import pytest
import scipy.stats
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from skactiveml.pool import average_kl_divergence, variation_ratios

from alframe.functional import probabilities as shared
from alframe.functional.disagreement import bald, mean_std, variation_ratio


def draws(seed, n=40, k=6, c=5, concentration=0.3):
    return np.random.default_rng(seed).dirichlet(np.full(c, concentration), size=(n, k))


def bald_twin(probs_nkc):
    return np.array(
        [
            scipy.stats.entropy(row.mean(axis=0))
            - np.mean([scipy.stats.entropy(draw) for draw in row])
            for row in probs_nkc
        ]
    )


def mean_std_twin(probs_nkc):
    scores = []
    for row in probs_nkc:
        deviations = []
        for values in row.T:
            middle = sum(values) / len(values)
            squares = [(value - middle) ** 2 for value in values]
            deviations.append(math.sqrt(sum(squares) / len(values)))
        scores.append(sum(deviations) / len(deviations))
    return np.array(scores)


def variation_ratio_twin(probs_nkc):
    scores = []
    for row in probs_nkc:
        votes = Counter(list(draw).index(max(draw)) for draw in row)
        scores.append(1 - votes.most_common(1)[0][1] / len(row))
    return np.array(scores)


SCORES = [
    pytest.param(bald, id="bald"),
    pytest.param(mean_std, id="mean_std"),
    pytest.param(variation_ratio, id="variation_ratio"),
]
TWINS = [
    pytest.param(bald, bald_twin, id="bald"),
    pytest.param(mean_std, mean_std_twin, id="mean_std"),
    pytest.param(variation_ratio, variation_ratio_twin, id="variation_ratio"),
]


@pytest.mark.parametrize(("score", "twin"), TWINS)
@pytest.mark.parametrize(("k", "c"), [(1, 1), (1, 4), (5, 1), (2, 2), (6, 5), (20, 10)])
def test_score_equals_its_twin(score, twin, k, c):
    probs_nkc = draws(0, k=k, c=c)
    np.testing.assert_allclose(score(probs_nkc), twin(probs_nkc), rtol=1e-10, atol=1e-14)


@pytest.mark.parametrize(("score", "twin"), TWINS)
@given(
    weights=hnp.arrays(
        np.float64,
        hnp.array_shapes(min_dims=3, max_dims=3, min_side=1, max_side=4),
        elements=st.just(0.0) | st.floats(1e-12, 1.0),
    )
)
def test_score_equals_its_twin_on_any_probabilities(score, twin, weights):
    weights[..., 0] += 0.1
    probs_nkc = weights / weights.sum(axis=2, keepdims=True)
    np.testing.assert_allclose(score(probs_nkc), twin(probs_nkc), rtol=1e-9, atol=1e-12)


def test_variation_ratio_equals_that_of_scikit_activeml():
    probs_nkc = draws(1, n=300)
    np.testing.assert_allclose(
        variation_ratio(probs_nkc), variation_ratios(probs_nkc.argmax(axis=2)), rtol=1e-12
    )


def test_bald_equals_the_average_divergence_of_scikit_activeml():
    probs_nkc = draws(2, n=300, concentration=2.0)  # none below their epsilon of 1e-7
    theirs = average_kl_divergence(probs_nkc.swapaxes(0, 1).copy())
    np.testing.assert_allclose(bald(probs_nkc), theirs, rtol=1e-5)


@pytest.mark.parametrize(
    ("score", "contradicting", "unsure"),
    [(bald, math.log(2), 0), (mean_std, 0.5, 0), (variation_ratio, 0.5, 0)],
)
def test_sure_draws_that_contradict_come_before_unsure_draws_that_agree(
    score, contradicting, unsure
):
    probs_nkc = np.array([[[0.0, 1.0], [1.0, 0.0]], [[0.5, 0.5], [0.5, 0.5]]])
    np.testing.assert_allclose(score(probs_nkc), [contradicting, unsure], rtol=1e-15)


@pytest.mark.parametrize(
    ("score", "high"),
    [(bald, math.log(4)), (mean_std, 0.5), (variation_ratio, 1 - 1 / 6)],
)
def test_range_is_kept(score, high):
    scores = score(draws(3, n=500, k=6, c=4))
    assert scores.min() >= 0
    assert 0 < scores.max() <= high


@pytest.mark.parametrize("score", SCORES)
def test_equal_draws_score_zero(score):
    probs_nkc = np.repeat(draws(4, k=1), 7, axis=1)
    np.testing.assert_allclose(score(probs_nkc), 0, atol=1e-15)
    assert (score(probs_nkc.astype(np.float32)) >= 0).all()


def test_a_tied_draw_votes_for_its_lowest_class():
    tied_to_1_and_2 = [0.2, 0.4, 0.4]
    probs_nkc = np.array([[tied_to_1_and_2, [0, 1, 0]], [tied_to_1_and_2, [0, 0, 1]]])
    assert variation_ratio(probs_nkc).tolist() == [0, 0.5]


def test_bald_is_precise_where_the_entropies_cancel():
    probs_nkc = np.full((1, 2, 2), 0.5, dtype=np.float32)
    probs_nkc[0, :, 0] += np.array([1, -1], dtype=np.float32) * 2**-12
    probs_nkc[0, :, 1] -= np.array([1, -1], dtype=np.float32) * 2**-12
    assert bald(probs_nkc).item() == pytest.approx(2 * 2.0**-24, rel=1e-6)  # second order


@pytest.mark.parametrize("score", SCORES)
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_scores_as_its_float32_values(score, dtype):
    probs_nkc = torch.from_numpy(draws(5)).to(dtype)
    scores = score(probs_nkc)
    assert scores.dtype == torch.float32
    assert torch.equal(scores, score(probs_nkc.float()))


@pytest.mark.parametrize("score", SCORES)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_numpy_gives_numpy_and_torch_gives_torch(score, dtype):
    probs_nkc = draws(6).astype(dtype)
    from_numpy, from_torch = score(probs_nkc), score(torch.from_numpy(probs_nkc))
    assert isinstance(from_numpy, np.ndarray)
    assert isinstance(from_torch, torch.Tensor)
    assert from_numpy.dtype == dtype
    np.testing.assert_array_equal(from_numpy, from_torch.numpy())


@pytest.mark.parametrize(("score", "twin"), TWINS)
@pytest.mark.parametrize("n", [0, 1, 2, 3, 11])
def test_every_row_is_scored_whatever_the_chunks(score, twin, n, monkeypatch):
    monkeypatch.setattr(shared, "_CPU_CHUNK", 70)  # two rows of thirty values
    probs_nkc = draws(7, n)
    np.testing.assert_allclose(score(probs_nkc), twin(probs_nkc), rtol=1e-10, atol=1e-14)


@pytest.mark.parametrize("score", SCORES)
def test_renumbered_rows_get_renumbered_scores_and_draws_have_no_order(score):
    probs_nkc = draws(8)
    order = np.random.default_rng(0).permutation(len(probs_nkc))
    np.testing.assert_array_equal(score(probs_nkc[order]), score(probs_nkc)[order])
    np.testing.assert_allclose(score(probs_nkc[:, ::-1]), score(probs_nkc), rtol=1e-12, atol=1e-15)


@pytest.mark.parametrize("score", SCORES)
@pytest.mark.parametrize("value", [np.nan, np.inf, -0.1, 2.0])
def test_impossible_probabilities_are_refused_with_count_and_first_rows(score, value):
    probs_nkc = draws(9, n=20)
    probs_nkc[[3, 11], 4, 2] = value
    with pytest.raises(ValueError, match=r"2 bad rows of 20: 3, 11$"):
        score(probs_nkc)


@pytest.mark.parametrize("score", SCORES)
@pytest.mark.parametrize("shape", [(3,), (3, 2), (3, 0, 2), (3, 2, 0), (3, 2, 2, 2)])
def test_another_shape_is_refused(score, shape):
    expected = rf"\[n, draws >= 1, classes >= 1\], got shape \({', '.join(map(str, shape))},?\)"
    with pytest.raises(ValueError, match=expected):
        score(np.ones(shape))


@pytest.mark.gpu
@pytest.mark.parametrize("score", SCORES)
def test_scores_on_a_gpu_equal_those_on_the_cpu(score):
    probs_nkc = torch.from_numpy(draws(10)).float()
    on_gpu = score(probs_nkc.cuda())
    assert on_gpu.is_cuda
    np.testing.assert_allclose(on_gpu.cpu(), score(probs_nkc), rtol=1e-5, atol=1e-6)
