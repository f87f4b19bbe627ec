"""Probabilities of rows that stay on disk, against the plain way over an array."""

import numpy as np
import pytest
import torch
from learner_parts import Desk

from alframe.data.dataset import Splits, build_dataset
from alframe.data.on_embeddings import with_rows_of
from alframe.data.stored import StoredRows
from alframe.learners import linear_scan
from alframe.learners.probe import ProbeLearner
from alframe.protocols import Need, Scope, View
from alframe.store import Store
from alframe.store.plan import Plan
from alframe.store.writer import StoreWriter, Work
from alframe.tasks.classification import Classification

PROBS = Need("probs")
WIDTH = 12


def store_of(folder, points, split):
    parts = {"inputs": "abc", "split": split, "encoder": "raw", "weights": "none"}
    StoreWriter(folder, Plan(parts, len(points), WIDTH, rows_per_shard=300)).fill(
        Work(lambda start, stop: points[start:stop], 100)
    )
    return Store.open(folder)


def datasets(tmp_path, classes, rows=1000):
    """The same data with its rows in memory and on disk."""
    rng = np.random.default_rng(0)
    labels = np.concatenate([np.arange(classes), rng.integers(classes, size=rows - classes)])
    points = rng.normal(size=(classes, WIDTH))[labels] + rng.normal(size=(rows, WIDTH)) + 3
    points = points.astype(np.float16).astype(np.float32)
    zeros = np.zeros((rows, 1), np.float32)
    plain = build_dataset("plain", (zeros, labels), (zeros, labels), None, Splits(), False)
    stores = [store_of(tmp_path / split, points, split) for split in ("train", "test")]
    return [with_rows_of(plain, *stores, keep_gib, "data") for keep_gib in (1.0, 0.0)]


@pytest.fixture(autouse=True)
def short_parts(monkeypatch):
    monkeypatch.setattr(linear_scan, "FEWEST", 64)
    monkeypatch.setattr(linear_scan, "VALUES", 256)
    monkeypatch.setattr(linear_scan, "CHUNK_BYTES", 4 * WIDTH * 20)
    monkeypatch.setattr(linear_scan, "PICKED_BYTES", 4 * WIDTH * 15)


@pytest.mark.parametrize("classes", [2, 5])
@pytest.mark.parametrize("share", [1.0, 0.7, 0.1])
def test_probabilities_are_those_of_rows_in_memory(tmp_path, classes, share):
    plain, stored = datasets(tmp_path, classes)
    assert isinstance(stored.inputs, StoredRows)
    rng = np.random.default_rng(1)
    rows = np.sort(rng.choice(1000, round(share * 1000), replace=False))
    some = np.arange(0, 1000, 7)
    seen = []
    for data in (plain, stored):
        learner = ProbeLearner(data, Classification(data))
        fitted = learner.fit(View(some, data.reveal(some)), rng, (), Desk())
        seen.append(fitted.observe({PROBS: rows}).probs(rows))
    assert seen[1].dtype == torch.float32
    torch.testing.assert_close(seen[1].double(), seen[0], rtol=1e-4, atol=1e-5)


def test_a_class_without_a_label_gets_no_probability(tmp_path):
    _, data = datasets(tmp_path, 3)
    labels = data.reveal(np.arange(1000))
    learner = ProbeLearner(data, Classification(data))
    for kept in ([0, 2], [1]):
        some = np.flatnonzero(np.isin(labels, kept))
        fitted = learner.fit(View(some, labels[some]), np.random.default_rng(0), (), Desk())
        probs = fitted.observe({PROBS: some}).probs(some)
        absent = np.setdiff1d(np.arange(3), kept)
        assert float(probs[:, absent].max()) < 1e-20
        np.testing.assert_allclose(probs.sum(1), 1, rtol=1e-6)


def test_what_is_reduced_within_the_pass_is_the_same(tmp_path):
    _, data = datasets(tmp_path, 3)
    some = np.arange(200)
    fitted = ProbeLearner(data, Classification(data)).fit(
        View(some, data.reveal(some)), np.random.default_rng(0), (), Desk()
    )
    rows, labeled = np.arange(200, 1000), np.arange(0, 1000, 3)
    reduced = Need("probs", reduce=lambda probs: probs.amax(1))
    whole = Need("probs", Scope.POOL)
    seen = fitted.observe({reduced: rows, whole: labeled})
    expected = fitted.observe({PROBS: rows}).probs(rows).amax(1)
    torch.testing.assert_close(seen.of([reduced]).probs(rows), expected)
    embeddings = Need("embeddings")
    values = fitted.observe({embeddings: rows}).embeddings(rows).numpy()
    np.testing.assert_allclose(values, (data.inputs[rows] - data.mean) / data.std, atol=1e-5)


