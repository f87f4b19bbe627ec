"""Last-layer gradients as factors, against autograd and against the vectors built in full."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from alframe.functional import gradients
from alframe.functional.gradients import OuterProducts, last_layer_gradients, residuals


def random_rows(n=60, classes=4, d=7, seed=0):
    rng = np.random.default_rng(seed)
    return rng.dirichlet(np.ones(classes), size=n), rng.normal(size=(n, d))


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("given_labels", [False, True])
def test_they_are_the_gradients_of_the_cross_entropy(bias, given_labels):
    torch.manual_seed(0)
    layer = torch.nn.Linear(5, 3, bias=bias, dtype=torch.float64)
    hidden = torch.randn(8, 5, dtype=torch.float64)
    logits = layer(hidden).detach()
    labels = torch.randint(0, 3, (8,)) if given_labels else logits.argmax(1)
    expected = []
    for row, label in zip(hidden, labels, strict=True):
        layer.zero_grad()
        torch.nn.functional.cross_entropy(layer(row[None]), label[None]).backward()
        parts = [layer.weight.grad] + ([layer.bias.grad[:, None]] if bias else [])
        expected.append(torch.cat(parts, dim=1).flatten())
    vectors = last_layer_gradients(
        logits.softmax(1), hidden, labels if given_labels else None, bias=bias
    )
    torch.testing.assert_close(vectors.build(), torch.stack(expected))


@pytest.mark.parametrize("chunk", [1, 40, 2**18])
@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("scale", [1.0, 2.0**-1000, 2.0**900])
def test_all_sums_are_those_of_the_built_vectors(monkeypatch, chunk, bias, scale):
    monkeypatch.setattr(gradients, "_CHUNK", chunk)
    probs, hidden = random_rows()
    vectors = last_layer_gradients(probs, hidden * scale, bias=bias)
    assert (vectors.scale == 1) == (scale == 1 or (bias and scale < 1))
    built = vectors.build()
    assert built.abs().max() > 0.1
    rows = torch.tensor([5, 0, 59, 5])
    some = vectors.take(rows)
    close = {"rtol": 1e-11, "atol": 1e-13}
    torch.testing.assert_close(vectors.squared_norms, built.square().sum(1), **close)
    torch.testing.assert_close(vectors.inner(some), built @ built[rows].T, **close)
    torch.testing.assert_close(
        vectors.squared_distances(some),
        (built[:, None] - built[rows]).square().sum(2),
        **close,
    )
    weights = torch.linspace(-1, 2, 60)
    total = vectors.weighted_sum(weights)
    torch.testing.assert_close(total.flatten(), weights.double() @ built, **close)
    torch.testing.assert_close(vectors.project(total), built @ total.flatten(), **close)
    assert torch.cat([part.left for _, part in vectors.parts()]).shape == (60, 4)


@st.composite
def near_pairs(draw):
    """Two rows [left, right] that differ by a step as small as 2 ** -40, and the step."""
    step = 2.0 ** draw(st.integers(-40, 0))
    whole = st.integers(-8, 8)
    first = np.array(draw(st.lists(whole, min_size=5, max_size=5)), dtype=np.float64)
    shift = np.array(draw(st.lists(st.integers(-1, 1), min_size=5, max_size=5)))
    return np.stack([first, first + step * shift]), step


@given(near_pairs())
@settings(deadline=None, max_examples=200)
def test_distances_of_near_rows_keep_their_digits(problem):
    rows, step = problem
    left, right = rows[:, :2], rows[:, 2:]
    vectors = OuterProducts.of(torch.from_numpy(left), torch.from_numpy(right))
    found = vectors.squared_distances(vectors)
    entries = [[Fraction(a) * Fraction(b) for a in left[i] for b in right[i]] for i in (0, 1)]
    exact = sum((a - b) ** 2 for a, b in zip(*entries, strict=True))
    assert found[0, 0] == found[1, 1] == 0
    for value in (found[0, 1].item(), found[1, 0].item()):
        # only a longer left and a shorter right may cancel, and then to far below the step
        error = abs(Fraction(value) - exact)
        assert error <= exact * Fraction(1, 10**6) + Fraction(step) ** 2 * Fraction(1, 10**12)


def test_equal_rows_are_at_distance_zero_wherever_they_stand():
    probs, hidden = random_rows(seed=1)
    vectors = last_layer_gradients(np.tile(probs, (9, 1)), np.tile(hidden + 1e6, (9, 1)))
    squares = vectors.squared_distances(vectors.take(slice(0, 60)))
    same = torch.arange(540)[:, None] % 60 == torch.arange(60)
    assert (squares[same] == 0).all()
    assert (squares[~same] > 0).all()


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_residuals_subtract_one_at_the_label(dtype):
    probs = torch.tensor([[0.5, 0.5, 0.0], [0.25, 0.125, 0.625]], dtype=dtype)
    before = probs.clone()
    found = residuals(probs)
    assert found.dtype == (torch.float64 if dtype == torch.float64 else torch.float32)
    assert found.tolist() == [[-0.5, 0.5, 0.0], [0.25, 0.125, -0.375]]
    assert residuals(probs, torch.tensor([2, 1])).tolist() == [
        [0.5, 0.5, -1.0],
        [0.25, -0.875, 0.625],
    ]
    assert torch.equal(probs, before)


def test_numpy_in_numpy_out():
    found = residuals(np.array([[0.25, 0.75]], dtype=np.float32), np.array([0], dtype=np.uint8))
    assert isinstance(found, np.ndarray)
    assert found.tolist() == [[-0.75, 0.75]]
    assert residuals(np.zeros((0, 3))).shape == (0, 3)


@pytest.mark.parametrize("value", [np.nan, np.inf, -0.01, 1.1])
def test_what_is_no_probability_is_refused(value):
    probs = np.full((9, 2), 0.5)
    probs[3:5, 1] = value
    with pytest.raises(ValueError, match=r"probabilities in \[0, 1\].*2 bad rows of 9: 3, 4$"):
        residuals(probs)


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        ([0, 1, 2], "1 bad rows of 3: 2"),
        ([-1, 1, -1], "2 bad rows of 3: 0, 2"),
        ([0, 1], r"expected 3 integer labels, got torch.int64 of shape \(2,\)"),
        ([0.0, 1.0, 1.0], "expected 3 integer labels, got torch.float64"),
    ],
)
def test_what_is_no_label_is_refused(labels, message):
    with pytest.raises(ValueError, match=message):
        residuals(np.full((3, 2), 0.5), np.array(labels))


def test_embeddings_that_do_not_fit_are_refused():
    probs = np.full((3, 2), 0.5)
    with pytest.raises(ValueError, match="each of the 3 rows of probabilities, got 4"):
        last_layer_gradients(probs, np.zeros((4, 2)))
    with pytest.raises(ValueError, match=r"expected embeddings \[n, d\], got shape \(3,\)"):
        last_layer_gradients(probs, np.zeros(3))
    with pytest.raises(ValueError, match="without NaN or infinity, got 1 bad rows of 3: 1"):
        last_layer_gradients(probs, np.array([[0.0], [np.nan], [0.0]]))
    with pytest.raises(ValueError, match=r"classes >= 1\], got shape \(3, 0\)"):
        residuals(np.zeros((3, 0)))
