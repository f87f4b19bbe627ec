import numpy as np
import pytest

from alframe.data.one_dimensional import one_dimensional
from alframe.errors import UserError

KINDS = ["uniform", "gaussians", "overlapping"]


@pytest.mark.parametrize("kind", KINDS)
def test_shapes_and_no_standardizing(kind):
    data = one_dimensional(kind=kind, rows=50)
    assert (data.kind, data.input_shape, data.classes) == ("features", (1,), ("left", "right"))
    assert data.inputs.shape == (50, 1)
    assert data.test_inputs.shape == (20_000, 1)
    assert (data.mean.item(), data.std.item()) == (0, 1)
    assert (len(data.pool_rows), len(data.validation_rows)) == (50, 0)


@pytest.mark.parametrize("kind", KINDS)
def test_the_seed_draws_the_pool(kind):
    first, again, other = (one_dimensional(kind=kind, rows=30, seed=seed) for seed in (0, 0, 2**40))
    assert first.fingerprint == again.fingerprint
    assert not np.array_equal(first.inputs, other.inputs)


@pytest.mark.parametrize(
    ("kind", "threshold", "boundary", "length"),
    [
        ("uniform", None, 0.37, 1),
        ("uniform", 0.8, 0.8, 1),
        ("gaussians", None, 0, 12),
        ("gaussians", -1.5, -1.5, 12),
    ],
)
def test_test_error_measures_the_boundary(kind, threshold, boundary, length):
    data = one_dimensional(kind=kind, threshold=threshold)
    np.testing.assert_array_equal(data.reveal(np.arange(2000)), data.inputs[:, 0] > boundary)
    for guess in (boundary - 0.1, boundary, boundary + 0.05):
        error = np.mean((data.test_inputs[:, 0] > guess) != data.test_labels)
        assert error * length == pytest.approx(abs(guess - boundary), abs=length / 20_000)


def test_uniform_points():
    x = one_dimensional(kind="uniform", rows=4000).inputs
    assert x.min() >= 0
    assert x.max() <= 1
    assert np.mean(x) == pytest.approx(0.5, abs=0.03)
    assert np.var(x) == pytest.approx(1 / 12, abs=0.01)


@pytest.mark.parametrize(("kind", "center"), [("gaussians", 2), ("overlapping", 1)])
def test_gaussian_points(kind, center):
    x = one_dimensional(kind=kind, rows=4000).inputs
    assert np.mean(x) == pytest.approx(0, abs=6 * np.sqrt((1 + center**2) / 4000))
    assert np.mean(x**2) == pytest.approx(1 + center**2, rel=0.1)


def test_overlapping_classes_overlap():
    data = one_dimensional(kind="overlapping", rows=4000)
    labels = data.reveal(np.arange(4000))
    for side, center in ((0, -1), (1, 1)):
        points = data.inputs[labels == side]
        assert np.mean(points) == pytest.approx(center, abs=0.15)
        assert np.std(points) == pytest.approx(1, abs=0.1)
    # The best boundary, 0, is wrong for a share of Phi(-1) = 0.159.
    for x, y in ((data.inputs, labels), (data.test_inputs, data.test_labels)):
        assert np.mean((x[:, 0] > 0) != y) == pytest.approx(0.159, abs=0.03)
    assert not np.isin(data.test_inputs, data.inputs).any()


def test_splits():
    data = one_dimensional(rows=100, validation=0.2, subset=50)
    assert (len(data.pool_rows), len(data.validation_rows)) == (40, 10)
    with pytest.raises(TypeError, match="sigma"):
        one_dimensional(sigma=2)


@pytest.mark.parametrize(
    ("options", "start"),
    [
        ({"kind": "round"}, "data.kind=round: expected one of uniform, gaussians, overlapping"),
        ({"rows": 0}, "data.rows=0: "),
        ({"rows": 1.5}, "data.rows=1.5: "),
        ({"seed": -1}, "data.seed=-1: "),
        ({"seed": None}, "data.seed=None: "),
        ({"threshold": 1.0}, "data.threshold=1.0: expected null or a number between 0 and 1"),
        ({"threshold": float("nan")}, "data.threshold=nan: "),
        ({"threshold": "half"}, "data.threshold=half: "),
        ({"kind": "gaussians", "threshold": 7}, "data.threshold=7: "),
        ({"kind": "overlapping", "threshold": 0.0}, "data.threshold=0.0: expected null, as"),
    ],
)
def test_refused(options, start):
    with pytest.raises(UserError) as refusal:
        one_dimensional(**options)
    assert str(refusal.value).startswith(start)
