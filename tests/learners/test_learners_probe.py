"""The linear probe against scikit-learn."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from learner_parts import Desk, features, images
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import accuracy_score, log_loss

from alframe.errors import UserError
from alframe.files import decode_state, encode_state
from alframe.learners.probe import ProbeLearner
from alframe.observations import passed_over
from alframe.protocols import Need, Scope, View
from alframe.tasks.classification import Classification

PROBS, EMBEDDINGS = Need("probs"), Need("embeddings", Scope.POOL)


def probe(data, **options):
    return ProbeLearner(data, Classification(data), **options)


def fit(how, view):
    return how.fit(view, np.random.default_rng(0), (), Desk())


def view_of(data, classes=None, weights=None):
    rows = data.pool_rows
    labels = data.reveal(rows)
    keep = np.isin(labels, np.arange(data.num_classes) if classes is None else classes)
    return View(rows[keep], labels[keep], None if weights is None else weights[keep])


def standardized(data, rows):
    raw = (data.inputs[rows].astype(np.float64) - data.mean) / data.std
    return raw.reshape(len(rows), -1)


@pytest.mark.parametrize("data", [features(), features(2), images()], ids=["3", "2", "images"])
@pytest.mark.parametrize("c", [0.1, 10.0])
def test_probabilities_equal_those_of_scikit_learn(data, c):
    view = view_of(data)
    fitted = fit(probe(data, inverse_regularization=c), view)
    model = LogisticRegression(C=c, max_iter=1000)
    model.fit(standardized(data, view.rows), view.labels)
    rows = np.random.default_rng(0).permutation(data.num_rows)
    seen = fitted.observe({PROBS: np.sort(rows)})
    expected = model.predict_proba(standardized(data, rows))
    np.testing.assert_allclose(seen.probs(rows), expected, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("classes", [[0, 2], [1, 2], [0, 1]])
def test_a_class_without_a_label_gets_no_probability_and_a_finite_loss(classes):
    data = features()
    view = view_of(data, classes)
    fitted = fit(probe(data), view)
    model = LogisticRegression(max_iter=1000).fit(standardized(data, view.rows), view.labels)
    probs = fitted.observe({PROBS: np.arange(data.num_rows)}).probs(np.arange(data.num_rows))
    expected = np.zeros((data.num_rows, 3))
    expected[:, classes] = model.predict_proba(standardized(data, np.arange(data.num_rows)))
    np.testing.assert_allclose(probs, expected, rtol=1e-9, atol=1e-12)
    assert np.isfinite(fitted.evaluate("test")["loss"])


def test_a_single_class_is_learned_or_refused_in_words():
    """A core-set may hold one class only: scikit-learn alone would end the run with a traceback."""
    data = features()
    try:
        fitted = fit(probe(data), view_of(data, [1]))
    except UserError as error:
        assert "class" in str(error)  # noqa: PT017
    else:
        rows = data.pool_rows
        assert (fitted.observe({PROBS: rows}).probs(rows).argmax(1) == 1).all()


def test_metrics_are_those_of_scikit_learn():
    data = features()
    fitted = fit(probe(data), view_of(data))
    for split in ("validation", "test"):
        inputs, labels = data.test_inputs, data.test_labels
        if split == "validation":
            inputs, labels = data.inputs[data.validation_rows], data.reveal(data.validation_rows)
        probs = fitted.logits(fitted.learner.features(inputs)).softmax(1).numpy()
        metrics = fitted.evaluate(split)
        assert metrics["accuracy"] == pytest.approx(accuracy_score(labels, probs.argmax(1)))
        assert metrics["loss"] == pytest.approx(log_loss(labels, probs), rel=1e-6)


def test_weights_act_as_copies_of_the_rows():
    data = features()
    copies = np.random.default_rng(0).integers(1, 4, len(data.pool_rows))
    rows = np.repeat(data.pool_rows, copies)
    weighted = fit(probe(data), view_of(data, weights=copies.astype(float)))
    repeated = fit(probe(data), View(rows, data.reveal(rows)))
    np.testing.assert_allclose(weighted.weight, repeated.weight, rtol=1e-3, atol=1e-4)
    plain = fit(probe(data), view_of(data))
    assert np.abs(weighted.weight - plain.weight).max() > 0.01


def test_embeddings_are_the_standardized_inputs():
    data = images()
    rows = data.pool_rows
    seen = fit(probe(data), view_of(data)).observe({EMBEDDINGS: rows})
    np.testing.assert_allclose(seen.embeddings(rows), standardized(data, rows))
    with pytest.raises(KeyError, match="probs is not among"):
        seen.probs(rows)


def test_what_is_restored_from_disk_is_the_same(tmp_path):
    how = probe(features())
    fitted = fit(how, view_of(how.data))
    (tmp_path / "fitted.npz").write_bytes(encode_state(fitted.state()))
    again = how.restore(decode_state(tmp_path / "fitted.npz"))
    rows = how.data.pool_rows
    one, other = (f.observe({PROBS: rows}).probs(rows) for f in (fitted, again))
    assert torch.equal(one, other)
    assert (again.seconds, again.evaluate("test")) == (fitted.seconds, fitted.evaluate("test"))


def test_the_test_rows_are_looked_at_once(monkeypatch):
    how = probe(features())
    rows = how.data.test_inputs
    monkeypatch.setattr(
        "alframe.learners.probe.split_arrays",
        lambda data, split: looks.append(split) or (rows, data.test_labels),
    )
    looks = []
    fitted = fit(how, view_of(how.data))
    seen = fitted.evaluate("test")
    again = how.restore(fitted.state())
    assert again.evaluate("test") == seen
    assert looks == ["test"]


def test_rows_that_are_evaluated_in_parts_are_evaluated_alike(monkeypatch):
    how = probe(features())
    fitted = fit(how, view_of(how.data))
    monkeypatch.setattr("alframe.learners.probe.BATCH", 7)
    monkeypatch.setattr("alframe.learners.probe.MEASURED", 21)
    other = fit(how, view_of(how.data))
    assert len(how.data.test_labels) % 21
    for name, value in fitted.evaluate("test").items():
        assert other.evaluate("test")[name] == pytest.approx(value, rel=1e-6)


def test_it_listens_to_no_seed():
    how = probe(features())
    one, other = (
        how.fit(view_of(how.data), np.random.default_rng(seed), (), Desk()) for seed in (0, 1)
    )
    np.testing.assert_array_equal(one.weight, other.weight)


def test_hardly_any_regularization_puts_the_boundary_between_the_nearest_labels():
    data = features()
    rows = data.pool_rows[np.argsort(data.inputs[data.pool_rows][:, 0])]
    labels = (np.arange(len(rows)) >= 20).astype(np.int64)
    how = probe(data, inverse_regularization=1e9)
    fitted = fit(how, View(rows, labels))
    assert (fitted.observe({PROBS: np.sort(rows)}).probs(rows).argmax(1).numpy() == labels).all()


def test_the_memory_estimate_is_what_is_kept():
    data = features()
    how = probe(data)
    seen = fit(how, view_of(data)).observe({PROBS: data.pool_rows, EMBEDDINGS: data.pool_rows})
    rows = passed_over({PROBS: data.pool_rows})
    for need, values in ((PROBS, seen.probs(rows)), (EMBEDDINGS, seen.embeddings(rows))):
        assert how.bytes_per_row(need) == values.element_size() * values.shape[1]


@pytest.mark.parametrize("value", [0.0, -1.0, float("nan")])
def test_promise_5_regularization_out_of_range_is_refused_with_the_key(value):
    with pytest.raises(UserError, match="inverse_regularization"):
        probe(features(), inverse_regularization=value)
