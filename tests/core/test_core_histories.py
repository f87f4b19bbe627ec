"""Means of histories, and observations of several models put together."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from alframe.histories import Joined, MeanHistory
from alframe.observations import Table, TableObservations
from alframe.protocols import Need

ROWS = np.array([3, 5, 8, 40])
FIELDS = ("margin", "correct")


def observed(history, fields=FIELDS, need=None):
    need = Need("dynamics", fields=fields) if need is None else need
    return TableObservations({need: Table(ROWS, torch.as_tensor(history), "dynamics", fields)})


def mean_of(histories, need, rows=ROWS, fields=FIELDS):
    mean = MeanHistory(need, rows)
    for history in histories:
        mean.add(observed(history, fields))
    return mean.table


@settings(deadline=None)
@given(
    seed=st.integers(0, 2**32),
    lengths=st.lists(st.integers(1, 6), min_size=2, max_size=5),
    until=st.none() | st.integers(1, 7),
    dtype=st.sampled_from([np.float16, np.float32, np.uint8]),
)
def test_the_mean_is_that_of_numpy_over_the_epochs_that_all_have(seed, lengths, until, dtype):
    rng = np.random.default_rng(seed)
    histories = [(3 * rng.random((epochs, 4, 2))).astype(dtype) for epochs in lengths]
    need = Need("dynamics", fields=FIELDS, fits=len(lengths), until_epoch=until)
    table = mean_of(histories, need)
    shortest = min(*lengths, until or 99)
    slow = np.mean([history[:shortest].astype(np.float64) for history in histories], axis=0)
    assert table.values.dtype == torch.float32
    assert table.fields == FIELDS
    np.testing.assert_array_equal(table.rows, ROWS)
    np.testing.assert_allclose(table.values, slow, rtol=1e-5, atol=1e-6)


def test_equal_histories_have_just_that_mean():
    history = np.random.default_rng(0).random((5, 4, 2)).astype(np.float16)
    need = Need("dynamics", fields=FIELDS, fits=7)
    table = mean_of([history] * 7, need)
    np.testing.assert_array_equal(table.values, history.astype(np.float32))


def test_only_the_needs_rows_and_fields_are_kept():
    history = np.arange(24, dtype=np.float32).reshape(3, 4, 2)
    need = Need("dynamics", fields=("correct",), fits=2, until_epoch=2)
    table = mean_of([history, history + 2], need, rows=ROWS[[1, 3]])
    np.testing.assert_array_equal(table.values[..., 0], history[:2, [1, 3], 1] + 1)
    assert table.fields == ("correct",)


@pytest.mark.parametrize("dtype", [torch.uint8, torch.float16])
def test_a_single_history_stays_as_it_is(dtype):
    history = torch.ones(3, 4, 2, dtype=dtype)
    table = mean_of([history], Need("dynamics", fields=FIELDS, until_epoch=2))
    assert table.values.dtype == dtype
    assert table.values.shape == (2, 4, 2)


def test_what_was_added_is_not_changed():
    first = torch.rand(3, 4, 2)
    before = first.clone()
    mean_of([first, torch.rand(3, 4, 2)], Need("dynamics", fields=FIELDS, fits=2))
    assert torch.equal(first, before)


PROBS, EMBEDDINGS, DRAWS = Need("probs"), Need("embeddings"), Need("mc_probs", draws=2)
FULL = Need("dynamics", fields=("correct", "margin"))
SHORT = Need("dynamics", fields=("margin",), fits=3)


def joined():
    plain = {
        PROBS: Table(ROWS, torch.full((4, 3), 1.0)),
        EMBEDDINGS: Table(ROWS, torch.full((4, 2), 2.0)),
        DRAWS: Table(ROWS, torch.full((4, 2, 3), 3.0)),
        FULL: Table(ROWS, torch.full((5, 4, 2), 4.0), "dynamics", FULL.fields),
    }
    short = {SHORT: Table(ROWS, torch.full((2, 4, 1), 5.0), "dynamics", SHORT.fields)}
    return Joined([(list(plain), TableObservations(plain)), ([SHORT], TableObservations(short))])


def test_each_kind_comes_from_the_model_that_serves_it():
    seen = joined()
    assert seen.probs(ROWS)[0, 0] == 1
    assert seen.embeddings(ROWS)[0, 0] == 2
    assert seen.mc_probs(ROWS)[0, 0, 0] == 3
    assert seen.dynamics(ROWS, "correct")[0, 0] == 4


def test_a_field_in_two_forms_is_asked_for_by_need():
    seen = joined()
    with pytest.raises(ValueError, match="dynamics margin was asked for in 2 forms"):
        seen.dynamics(ROWS, "margin")
    assert seen.of([SHORT]).dynamics(ROWS, "margin").shape == (2, 4)
    assert seen.of([FULL, PROBS]).dynamics(ROWS, "margin").shape == (5, 4)
    with pytest.raises(KeyError, match="probs is not among"):
        seen.of([SHORT, FULL]).probs(ROWS)
    with pytest.raises(KeyError, match="dynamics error_norm is not among"):
        seen.dynamics(ROWS, "error_norm")