def test_evaluation_is_that_of_rows_in_memory(tmp_path):
    some, metrics = np.arange(500), []
    for data in datasets(tmp_path, 3):
        learner = ProbeLearner(data, Classification(data))
        fitted = learner.fit(View(some, data.reveal(some)), np.random.default_rng(0), (), Desk())
        metrics.append(fitted.evaluate("test"))
    assert metrics[1] == pytest.approx(metrics[0], rel=1e-3)


def probe_on(data, labeled):
    learner = ProbeLearner(data, Classification(data))
    view = View(labeled, data.reveal(labeled))
    return learner.fit(view, np.random.default_rng(0), (), Desk())


@pytest.mark.parametrize("fewest", [64, 5000], ids=["parts", "one part"])
@pytest.mark.parametrize("share", [1.0, 0.7, 0.1])
def test_the_number_of_threads_changes_no_bit(tmp_path, monkeypatch, share, fewest):
    monkeypatch.setattr(linear_scan, "FEWEST", fewest)
    _, data = datasets(tmp_path, 20, 4001)
    known = np.flatnonzero(data.reveal(np.arange(4001)) != 4)[:300]  # of one class there is none
    fitted = probe_on(data, known)
    rng = np.random.default_rng(1)
    rows = np.sort(rng.choice(4001, round(share * 4001), replace=False))
    reduced = Need("probs", reduce=lambda probs: probs.amax(1))
    before, seen = torch.get_num_threads(), []
    try:
        for threads in (1, 2, 3, 8):
            torch.set_num_threads(threads)
            found = fitted.observe({PROBS: rows, reduced: rows})
            seen.append([found.of([need]).probs(rows) for need in (PROBS, reduced)])
            assert torch.get_num_threads() == threads
    finally:
        torch.set_num_threads(before)
    for others in seen[1:]:
        assert all(torch.equal(*pair) for pair in zip(seen[0], others, strict=True))


def test_needs_of_other_rows_are_seen_in_one_pass(tmp_path):
    _, data = datasets(tmp_path, 3)
    fitted = probe_on(data, np.arange(200))
    low, high = np.arange(0, 450), np.arange(400, 1000, 3)  # none in some of the threads' parts
    reduced = Need("probs", reduce=lambda probs: probs.amax(1))
    pool, labeled = Need("probs", Scope.POOL), Need("probs", Scope.LABELED)
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(3)
        seen = fitted.observe({pool: low, labeled: high, reduced: high})
    finally:
        torch.set_num_threads(before)
    for need, rows in ((pool, low), (labeled, high), (reduced, high)):
        expected = fitted.observe({PROBS: rows}).probs(rows)
        expected = expected.amax(1) if need is reduced else expected
        torch.testing.assert_close(seen.of([need]).probs(rows), expected)


def test_nothing_and_one_row_are_seen(tmp_path):
    plain, data = datasets(tmp_path, 3)
    fitted = probe_on(data, np.arange(200))
    assert fitted.observe({})._tables == {}
    one = np.array([999])
    expected = probe_on(plain, np.arange(200)).observe({PROBS: one}).probs(one)
    found = fitted.observe({PROBS: one}).probs(one).double()
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)


def test_classes_without_a_label_count_for_what_is_seen_at_a_time(tmp_path, monkeypatch):
    monkeypatch.setattr(linear_scan, "FEWEST", 1)
    _, data = datasets(tmp_path, 50)
    labels, longest = data.reveal(np.arange(1000)), []

    class Watched(Classification):
        def probs(self, logits):
            longest.append(logits.numel())
            return super().probs(logits)

    some = np.flatnonzero(labels < 2)
    learner = ProbeLearner(data, Watched(data))
    fitted = learner.fit(View(some, labels[some]), np.random.default_rng(0), (), Desk())
    fitted.observe({PROBS: np.arange(1000)})
    assert max(longest) <= 256
