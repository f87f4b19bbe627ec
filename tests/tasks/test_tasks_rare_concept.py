"""The search for a rare concept: first labels, average precision, what was found."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from alframe.data.digits import digits
from alframe.data.one_against_rest import one_against_rest
from alframe.errors import UserError
from alframe.tasks.rare_concept import RareConcept


@pytest.fixture(scope="module")
def sevens():
    return one_against_rest(digits(), "7")


def average_precision(labels, scores):
    """The mean, over the positives, of the precision among what ranks at least as high."""
    return np.mean([labels[scores >= scores[i]].mean() for i in np.flatnonzero(labels)])


def test_the_first_rows_are_as_many_of_both_as_asked_for(sevens):
    task = RareConcept(sevens, positives=3, negatives=11)
    rows = task.initial_rows(14, sevens.pool_rows, np.random.default_rng(0))
    assert sevens.reveal(rows).tolist() == [1] * 3 + [0] * 11
    assert len(np.unique(rows)) == 14
    assert np.isin(rows, sevens.pool_rows).all()
    other = task.initial_rows(14, sevens.pool_rows, np.random.default_rng(1))
    assert set(rows) != set(other)


def test_fewer_positives_than_asked_for_are_refused(sevens):
    few = sevens.pool_rows[sevens.reveal(sevens.pool_rows) == 0]
    with pytest.raises(UserError, match=r"task\.positives=5: expected at most the 0 rows of 7"):
        RareConcept(sevens).initial_rows(100, few, np.random.default_rng(0))


def test_another_number_of_first_labels_is_refused(sevens):
    with pytest.raises(UserError, match=r"schedule\.initial=20: expected task\.positives=5 plus"):
        RareConcept(sevens).initial_rows(20, sevens.pool_rows, np.random.default_rng(0))


def test_data_of_many_classes_are_refused():
    with pytest.raises(UserError, match=r"got 10 of data=digits; set concept"):
        RareConcept(digits())


@pytest.mark.parametrize("key", ["positives", "negatives"])
def test_no_rows_of_a_kind_are_refused(sevens, key):
    with pytest.raises(UserError, match=rf"task\.{key}=0"):
        RareConcept(sevens, **{key: 0})


@pytest.mark.parametrize("seed", range(5))
def test_average_precision_against_its_definition(sevens, seed):
    rng = np.random.default_rng(seed)
    logits = rng.integers(-8, 8, (200, 2)) / 4  # with ties
    labels = (rng.random(200) < 0.1).astype(np.int64)
    task = RareConcept(sevens)
    meter = task.meter(torch.device("cpu"))
    for part in np.array_split(np.arange(200), 3):
        meter.update(torch.tensor(logits[part]), torch.tensor(labels[part]))
    metrics = meter.compute()
    margins = logits[:, 1] - logits[:, 0]
    assert metrics["average_precision"] == pytest.approx(average_precision(labels, margins))
    assert metrics["accuracy"] == pytest.approx((logits.argmax(1) == labels).mean())
    assert task.error(metrics) == 1 - metrics["average_precision"]


def test_sure_rows_are_still_told_apart(sevens):
    meter = RareConcept(sevens).meter(torch.device("cpu"))
    meter.update(torch.tensor([[0.0, 100.0], [0.0, 101.0]]), torch.tensor([0, 1]))
    assert meter.compute()["average_precision"] == 1


def test_a_concept_without_test_rows_is_refused(sevens):
    none = replace(sevens, test_labels=np.zeros_like(sevens.test_labels))
    says = rf"concept=7: expected test rows .* got 0 among {len(sevens.test_labels)} of data=digits"
    with pytest.raises(UserError, match=says):
        RareConcept(none)


def test_validation_rows_without_a_positive_have_no_average_precision(sevens):
    task = RareConcept(sevens)
    meter = task.meter(torch.device("cpu"))
    meter.update(torch.tensor([[0.0, 1.0], [0.0, 2.0]]), torch.tensor([0, 0]))
    metrics = meter.compute()
    assert np.isnan(metrics["average_precision"])
    assert task.error(metrics) == 1


def test_what_was_found(sevens):
    found = RareConcept(sevens).progress(np.array([0, 1, 1, 0, 0]))
    assert found == {"positives_found": 2}
