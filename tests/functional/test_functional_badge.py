"""BADGE against a twin that builds the gradients, and against scikit-activeml."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.stats import chi2
from torch.multiprocessing.reductions import StorageWeakRef
from torch.utils._python_dispatch import TorchDispatchMode

from alframe.functional import d2_sampling, gradients
from alframe.functional.badge import badge_select


def problem(n=300, classes=5, d=8, clusters=None, seed=0):
    """Probabilities and embeddings; in tight clusters of embeddings, if their number is given."""
    rng = np.random.default_rng(seed)
    hidden = rng.normal(size=(n, d))
    if clusters is not None:
        hidden = 3 * rng.normal(size=(clusters, d))[rng.integers(clusters, size=n)] + 1e-3 * hidden
    logits = 2 * hidden @ rng.normal(size=(d, classes)) / np.sqrt(d)
    probs = np.exp(logits - logits.max(axis=1, keepdims=True))
    return probs / probs.sum(axis=1, keepdims=True), hidden


def built(probs, hidden):
    probs, hidden = np.asarray(probs, dtype=np.float64), np.asarray(hidden, dtype=np.float64)
    factors = probs - np.eye(probs.shape[1])[probs.argmax(axis=1)]
    return (factors[:, :, None] * hidden[:, None, :]).reshape(len(probs), -1)


def squared_to_nearest(vectors, chosen):
    found = np.full(len(vectors), np.inf)
    for row in chosen:
        found = np.minimum(found, ((vectors - vectors[row]) ** 2).sum(axis=1))
    found[chosen] = 0
    return found


def twin(probs, hidden, size, rng, centers=()):
    """The definition, with the gradients built and one race over all rows for each pick."""
    vectors = built(probs, hidden)
    chosen = list(centers)
    while len(chosen) < len(centers) + size:
        if not chosen:
            chosen.append(int((vectors**2).sum(axis=1).argmax()))
            continue
        noise = rng.standard_exponential(len(vectors))
        scores = squared_to_nearest(vectors, chosen) / noise
        if scores.max() > 0:
            chosen.append(int(scores.argmax()))
        else:
            free = [row for row in range(len(vectors)) if row not in chosen]
            chosen += rng.permutation(free)[: len(centers) + size - len(chosen)].tolist()
    return chosen[len(centers) :]


@pytest.mark.parametrize("clusters", [None, 7])
@pytest.mark.parametrize("centers", [(), (5,), (17, 200, 3)])
@pytest.mark.parametrize(
    ("waiting", "checks", "chunk"), [(1, 1, 30), (7, 3, 500), (128, 256, 2**18)]
)
def test_rows_are_those_of_the_built_gradients(
    monkeypatch, clusters, centers, waiting, checks, chunk
):
    monkeypatch.setattr(d2_sampling, "_WAITING", waiting)
    monkeypatch.setattr(d2_sampling, "_CHECKS", checks)
    monkeypatch.setattr(gradients, "_CHUNK", chunk)
    probs, hidden = problem(n=210, clusters=clusters)
    rows = badge_select(probs, hidden, 60, np.random.default_rng(1), centers)
    assert rows.tolist() == twin(probs, hidden, 60, np.random.default_rng(1), centers)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_torch_in_torch_out(dtype):
    probs, hidden = (torch.from_numpy(values).to(dtype) for values in problem(n=80))
    rows = badge_select(probs, hidden.requires_grad_(), 30, np.random.default_rng(2))
    exact = probs.double().numpy(), hidden.detach().double().numpy()
    assert isinstance(rows, torch.Tensor)
    assert rows.dtype == torch.int64
    assert rows.tolist() == twin(*exact, 30, np.random.default_rng(2))


def test_all_rows_are_a_permutation_and_a_seed_repeats_it():
    probs, hidden = problem(n=50)
    draws = [badge_select(probs, hidden, 50, np.random.default_rng(s)).tolist() for s in (0, 0, 1)]
    assert draws[0] == draws[1] != draws[2]
    assert sorted(draws[0]) == list(range(50))
    part = badge_select(probs, hidden, 20, np.random.default_rng(0))
    assert part.tolist() == draws[0][:20]


def test_copies_wait_until_every_distinct_gradient_is_picked():
    probs, hidden = problem(n=40)
    copies = np.random.default_rng(3).permutation(np.repeat(np.arange(40), 3))
    rows = badge_select(probs[copies], hidden[copies], 120, np.random.default_rng(4))
    assert sorted(copies[rows[:40]].tolist()) == list(range(40))
    assert sorted(rows.tolist()) == list(range(120))


@pytest.mark.parametrize("scale", [1e300, 1e-300, 2.0**-1070])
def test_a_common_scale_changes_no_row(scale):
    probs, hidden = problem(n=60)
    exponent = np.round(np.log2(scale))
    hidden = np.round(hidden * 8)
    plain = badge_select(probs, hidden, 30, np.random.default_rng(5))
    scaled = badge_select(probs, np.ldexp(hidden, int(exponent)), 30, np.random.default_rng(5))
    assert scaled.tolist() == plain.tolist()


@pytest.mark.parametrize(
    ("probs", "hidden"),
    [
        (np.eye(3)[[0, 1, 2, 0, 1, 2, 0]], np.arange(14.0).reshape(7, 2)),
        (np.full((7, 3), 1 / 3), np.zeros((7, 2))),
        (np.full((7, 3), 1 / 3), np.full((7, 2), 0.1)),
        (np.full((7, 1), 1.0), np.arange(14.0).reshape(7, 2)),
        (np.full((7, 3), 1 / 3), np.zeros((7, 0))),
    ],
    ids=["certain", "zeros", "constant", "one class", "no features"],
)
def test_equal_gradients_are_drawn_uniformly_after_the_lowest_row(probs, hidden):
    draws = [badge_select(probs, hidden, 7, np.random.default_rng(s)).tolist() for s in range(120)]
    assert all(rows[0] == 0 and sorted(rows) == list(range(7)) for rows in draws)
    seconds = np.bincount([rows[1] for rows in draws], minlength=7)[1:]
    assert ((seconds > 4) & (seconds < 36)).all()  # 20 expected, standard deviation 4


@pytest.fixture(scope="module")
def peer():
    """scikit-activeml's Badge on a small case: its rows, and its probabilities for each pick."""
    pool = pytest.importorskip("skactiveml.pool")
    classifier = pytest.importorskip("skactiveml.classifier")
    linear = pytest.importorskip("sklearn.linear_model")
    points = np.random.default_rng(6).normal(size=(14, 3)) + 1
    labels = np.full(14, np.nan)
    labels[[0, 1, 2]] = [0, 1, 2]
    model = classifier.SklearnClassifier(linear.LogisticRegression(), classes=[0, 1, 2])
    model.fit(points, labels)
    rows, utilities = pool.Badge(random_state=0).query(
        points, labels, model, fit_clf=False, batch_size=6, return_utilities=True
    )
    free = np.arange(3, 14)  # it looks at rows without a label only, and knows of no centers
    probs = model.predict_proba(points)[free]
    return probs, points[free], np.array(rows) - 3, np.nan_to_num(utilities[:, free])


