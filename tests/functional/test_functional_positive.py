"""How likely the last class is."""

import numpy as np
import pytest

from alframe.functional import most_likely_positive


def test_it_is_the_last_column():
    probs = np.random.default_rng(0).dirichlet([1, 1], 700_000)  # more than one chunk
    np.testing.assert_array_equal(most_likely_positive(probs), probs[:, 1])
    most_likely_positive(probs)[:] = 0  # and no view of it
    assert (probs[:, 1] > 0).any()


@pytest.mark.parametrize(
    ("probs", "message"),
    [
        (np.ones((3, 1)), "classes >= 2"),
        (np.array([[0.5, np.nan]]), "NaN"),
        (np.array([[-0.5, 1.5]]), r"\[0, 1\]|outside"),
    ],
)
def test_what_is_no_probability_is_refused(probs, message):
    with pytest.raises(ValueError, match=message):
        most_likely_positive(probs)
