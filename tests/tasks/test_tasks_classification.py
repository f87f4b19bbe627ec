"""Classification against numpy and scikit-learn."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import log_softmax, softmax
from sklearn.metrics import accuracy_score, balanced_accuracy_score, log_loss

from alframe.data.dataset import Splits, build_dataset
from alframe.errors import UserError
from alframe.tasks.classification import DYNAMICS, OF_EMBEDDING, Classification

CLASSES = 5
PLAIN = tuple(field for field in DYNAMICS if field not in OF_EMBEDDING)


def dataset(counts=(8, 8, 8, 8, 8)):
    labels = np.repeat(np.arange(len(counts)), counts)
    labels = np.random.default_rng(0).permutation(labels)
    inputs = np.random.default_rng(1).normal(size=(len(labels), 2))
    names = [str(c) for c in range(len(counts))]
    return build_dataset("toy", (inputs, labels), (inputs[:5], labels[:5]), names, Splits())


TASK = Classification(dataset())


def batch(seed=0, size=40, scale=2.0, classes=CLASSES):
    rng = np.random.default_rng(seed)
    return rng.normal(size=(size, classes)) * scale, rng.integers(classes, size=size)


def tensors(logits, labels, dtype=torch.float64):
    return torch.from_numpy(logits).to(dtype), torch.from_numpy(labels)


@pytest.mark.parametrize("smoothing", [0.0, 0.2])
def test_loss_is_the_cross_entropy_in_nats_of_each_row(smoothing):
    logits, labels = batch()
    target = (1 - smoothing) * np.eye(CLASSES)[labels] + smoothing / CLASSES
    slow = -(target * log_softmax(logits, axis=1)).sum(1)
    np.testing.assert_allclose(TASK.loss(*tensors(logits, labels), smoothing), slow, rtol=1e-12)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_probabilities_are_float32_or_better(dtype):
    logits, labels = batch(scale=30)
    given_logits = tensors(logits, labels, dtype)[0]
    probs = TASK.probs(given_logits)
    assert probs.dtype == (torch.float64 if dtype == torch.float64 else torch.float32)
    slow = softmax(given_logits.double().numpy(), axis=1)
    np.testing.assert_allclose(probs, slow, rtol=2e-5, atol=1e-30)


def slow_dynamics(logits, label):
    """The values of one row that need no embedding, as the docstring says."""
    probs = [float(value) for value in softmax(logits)]
    others = [p for c, p in enumerate(probs) if c != label]
    error = [p - (c == label) for c, p in enumerate(probs)]
    return {
        "probability": probs[label],
        "margin": probs[label] - max(others),
        "correct": float(probs[label] > max(others)),
        "error_norm": sum(value**2 for value in error) ** 0.5,
    }


@settings(deadline=None)
@given(
    st.integers(0, 2**32),
    st.integers(2, 7),
    st.lists(st.sampled_from(PLAIN), min_size=1, max_size=4, unique=True),
)
def test_dynamics_against_the_slow_twin(seed, classes, fields):
    logits, labels = batch(seed, 12, classes=classes)
    slow = [slow_dynamics(row, label) for row, label in zip(logits, labels, strict=True)]
    values = TASK.dynamics(tuple(fields), *tensors(logits, labels))
    assert values.shape == (12, len(fields))
    expected = [[row[field] for field in fields] for row in slow]
    np.testing.assert_allclose(values, expected, rtol=1e-9, atol=1e-12)


def test_dynamics_of_sure_logits_are_finite_and_take_nothing_apart():
    logits = torch.tensor([[1000.0, -1000, 0], [1000.0, -1000, 0]], requires_grad=True)
    labels = torch.tensor([0, 1])
    values = TASK.dynamics(PLAIN, logits.detach(), labels)
    np.testing.assert_allclose(values[0], [1, 1, 1, 0], atol=1e-7)
    np.testing.assert_allclose(values[1], [0, -1, 0, 2**0.5], atol=1e-6)
    assert logits.tolist() == [[1000.0, -1000, 0], [1000.0, -1000, 0]]


@pytest.mark.parametrize("seed", range(3))
def test_the_gradient_norm_is_that_of_autograd(seed):
    """One row at a time through a last layer with a bias."""
    torch.manual_seed(seed)
    layer = torch.nn.Linear(7, CLASSES, dtype=torch.float64)
    embedding = torch.randn(12, 7, dtype=torch.float64)
    labels = torch.randint(CLASSES, (12,))
    slow = []
    for row, label in zip(embedding, labels, strict=True):
        layer.zero_grad()
        torch.nn.functional.cross_entropy(layer(row), label).backward()
        gradients = torch.cat([layer.weight.grad.flatten(), layer.bias.grad])
        slow.append(float(gradients.norm()))
    fields = ("gradient_norm", "margin")
    values = TASK.dynamics(fields, layer(embedding).detach(), labels, embedding)
    np.testing.assert_allclose(values[:, 0], slow, rtol=1e-9)
    assert torch.equal(values[:, 1], TASK.dynamics(("margin",), layer(embedding), labels)[:, 0])


def test_the_gradient_norm_of_half_precision_may_pass_its_range():
    embedding = torch.full((1, 100), 60000.0, dtype=torch.float16)
    logits = torch.tensor([[-9.0, 9.0]], dtype=torch.float16)
    values = TASK.dynamics(("gradient_norm",), logits, torch.tensor([0]), embedding)
    assert values.dtype == torch.float32
    assert float(values) == pytest.approx(600000 * 2**0.5, rel=1e-4)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_correct_alone_is_the_same_as_among_others(dtype):
    given_logits, labels = tensors(*batch(), dtype)
    alone = TASK.dynamics(("correct",), given_logits, labels)
    assert torch.equal(alone, TASK.dynamics(("correct", "margin"), given_logits, labels)[:, :1])


def metrics(logits, labels, batches=3, task=TASK):
    meter = task.meter(torch.device("cpu"))
    given_logits, given_labels = tensors(logits, labels)
    for some in torch.arange(len(labels)).chunk(batches):
        meter.update(given_logits[some], given_labels[some])
    return meter.compute()


@pytest.mark.parametrize("batches", [1, 3, 40])
def test_metrics_are_those_of_scikit_learn_however_they_are_batched(batches):
    logits, labels = batch()
    logits[np.arange(40), labels] += 1
    found, guess = metrics(logits, labels, batches), logits.argmax(1)
    assert found["accuracy"] == pytest.approx(accuracy_score(labels, guess))
    assert found["macro_accuracy"] == pytest.approx(balanced_accuracy_score(labels, guess))
    assert found["loss"] == pytest.approx(log_loss(labels, softmax(logits, axis=1)), rel=1e-6)


@pytest.mark.parametrize("guessed", [True, False], ids=["guessed", "never guessed"])
def test_the_macro_accuracy_is_the_mean_over_the_classes_that_occur(guessed):
    """Class 4 does not occur among the labels; whether it is guessed must not make it count."""
    logits, labels = batch(size=60)
    labels = labels % 4
    logits[:, 4] = 5.0 * np.arange(60) % 3 if guessed else -100
    found, guess = metrics(logits, labels), logits.argmax(1)
    assert (guess == 4).any() == guessed
    recall = [(guess[labels == c] == c).mean() for c in range(4)]
    assert found["macro_accuracy"] == pytest.approx(np.mean(recall))


def test_metrics_of_one_class_alone_are_finite():
    logits, _ = batch()
    found = metrics(logits, np.full(40, 2))
    assert all(np.isfinite(value) for value in found.values())
    assert found["accuracy"] == found["macro_accuracy"]


def test_the_error_is_the_share_of_wrong_rows():
    logits, labels = batch()
    found = metrics(logits, labels)
    assert TASK.error(found) == pytest.approx((logits.argmax(1) != labels).mean())


# --- the first labels ---


def initial(size, how, counts=(8, 8, 8, 8, 8), seed=0, eligible=None):
    data = dataset(counts)
    eligible = np.arange(data.num_rows) if eligible is None else eligible
    rows = Classification(data, how).initial_rows(size, eligible, np.random.default_rng(seed))
    assert len(rows) == len(set(rows.tolist())) == size
    assert np.isin(rows, eligible).all()
    return rows, np.bincount(data.reveal(rows), minlength=len(counts))


@pytest.mark.parametrize("how", ["random", "balanced"])
def test_initial_rows_are_a_function_of_the_stream(how):
    one, _ = initial(12, how)
    np.testing.assert_array_equal(one, initial(12, how)[0])
    assert len({tuple(initial(12, how, seed=seed)[0]) for seed in range(5)}) == 5
    eligible = np.arange(3, 40, 2)
    initial(19, how, eligible=eligible)


@pytest.mark.parametrize("size", [2, 5, 12, 20, 40])
def test_balanced_rows_differ_by_at_most_one_a_class(size):
    counts = initial(size, "balanced")[1]
    assert counts.max() - counts.min() <= 1


def test_what_a_rare_class_lacks_the_others_give():
    assert initial(12, "balanced", (1, 0, 20, 20, 2))[1].tolist() == [1, 0, 5, 4, 2]


def test_which_rows_of_a_class_come_first_is_random():
    first = {int(initial(5, "balanced", seed=seed)[0][0]) for seed in range(40)}
    assert len(first) > 4


def test_random_rows_do_not_look_at_labels():
    data = dataset()
    task = Classification(data)
    object.__setattr__(data, "_labels", None)
    assert len(task.initial_rows(9, np.arange(40), np.random.default_rng(0))) == 9


@pytest.mark.parametrize("labels", [[3], [3, 3, 3], []])
def test_a_single_class_is_refused_with_the_keys(labels):
    with pytest.raises(UserError, match=r"single class.*raise schedule\.initial"):
        TASK.check_labels(np.array(labels, dtype=np.int64), "raise schedule.initial")


def test_two_classes_are_enough():
    TASK.check_labels(np.array([1, 1, 4]), "")


def test_an_unknown_way_to_begin_is_refused():
    with pytest.raises(UserError, match=r"task\.initial=even"):
        Classification(dataset(), "even")