def test_the_first_row_is_that_of_scikit_activeml(peer):
    probs, points, rows, _ = peer
    assert badge_select(probs, points, 1, np.random.default_rng(0)).tolist() == rows[:1].tolist()


def with_a_zero_gradient(probs, points):
    """One more row, 11, of gradient zero.

    scikit-activeml 1.x keeps the squared norms, which choose its first row, as first distances: as
    if the zero vector were picked too. The paper and its authors' code do not; with this row as a
    center, our definition is the same.
    """
    return np.vstack([probs, [[1, 0, 0]]]), np.vstack([points, [[0, 0, 0]]])


def test_each_draw_has_the_probabilities_of_scikit_activeml(peer):
    probs, points, rows, utilities = peer
    vectors = gradients.last_layer_gradients(*with_a_zero_gradient(probs, points))
    for i in range(1, 6):
        near = d2_sampling._Nearest(vectors, torch.tensor([11, *rows[:i]]))
        shares = (near.bounds / near.bounds.sum()).numpy()
        np.testing.assert_allclose(shares[:11], utilities[i], atol=1e-12)


def test_draws_fall_as_often_as_those_probabilities_say(peer):
    probs, points, rows, utilities = peer
    rng = np.random.default_rng(7)
    data = with_a_zero_gradient(probs, points)
    draws = [badge_select(*data, 1, rng, [11, *rows[:2]])[0] for _ in range(1500)]
    expected = 1500 * utilities[2]
    counts = np.bincount(draws, minlength=11)
    likely = expected > 0
    assert (counts[~likely] == 0).all()
    statistic = ((counts - expected)[likely] ** 2 / expected[likely]).sum()
    assert statistic < chi2.ppf(0.999, likely.sum() - 1)


