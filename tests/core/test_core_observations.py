"""What was seen, asked by row number."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from alframe.observations import Table, TableObservations, joined, one_pass, passed_over, within
from alframe.protocols import Need, Scope

ROWS = np.array([3, 7, 8, 20, 21, 40])
PROBS, EMBEDDINGS = Need("probs"), Need("embeddings")
HISTORY = Need("dynamics", fields=("correct", "margin"))


def values(rows, width=3):
    """Values that tell their row."""
    return torch.from_numpy(np.outer(rows, 10.0 ** np.arange(width)))


def seen():
    history = torch.stack([values(ROWS, 2), -values(ROWS, 2)])
    return TableObservations(
        {
            PROBS: Table(ROWS, values(ROWS)),
            EMBEDDINGS: Table(ROWS[1:3], values(ROWS[1:3], 5)),
            HISTORY: Table(ROWS, history, "dynamics", HISTORY.fields),
        }
    )


@given(st.lists(st.sampled_from(ROWS.tolist()), max_size=10))
def test_rows_come_in_the_asked_order_however_often(rows):
    rows = np.array(rows, dtype=np.int64)
    assert torch.equal(seen().probs(rows), values(rows))
    for sign, field in ((1, "correct"), (10, "margin")):
        history = seen().dynamics(rows, field)
        expected = torch.from_numpy(np.stack([rows, -rows]) * float(sign))
        assert torch.equal(history, expected)


@pytest.mark.parametrize("row", [0, 4, 41, 10**9, -1])
def test_an_unobserved_row_raises(row):
    for ask in (seen().probs, seen().embeddings, lambda rows: seen().dynamics(rows, "margin")):
        with pytest.raises(KeyError, match=f"1 rows were not observed, the first is {row}"):
            ask(np.array([7, row, 8]))


def test_each_need_has_its_own_rows():
    assert torch.equal(seen().embeddings(np.array([8, 7])), values([8, 7], 5))
    with pytest.raises(KeyError, match="the first is 3"):
        seen().embeddings(ROWS)


def test_an_undeclared_need_raises():
    nothing = TableObservations({})
    for what in ("probs", "embeddings"):
        with pytest.raises(KeyError, match=f"{what} is not among the strategy's needs"):
            getattr(nothing, what)(ROWS)
    for observations in (nothing, seen()):
        with pytest.raises(KeyError, match="dynamics error_norm is not among"):
            observations.dynamics(ROWS, "error_norm")


def test_nothing_was_observed_of_no_rows():
    empty = Table(ROWS[:0], torch.empty(0, 3))
    assert empty.at(ROWS[:0]).shape == (0, 3)
    with pytest.raises(KeyError):
        empty.at(ROWS)


def batches_of(rows, size, outputs, log=None):
    for start in range(0, len(rows), size):
        batch = rows[start : start + size]
        if log is not None:
            log.append(batch.tolist())
        yield batch, {what: function(batch) for what, function in outputs.items()}


@settings(deadline=None)
@given(st.data(), st.integers(1, 9))
def test_one_pass_equals_a_direct_computation(data, size):
    subset = st.lists(st.sampled_from(ROWS.tolist()), min_size=1, unique=True).map(sorted)
    candidates, labeled, probed = (np.array(data.draw(subset)) for _ in range(3))
    requests = {
        EMBEDDINGS: candidates,
        Need("embeddings", Scope.LABELED): labeled,
        Need("probs", reduce=lambda p: p.sum(1)): probed,
    }
    union = passed_over(requests)
    assert union.tolist() == sorted({*candidates, *labeled, *probed})
    tables = one_pass(
        requests, batches_of(union, size, {"embeddings": lambda r: values(r, 5), "probs": values})
    )
    both = np.union1d(candidates, labeled)
    assert tables.keys() == requests.keys()
    for need in list(requests)[:2]:
        np.testing.assert_array_equal(tables[need].rows, both)
        assert torch.equal(tables[need].values, values(both, 5))
    assert torch.equal(tables[list(requests)[2]].at(probed), values(probed).sum(1))


def test_rows_are_reduced_within_the_pass_batch_by_batch():
    shapes = []

    def reduce(probs):
        shapes.append(tuple(probs.shape))
        return probs.amax(1)

    rows = np.arange(10) * 2
    reduced = Need("probs", reduce=reduce)
    requests = {reduced: rows[:7], EMBEDDINGS: rows}
    outputs = {"probs": values, "embeddings": lambda r: values(r, 2)}
    made = iter(batches_of(rows, 4, outputs))

    class Watched:
        def __iter__(self):
            for number, batch in enumerate(made):
                assert len(shapes) == number, "a batch is reduced before the next is made"
                yield batch

    table = one_pass(requests, Watched())[reduced]
    assert shapes == [(4, 3), (3, 3), (0, 3)]
    assert torch.equal(table.values, values(rows[:7]).amax(1))


def test_one_pass_serves_all_needs():
    log = []
    requests = {PROBS: ROWS[:4], EMBEDDINGS: ROWS[2:], Need("dynamics", fields=("margin",)): ROWS}
    outputs = {"probs": values, "embeddings": values}
    tables = one_pass(requests, batches_of(passed_over(requests), 4, outputs, log))
    assert set(tables) == {PROBS, EMBEDDINGS}
    assert [row for batch in log for row in batch] == ROWS.tolist()


def test_dynamics_alone_need_no_pass():
    requests = {Need("dynamics", fields=("margin",)): ROWS}
    assert len(passed_over(requests)) == 0
    assert one_pass(requests, iter([])) == {}


SOME_ROWS = st.lists(st.integers(0, 30), min_size=1, max_size=15, unique=True).map(sorted)


@given(
    asked=st.tuples(SOME_ROWS, SOME_ROWS, SOME_ROWS),
    cuts=st.lists(st.integers(0, 45), max_size=3).map(sorted),
)
def test_passes_over_parts_are_joined_to_one_over_all(asked, cuts):
    needs = (Need("probs"), Need("probs", Scope.LABELED), Need("probs", reduce=largest))
    requests = {need: np.array(rows) for need, rows in zip(needs, asked, strict=True)}
    every = passed_over(requests)

    def look(own):
        mine = {need: within(rows, own) for need, rows in requests.items()}
        return one_pass(mine, [(own, {"probs": values(own)})])

    parts = [look(own) for own in np.split(every, cuts) if len(own)]
    whole, at_once = joined(requests, parts), look(every)
    assert list(whole) == list(at_once)
    assert whole[needs[0]] is whole[needs[1]]
    for need in needs:
        np.testing.assert_array_equal(whole[need].rows, at_once[need].rows)
        assert torch.equal(whole[need].values, at_once[need].values)


def largest(probs):
    return probs.amax(1)


def test_two_reductions_of_one_kind_are_two_tables_of_one_pass():
    plain, total = PROBS, Need("probs", reduce=lambda p: p.sum(1))
    log = []
    requests = {plain: ROWS[:4], total: ROWS}
    tables = one_pass(requests, batches_of(ROWS, 4, {"probs": values}, log))
    assert [row for batch in log for row in batch] == ROWS.tolist()
    observations = TableObservations(tables)
    assert torch.equal(observations.of([plain]).probs(ROWS[:4]), values(ROWS[:4]))
    assert torch.equal(observations.of([total]).probs(ROWS), values(ROWS).sum(1))
    with pytest.raises(ValueError, match="2 forms: expected seen"):
        observations.probs(ROWS)


def test_of_hides_what_was_not_named():
    with pytest.raises(KeyError, match="embeddings is not among"):
        seen().of([PROBS]).embeddings(ROWS[1:3])


def test_each_need_has_its_own_number_of_draws():
    draws = torch.arange(len(ROWS) * 5 * 2.0).reshape(len(ROWS), 5, 2)
    few, many = Need("mc_probs", draws=2), Need("mc_probs", draws=5)
    outputs = {"mc_probs": lambda rows: draws[np.searchsorted(ROWS, rows)]}
    tables = one_pass({few: ROWS, many: ROWS}, batches_of(ROWS, 4, outputs))
    assert torch.equal(TableObservations(tables).of([few]).mc_probs(ROWS), draws[:, :2])
    assert torch.equal(TableObservations(tables).of([many]).mc_probs(ROWS), draws)


def test_all_rows_are_given_without_a_copy():
    table = Table(ROWS, values(ROWS))
    assert table.at(ROWS.copy()) is table.values
