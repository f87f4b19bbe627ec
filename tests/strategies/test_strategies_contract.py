"""What every strategy in configs/strategy promises."""

from __future__ import annotations

import random
import tracemalloc
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from strategy_worlds import CONFIGS, DRAWS, NAMES, observe, renumbered, select, strategy_of, world
from torch.multiprocessing.reductions import StorageWeakRef
from torch.utils._python_dispatch import TorchDispatchMode

from alframe.limits import estimate
from alframe.observations import TableObservations
from alframe.protocols import Need, Work
from alframe.selection import check_query

PAIRS = [(name, pipeline) for name in NAMES for pipeline in sorted(strategy_of(name).pipelines)]
DETERMINISTIC = [name for name in NAMES if not strategy_of(name).stochastic]
PASSED = [name for name in NAMES if {n.what for n in strategy_of(name).needs} - {"dynamics"}]


def same(one, other):
    np.testing.assert_array_equal(one.rows, other.rows)
    for before, after in ((one.scores, other.scores), (one.weights, other.weights)):
        assert (before is None) == (after is None)
        if before is not None:
            np.testing.assert_array_equal(before, after)


def test_the_named_strategies_are_there():
    wanted = "entropy forgetting kcenter least_confidence margin random"
    assert set(wanted.split()) <= set(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_it_says_what_it_is(name):
    strategy = strategy_of(name)
    assert isinstance(strategy.needs, tuple)
    assert all(isinstance(need, Need) for need in strategy.needs)
    assert isinstance(strategy.stochastic, bool)
    assert strategy.pipelines
    assert strategy.pipelines <= {"active_learning", "core_set"}
    text = type(strategy).__doc__
    assert text
    assert name == "random" or ("Source:" in text and "Deviations:" in text)
    assert (CONFIGS / "strategy" / f"{name}.yaml").read_text().startswith("# ")


@pytest.mark.parametrize(("name", "pipeline"), PAIRS)
@settings(deadline=None, max_examples=12)
@given(seed=st.integers(0, 2**32), data=st.data())
def test_a_query_is_the_asked_number_of_distinct_candidates(name, pipeline, seed, data):
    seen = world(seed)
    size = data.draw(st.integers(1, len(seen.candidates)))
    query = select(strategy_of(name), seen, size, seed, pipeline)
    check_query(query, size, seen.candidates)
    assert query.rows.dtype == np.int64
    assert query.rows.shape == (size,)
    for values in (query.scores, query.weights):
        assert values is None or (values.shape == (size,) and not np.isnan(values).any())
    assert query.scores is None or (query.scores[:-1] >= query.scores[1:]).all()
    assert query.weights is None or (query.weights > 0).all()


@pytest.mark.parametrize("name", NAMES)
def test_same_seed_same_query_and_only_the_stochastic_listen_to_it(name):
    strategy = strategy_of(name)
    first = select(strategy, world(), 20, seed=0)
    same(select(strategy, world(), 20, seed=0), first)
    same(select(strategy_of(name), world(), 20, seed=0), first)
    others = [select(strategy, world(), 20, seed=seed) for seed in (1, 2)]
    moved = [not np.array_equal(first.rows, other.rows) for other in others]
    assert any(moved) == strategy.stochastic


@pytest.mark.parametrize("name", NAMES)
def test_global_random_states_are_left_alone_and_not_used(name):
    states = random.getstate(), np.random.get_state(), torch.get_rng_state()  # noqa: NPY002
    first = select(strategy_of(name), world(), 20)
    assert random.getstate() == states[0]
    after = np.random.get_state()  # noqa: NPY002
    np.testing.assert_array_equal(after[1], states[1][1])
    assert after[2:] == states[1][2:]
    assert torch.equal(torch.get_rng_state(), states[2])
    with torch.random.fork_rng():
        torch.manual_seed(99)
        same(select(strategy_of(name), world(), 20), first)


# Two rows that are each other's only gain have the same gain, whatever the data: s(i, j) = s(j, i).
TIED_BY_SYMMETRY = {"craig", "facility_location"}
TIED_BY_COUNTING = {"variation_ratio"}  # a share of 20 draws has fewer values than there are rows


@pytest.mark.parametrize("name", DETERMINISTIC)
@pytest.mark.parametrize("seed", range(4))
def test_renumbered_rows_give_the_renumbered_query(name, seed):
    strategy, before = strategy_of(name), world(seed)
    tied = name in TIED_BY_SYMMETRY | TIED_BY_COUNTING
    after, numbers = renumbered(before, seed, same_order=tied)
    query = select(strategy, before, 25)
    np.testing.assert_array_equal(select(strategy, after, 25).rows, numbers[query.rows])


@pytest.mark.parametrize("name", DETERMINISTIC)
def test_how_rows_are_batched_moves_no_pick(name):
    queries = [select(strategy_of(name), world(), 25, batch=batch) for batch in (1, 10, 100)]
    for query in queries[1:]:
        np.testing.assert_array_equal(query.rows, queries[0].rows)


@pytest.mark.parametrize(("name", "pipeline"), PAIRS)
def test_with_no_labeled_row(name, pipeline):
    seen = replace(world(), labeled=np.empty(0, np.int64))
    query = select(strategy_of(name), seen, 10, pipeline=pipeline)
    check_query(query, 10, seen.candidates)


@pytest.mark.parametrize(("name", "pipeline"), PAIRS)
@pytest.mark.parametrize("count", [1, 2, 37])
def test_all_candidates_come_back_when_all_are_asked_for(name, pipeline, count):
    seen = world(candidates=count)
    query = select(strategy_of(name), seen, count, pipeline=pipeline)
    np.testing.assert_array_equal(np.sort(query.rows), seen.candidates)


def hard_worlds():
    plain = world()
    copies = torch.arange(len(plain.rows)) // 4
    one_hot = torch.eye(5, dtype=torch.float64)[torch.arange(len(plain.rows)) % 5]
    constant = {
        "probs": torch.full_like(plain.probs, 0.2),
        "mc_probs": torch.full_like(plain.mc_probs, 0.2),
        "embeddings": torch.full_like(plain.embeddings, 0.1),
    }
    return {
        "duplicates": replace(
            plain,
            probs=plain.probs[copies],
            mc_probs=plain.mc_probs[copies],
            embeddings=plain.embeddings[copies],
            dynamics=plain.dynamics[:, copies],
        ),
        "constant": replace(plain, dynamics=torch.ones_like(plain.dynamics), **constant),
        "never learned": replace(plain, dynamics=torch.zeros_like(plain.dynamics), **constant),
        "one epoch": replace(plain, dynamics=plain.dynamics[:1]),
        "huge": replace(
            plain,
            embeddings=plain.embeddings * 1e300,
            probs=one_hot,
            mc_probs=one_hot[:, None].repeat(1, DRAWS, 1),
        ),
        "tiny": replace(plain, embeddings=plain.embeddings * 1e-300, probs=one_hot * (1 - 1e-16)),
        "float32 at its end": replace(
            plain,
            embeddings=torch.full_like(plain.embeddings, 3.4e38).float() * one_hot[:, :4].float(),
            probs=one_hot.float(),
        ),
        "float16": replace(
            plain,
            embeddings=plain.embeddings.half(),
            probs=plain.probs.half(),
            mc_probs=plain.mc_probs.half(),
            dynamics=plain.dynamics.half(),
        ),
        "bfloat16": replace(
            plain,
            embeddings=plain.embeddings.bfloat16(),
            probs=plain.probs.bfloat16(),
            mc_probs=plain.mc_probs.bfloat16(),
        ),
        "integer history": replace(plain, dynamics=(plain.dynamics > 0.5).to(torch.uint8)),
    }


@pytest.mark.parametrize("case", hard_worlds())
@pytest.mark.parametrize("name", NAMES)
def test_hard_values_survive(name, case):
    seen = hard_worlds()[case]
    for size in (1, 20, len(seen.candidates)):
        query = select(strategy_of(name), seen, size)
        check_query(query, size, seen.candidates)
        assert query.scores is None or not np.isnan(query.scores).any()


@pytest.mark.parametrize("name", PASSED)
def test_missing_values_are_refused_with_the_row(name):
    seen = world()
    bad = seen.candidates[20]
    at = np.flatnonzero(seen.rows == bad)[0]
    for values in (seen.probs, seen.embeddings, seen.mc_probs[:, 0]):
        values[at, 0] = torch.nan
    with pytest.raises(Exception, match=rf"\b{bad}\b"):
        select(strategy_of(name), seen, 5)


@pytest.mark.parametrize("name", [name for name in NAMES if strategy_of(name).needs])
def test_what_is_not_declared_is_not_there(name):
    """`observe` gives just what is declared: without it there is nothing to select from."""
    seen = world()
    pool = seen.pool(min(strategy_of(name).pipelines))
    rng = np.random.default_rng(0)
    with pytest.raises(KeyError, match="not among the strategy's needs"):
        strategy_of(name).select(5, seen.candidates, pool, TableObservations({}), rng)


@pytest.mark.parametrize(("name", "pipeline"), PAIRS)
def test_nothing_that_it_is_given_is_changed(name, pipeline):
    strategy, seen = strategy_of(name), world()
    pool = seen.pool(pipeline)
    seen.candidates.flags.writeable = False
    given = (seen.probs, seen.mc_probs, seen.embeddings, seen.dynamics)
    values = [tensor.clone() for tensor in given]
    state = [array.copy() for array in (pool.eligible, pool.asked, pool.acquired)]
    observations = observe(strategy, seen, pool)
    strategy.select(9, seen.candidates, pool, observations, np.random.default_rng(0))
    again = strategy.select(9, seen.candidates, pool, observations, np.random.default_rng(0))
    for before, after in zip(values, given, strict=True):
        assert torch.equal(before, after)
    for before, after in zip(state, (pool.eligible, pool.asked, pool.acquired), strict=True):
        np.testing.assert_array_equal(before, after)
    same(select(strategy, seen, 9, pipeline=pipeline), again)


class Live(TorchDispatchMode):
    """Notes the most bytes of tensors that were alive at a time, of those made meanwhile."""

    def __init__(self):
        super().__init__()
        self.sizes, self.peak = {}, 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        result = function(*args, **(kwargs or {}))
        given = {part.untyped_storage().data_ptr() for part in _tensors(args)}
        for part in _tensors(result if isinstance(result, tuple | list) else [result]):
            storage = part.untyped_storage()
            if storage.data_ptr() not in given:
                self.sizes[StorageWeakRef(storage)] = storage.nbytes()
        self.sizes = {alive: size for alive, size in self.sizes.items() if not alive.expired()}
        self.peak = max(self.peak, sum(self.sizes.values()))
        return result


def _tensors(parts):
    for part in parts:
        if isinstance(part, torch.Tensor):
            yield part
        elif isinstance(part, tuple | list):
            yield from _tensors(part)


@pytest.mark.parametrize("name", NAMES)
def test_promise_4_it_takes_no_more_memory_than_it_says(name):
    rows, size = 1500, 600
    seen = world(rows=rows, labeled=rows // 4, candidates=3 * rows // 4, epochs=4)
    strategy = strategy_of(name)
    pool = seen.pool(min(strategy.pipelines))
    observations = observe(strategy, seen, pool, batch=rows)
    work = Work(size, len(seen.candidates), len(pool.labeled), 4, 5)
    with Live():  # what is imported on the way is no memory of the selection
        select(strategy, world(), 2)
    tracemalloc.start()
    try:
        with Live() as live:
            strategy.select(size, seen.candidates, pool, observations, np.random.default_rng(0))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert live.peak + peak <= estimate(strategy, work).bytes + 2**19


@pytest.mark.parametrize("name", NAMES)
def test_promise_4_what_it_says_is_linear_in_the_rows(name):
    """At a million rows, rows x picks would be 100,000 values for each row."""
    small, large = (
        estimate(strategy_of(name), Work(n // 10, n, n // 10, 256, 10)) for n in (10**5, 10**6)
    )
    assert large.bytes <= 10 * small.bytes
    assert large.bytes <= 10**6 * 8 * 2000 + 2**30
    assert 0 <= small.operations <= large.operations