class LiveBytes(TorchDispatchMode):
    """The most bytes that tensors made within it held at one time, but for those of the inputs."""

    def __init__(self, *inputs):
        super().__init__()
        self.inputs = {value.untyped_storage().data_ptr() for value in inputs}
        self.held, self.peak = {}, 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        out = func(*args, **(kwargs or {}))
        for value in out if isinstance(out, (tuple, list)) else [out]:
            if isinstance(value, torch.Tensor):
                storage = value.untyped_storage()
                if storage.data_ptr() not in self.inputs:
                    self.held[storage.data_ptr()] = (StorageWeakRef(storage), storage.nbytes())
        self.held = {key: held for key, held in self.held.items() if not held[0].expired()}
        self.peak = max(self.peak, sum(size for _, size in self.held.values()))
        return out


def test_memory_is_that_of_a_few_numbers_a_row(monkeypatch):
    monkeypatch.setattr(gradients, "_CHUNK", 2**13)
    monkeypatch.setattr(d2_sampling, "_WAITING", 8)
    probs, hidden = (torch.from_numpy(v).float() for v in problem(n=1500, classes=4, d=256))
    with LiveBytes(probs, hidden) as seen:
        badge_select(probs, hidden, 10, np.random.default_rng(8))
    a_row = 4 * 4 + 8 * 8  # residuals, and at most eight numbers in float64
    assert 1500 * 8 < seen.peak < 1500 * a_row + 16 * 8 * 2**13 < hidden.nbytes


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_nonfinite_embeddings_are_refused_with_count_and_first_rows(value):
    probs, hidden = problem(n=10)
    hidden[2:9, 1] = value
    with pytest.raises(ValueError, match=r"7 bad rows of 10: 2, 3, 4, 5, 6, \.\.\.$"):
        badge_select(probs, hidden, 1, np.random.default_rng(0))


@pytest.mark.parametrize(
    ("size", "centers", "message"),
    [
        (-1, None, "from 0 to 4 .* got -1"),
        (5, None, "from 0 to 4 .* got 5"),
        (3, [1, 1, 0], "from 0 to 2 .*2 of them centers.* got 3"),
        (1, [4], "rows from 0 to 3"),
        (1, [0.0], "rows from 0 to 3"),
    ],
)
def test_sizes_and_centers_out_of_range_are_refused(size, centers, message):
    probs, hidden = problem(n=4)
    with pytest.raises(ValueError, match=message):
        badge_select(probs, hidden, size, np.random.default_rng(0), centers)


def test_probabilities_that_are_none_are_refused():
    probs, hidden = problem(n=4)
    with pytest.raises(ValueError, match="1 bad rows of 4: 3"):
        badge_select(np.vstack([probs[:3], -probs[3:]]), hidden, 1, np.random.default_rng(0))


@pytest.mark.parametrize("n", [0, 4])
def test_size_zero_gives_nothing(n):
    rows = badge_select(np.full((n, 2), 0.5), np.zeros((n, 3)), 0, np.random.default_rng(0))
    assert rows.shape == (0,)
    assert rows.dtype == np.int64


@pytest.mark.gpu
def test_a_gpu_picks_the_same_rows():
    probs, hidden = (torch.from_numpy(values).float() for values in problem(n=5000, d=64))
    rows = badge_select(probs.cuda(), hidden.cuda(), 300, np.random.default_rng(9))
    assert rows.is_cuda
    assert rows.tolist() == badge_select(probs, hidden, 300, np.random.default_rng(9)).tolist()
