"""Difficulties against plain loops over the rows and epochs."""

from __future__ import annotations

import math
import statistics
from fractions import Fraction

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from alframe.functional.history import at_the_end, low_on_average, spread

SLOW = {
    at_the_end: lambda values: values[-1],
    low_on_average: lambda values: -statistics.fmean(values),
    spread: statistics.pstdev,
}
NAMED = {function.__name__: function for function in SLOW}


@pytest.mark.parametrize("name", NAMED)
@settings(deadline=None)
@given(seed=st.integers(0, 2**32), epochs=st.integers(1, 9), rows=st.integers(0, 6))
def test_against_the_loop(name, seed, epochs, rows):
    history = np.random.default_rng(seed).normal(size=(epochs, rows))
    fast = NAMED[name](history)
    slow = [SLOW[NAMED[name]](history[:, row].tolist()) for row in range(rows)]
    assert isinstance(fast, np.ndarray)
    assert fast.shape == (rows,)
    np.testing.assert_allclose(fast, slow, rtol=1e-12, atol=1e-13)


@pytest.mark.parametrize("name", NAMED)
@pytest.mark.parametrize(
    "dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64, torch.uint8]
)
def test_any_type_is_computed_in_float64(name, dtype):
    history = (torch.rand(30, 8) * 3).to(dtype)
    fast = NAMED[name](history)
    assert isinstance(fast, torch.Tensor)
    assert fast.dtype == torch.float64
    exact = [SLOW[NAMED[name]](column) for column in history.double().T.tolist()]
    np.testing.assert_allclose(fast, exact, rtol=1e-12, atol=1e-13)


@pytest.mark.parametrize("scale", [1e300, 1.7e308, 1e-300, 1.0])
def test_huge_and_tiny_values_survive(scale):
    history = np.array([[1.0, -1.0, 0.0, 1.0], [-1.0, -1.0, 0.0, 0.5], [1.0, -1.0, 0.0, 0.25]])
    for function in SLOW:
        plain, scaled = function(history), function(history * scale)
        assert np.isfinite(scaled).all()
        np.testing.assert_allclose(scaled / scale, plain, rtol=1e-12)


@given(value=st.floats(-1e308, 1e308), epochs=st.integers(1, 40))
def test_a_row_that_never_changes_has_no_spread_and_itself_as_its_mean(value, epochs):
    """Exactly, so that such rows are ties; a mean rounds to within some last digits."""
    history = np.full((epochs, 2), value)
    assert spread(history).tolist() == [0.0, 0.0]
    mean = -low_on_average(history)
    assert mean[0] == mean[1]
    assert math.isclose(mean[0], value, rel_tol=1e-14, abs_tol=1e-307)


def test_the_spread_keeps_its_digits_far_from_zero():
    """A mean of squares minus a squared mean would leave nothing of them."""
    values = [1e9 + step for step in (0.25, 0.5, 1.0, 4.0)]
    exact = [Fraction(value) for value in values]
    center = sum(exact) / 4
    slow = math.sqrt(sum((value - center) ** 2 for value in exact) / 4)
    assert spread(np.array(values)[:, None])[0] == pytest.approx(slow, rel=1e-6)


@pytest.mark.parametrize("name", NAMED)
def test_rows_of_missing_values_are_refused(name):
    history = np.zeros((3, 9))
    history[1, 4], history[2, 7] = np.nan, np.inf
    with pytest.raises(ValueError, match=r"finite values .* got 2 bad rows of 9: 4, 7"):
        NAMED[name](history)


@pytest.mark.parametrize("shape", [(4,), (0, 4), (2, 3, 4)])
@pytest.mark.parametrize("name", NAMED)
def test_another_shape_is_refused(name, shape):
    with pytest.raises(ValueError, match=r"a history \[epochs, n\]"):
        NAMED[name](np.zeros(shape))
