import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from alframe.data.statistics import mean_and_std

RNG = np.random.default_rng(0)
IMAGES = RNG.integers(0, 256, (12, 5, 4, 3), dtype=np.uint8)
FEATURES = RNG.normal(size=(12, 4)).astype(np.float32)


def test_moments_of_images_match_numpy():
    images = RNG.integers(0, 256, (40, 6, 7, 3), dtype=np.uint8)
    mean, std = mean_and_std(images)
    np.testing.assert_allclose(mean, images.mean(axis=(0, 1, 2)), rtol=1e-6)
    np.testing.assert_allclose(std, images.std(axis=(0, 1, 2)), rtol=1e-6)


def test_moments_of_features_match_numpy():
    features = RNG.normal(5, [1, 2, 1e-3], size=(50, 3)).astype(np.float32)
    mean, std = mean_and_std(features)
    np.testing.assert_allclose(mean, features.mean(axis=0, dtype=np.float64), rtol=1e-6)
    np.testing.assert_allclose(std, features.std(axis=0, dtype=np.float64), rtol=1e-6)


@pytest.mark.parametrize("inputs", [IMAGES, FEATURES], ids=["images", "floats"])
def test_moments_do_not_depend_on_the_chunks(inputs, monkeypatch):
    whole = mean_and_std(inputs)
    monkeypatch.setattr("alframe.data.statistics._CHUNK_BYTES", 5 * inputs[0].nbytes)
    np.testing.assert_allclose(mean_and_std(inputs), whole, rtol=1e-6)


@given(
    npst.arrays(
        np.float32, (5, 2), elements=st.floats(width=32, allow_infinity=False, allow_nan=False)
    )
)
def test_standardizing_is_always_finite(features):
    mean, std = mean_and_std(features)
    assert np.all(std > 0)
    assert np.isfinite((features.astype(np.float64) - mean) / std).all()


def test_constant_inputs_have_std_one():
    grey = np.full((9, 2, 2, 3), 17, dtype=np.uint8)
    np.testing.assert_array_equal(mean_and_std(grey), [[17] * 3, [1] * 3])
    mean, std = mean_and_std(np.full((7, 1), 0.1, dtype=np.float32))
    np.testing.assert_array_equal((mean, std), [[np.float32(0.1)], [1]])
