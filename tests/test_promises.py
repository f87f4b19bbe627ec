"""The promises of design.md, section 7, where no other test holds them.

1 (an interrupted run) is held by test_resume.py and learners/, 2 (what is scored and evaluated) by
learners/, 3 and 4 (each strategy) by strategies/test_strategies_contract.py, 5 (each option) by
cli/, core/, data/ and learners/.
"""

from __future__ import annotations

import json
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch

from alframe.cli import run
from alframe.cli.build import build_parts
from alframe.data.dataset import Dataset
from alframe.errors import UserError
from alframe.files import decode_state
from alframe.functional import entropy
from alframe.learners.lightning import LightningLearner
from alframe.learners.probe import ProbeLearner
from alframe.pipelines.stages import Stages
from alframe.pool import Pool
from alframe.protocols import Need, Query
from alframe.record import is_cost
from alframe.run_dir import RunDir, read_config
from alframe.selection import check_query

SMALL = (
    "data.subset=160",
    "data.validation=40",
    "schedule.initial=20",
    "schedule.query_size=20",
    "schedule.budget=80",
    "logger=[]",
)
PROBE = ("learner@target=probe", *SMALL)
NETWORK = (
    "learner@target=mlp",
    "target.recipe={epochs: 1, min_steps: 6}",
    "trainer=cpu",
    *SMALL,
)


def tables(result, timings=False):
    """Reads ``metrics.csv`` and ``selections.parquet``."""
    metrics = pd.read_csv(result.path / "metrics.csv")
    kept = [name for name in metrics if timings or not is_cost(name)]
    return metrics[kept], pd.read_parquet(result.path / "selections.parquet")


def go(folder, *overrides):
    """Runs and returns the result with its two tables."""
    result = run(*overrides, f"run_dir={folder}")
    metrics, selections = tables(result)
    return SimpleNamespace(path=folder, outcome=result.outcome, metrics=metrics, picked=selections)


# --- 1: same seed, same rows ---


@pytest.mark.parametrize(
    ("parts", "strategy"),
    [(PROBE, "random"), (PROBE, "kcenter"), (NETWORK, "entropy")],
    ids=["probe-random", "probe-kcenter", "network-entropy"],
)
def test_promise_1_same_seed_same_rows_and_another_seed_others(tmp_path, parts, strategy):
    torch.manual_seed(1)
    one = go(tmp_path / "one", *parts, f"strategy={strategy}", "seed=0")
    torch.manual_seed(2)
    same = go(tmp_path / "same", *parts, f"strategy={strategy}", "seed=0")
    other = go(tmp_path / "other", *parts, f"strategy={strategy}", "seed=1")
    pd.testing.assert_frame_equal(one.picked, same.picked, check_exact=True)
    pd.testing.assert_frame_equal(one.metrics, same.metrics, check_exact=True)
    assert not one.picked["row"].equals(other.picked["row"])


def test_promise_1_at_one_seed_every_strategy_starts_from_the_same_rows(tmp_path):
    first = [
        go(tmp_path / name, *PROBE, f"strategy={name}").picked.query("round_id == 0")
        for name in ("random", "entropy", "kcenter")
    ]
    for other in first[1:]:
        pd.testing.assert_frame_equal(first[0], other)


# --- 2: no hidden label is seen ---


@pytest.fixture
def ledger(monkeypatch):
    """Notes which rows were asked for, and which labels were revealed without that."""
    notes = SimpleNamespace(asked=set(), revealed=set(), leaked=[], trained=[])
    ask, reveal = Pool.ask, Dataset.reveal

    def noted_ask(pool, rows, round_id):
        ask(pool, rows, round_id)
        notes.asked |= set(rows.tolist())

    def noted_reveal(data, rows):
        hidden = set(np.asarray(rows).tolist()) - set(data.validation_rows.tolist())
        notes.leaked += sorted(hidden - notes.asked)
        notes.revealed |= hidden
        return reveal(data, rows)

    monkeypatch.setattr(Pool, "ask", noted_ask)
    monkeypatch.setattr(Dataset, "reveal", noted_reveal)
    for learner in (ProbeLearner, LightningLearner):
        monkeypatch.setattr(learner, "fit", noted_fit(learner.fit, notes))
    return notes


def noted_fit(fit, notes):
    def noted(learner, view, *rest):
        notes.trained.append(set(view.rows.tolist()))
        assert notes.trained[-1] <= notes.asked
        np.testing.assert_array_equal(view.labels, learner.data._labels[view.rows])
        return fit(learner, view, *rest)

    return noted


@pytest.mark.parametrize(
    ("parts", "strategy"),
    [(PROBE, "random"), (PROBE, "margin"), (NETWORK, "kcenter")],
    ids=["probe-random", "probe-margin", "network-kcenter"],
)
def test_promise_2_a_label_is_revealed_only_after_it_was_asked_for(
    tmp_path, ledger, parts, strategy
):
    done = go(tmp_path / "run", *parts, f"strategy={strategy}", "learner@proxy=probe")
    assert ledger.leaked == []
    assert ledger.revealed == set(done.picked["row"])
    assert max(map(len, ledger.trained)) == 80


@pytest.mark.parametrize("strategy", ["entropy", "kcenter"])
@pytest.mark.parametrize("learner", ["probe", "mlp"])
def test_promise_2_labels_that_were_never_asked_for_change_nothing(tmp_path, strategy, learner):
    rng = np.random.default_rng(0)
    labels = rng.integers(3, size=200)
    inputs = rng.normal(size=(200, 4)).astype(np.float32) + labels[:, None]
    test = {"test_inputs": inputs[:40], "test_labels": labels[:40]}
    options = (*SMALL, f"strategy={strategy}", f"learner@target={learner}", "trainer=cpu")
    recipe = () if learner == "probe" else ("target.recipe={epochs: 1, min_steps: 6}",)

    def with_labels(name, given):
        path = tmp_path / f"{name}.npz"
        np.savez(path, inputs=inputs, labels=given, **test)
        data = ("data=array", f"data.path={path}", "data.subset=null", "data.validation=0")
        return go(tmp_path / name, *options, *data, *recipe)

    honest = with_labels("honest", labels)
    hidden = np.setdiff1d(np.arange(200), honest.picked["row"])
    poisoned = labels.copy()
    poisoned[hidden] = (labels[hidden] + 1) % 3
    other = with_labels("poisoned", poisoned)
    pd.testing.assert_frame_equal(honest.picked, other.picked, check_exact=True)
    pd.testing.assert_frame_equal(honest.metrics, other.metrics, check_exact=True)


def test_promise_2_the_accuracy_on_record_is_the_final_models(tmp_path):
    """A large learning rate makes epochs differ; the best of them must not be reported."""
    recipe = "target.recipe={schedule: milestones, epochs: 3, learning_rate: 0.5, min_steps: 0}"
    done = go(
        tmp_path / "run",
        *("learner@target=mlp", "pipeline=core_set", "pipeline.sizes=[0.5]", "strategy=random"),
        *("data.subset=160", "data.validation=40", "logger=[]", "trainer=cpu", recipe),
        "target.recipe.curve_every=1",
    )
    curve = pd.read_csv(done.path / "fits" / "size_000_target" / "curve.csv")
    assert curve["epoch"].tolist() == [1, 2, 3]
    assert curve["error"].min() < curve["error"].iloc[-1], "else this test could not fail"
    row = done.metrics.query("fit == 'size_000_target' and split == 'test'").iloc[0]
    assert row["accuracy"] == pytest.approx(1 - curve["error"].iloc[-1])


# --- 3: distinct candidate rows of the asked number, or an error that says why ---

CANDIDATES = np.array([2, 5, 8, 11])


def query(rows, scores=None, weights=None):
    parts = [None if values is None else np.array(values) for values in (scores, weights)]
    return Query(np.array(rows), *parts)


BAD_QUERIES = {
    "too few": (query([2]), "returned 1 rows, 1 distinct: expected 2 distinct rows of the 4"),
    "too many": (query([2, 5, 8]), "returned 3 rows"),
    "twice": (query([5, 5]), "returned 2 rows, 1 distinct"),
    "no candidate": (query([2, 3]), "expected 2 distinct rows of the 4 candidates"),
    "not found": (query([-1, 2]), "expected 2 distinct rows"),
    "rising": (query([2, 5], [0.1, 0.2]), "scores do not fall"),
    "nan": (query([2, 5], [np.nan, 0.2]), "scores do not fall"),
    "last nan": (query([2, 5], [0.2, np.nan]), "scores do not fall"),
    "few scores": (query([2, 5], [0.2]), "scores"),
    "no weight": (query([2, 5], None, [1.0, 0.0]), "weights are not one positive number"),
    "nan weight": (query([2, 5], None, [1.0, np.nan]), "weights are not one positive number"),
    "few weights": (query([2, 5], None, [1.0]), "weights are not one positive number"),
}


@pytest.mark.parametrize("case", BAD_QUERIES)
def test_promise_3_a_query_that_is_not_as_promised_is_refused(case):
    bad, message = BAD_QUERIES[case]
    with pytest.raises(ValueError, match=message):
        check_query(bad, 2, CANDIDATES)


@pytest.mark.parametrize(
    "fine", [query([8, 2]), query([8, 2], [np.inf, -np.inf]), query([8, 2], [1, 1], [0.1, 9])]
)
def test_promise_3_a_query_as_promised_is_taken(fine):
    check_query(fine, 2, CANDIDATES)


@pytest.mark.parametrize("strategy", ["random", "margin", "kcenter"])
@pytest.mark.parametrize("rule", ["all", "random_subset"])
def test_promise_3_no_row_is_asked_for_twice(tmp_path, strategy, rule):
    budget = "schedule.budget=60"
    done = go(tmp_path / "run", *PROBE, f"strategy={strategy}", f"candidates={rule}", budget)
    assert done.picked.groupby("round_id").size().tolist() == [20, 20, 20]
    assert done.picked["row"].is_unique
    config = read_config(done.path)
    assert set(done.picked["row"]) <= set(build_parts(config)[0].data.pool_rows.tolist())


# --- 4: memory is estimated before the run starts ---


@pytest.mark.parametrize("pipeline", ["active_learning", "core_set"])
def test_promise_4_what_would_not_fit_is_refused_before_anything_is_written(
    tmp_path, monkeypatch, pipeline
):
    # 64 values of 8 bytes for each of the 100 candidates (and, in a core-set, of all 120 rows).
    options = (*PROBE, "strategy=kcenter", f"pipeline={pipeline}", f"run_dir={tmp_path / 'run'}")
    monkeypatch.setattr("alframe.limits.available_bytes", lambda _: 50_000)
    with pytest.raises(UserError, match=r"KCenter on 1[02]0 candidates would take .*expected at"):
        run(*options)
    assert not (tmp_path / "run").exists()
    monkeypatch.setattr("alframe.limits.available_bytes", lambda _: 10**9)
    status = json.loads((run(*options).path / "status.json").read_text())
    assert 50_000 < status["memory"]["observed_bytes"] < 10_000_000


# --- 5: bad input is refused before the first epoch ---

SHRINKING = ("candidates=random_subset", "schedule.budget=120")
LATE = {
    "candidates that become too few": ((*PROBE, *SHRINKING), r"candidates\.size"),
    "a model for images": (
        ("learner@target=small_cnn", "data=one_dimensional", "schedule=one_by_one", "logger=[]"),
        r"learner@target=",
    ),
    "a model for images, unseen": (
        ("learner@target=small_cnn", "data=one_dimensional", "strategy=random", "logger=[]"),
        r"learner@target=",
    ),
    "a target for images, judged by a proxy": (
        (
            *("learner@target=small_cnn", "learner@proxy=probe", "data=one_dimensional"),
            *("pipeline=core_set", "logger=[]"),
        ),
        r"learner@target=",
    ),
}


@pytest.mark.parametrize("case", LATE)
def test_promise_5_what_would_fail_later_is_refused_at_the_start(tmp_path, case):
    options, key = LATE[case]
    with pytest.raises(UserError, match=key):
        run(*options, f"run_dir={tmp_path / 'run'}")
    assert not (tmp_path / "run").exists()


def test_a_cheap_proxy_that_no_strategy_listens_to_changes_no_rows(tmp_path):
    """Random needs no model: with few evaluations there is nothing to fit in between."""
    options = (*PROBE, "strategy=random")
    plain = go(tmp_path / "plain", *options)
    proxied = go(tmp_path / "proxied", *options, "learner@proxy=probe", "schedule.evaluate_at=[40]")
    pd.testing.assert_frame_equal(plain.picked, proxied.picked)
    assert proxied.metrics["labeled"].unique().tolist() == [40, 80]


# --- 6: every selected row can be traced ---


@pytest.mark.parametrize("selector", ["target", "proxy"])
def test_promise_6_a_selected_row_leads_to_the_model_that_scored_it(tmp_path, selector):
    proxy = ["learner@proxy=probe"] if selector == "proxy" else []
    done = go(tmp_path / "run", *PROBE, *proxy, "pipeline.keep_models=true")
    config, status = (
        read_config(done.path),
        json.loads((done.path / "status.json").read_text()),
    )
    parts, _ = build_parts(config)
    assert status["data"]["fingerprint"] == parts.data.fingerprint
    assert {"alframe", "torch", "python"} <= set(status["versions"])
    assert "git" in status
    assert (status["state"], status["pipeline"]) == ("done", "active_learning")
    assert config["choices"]["strategy"] == "entropy"
    assert done.picked["row"].is_unique
    for round_id, picked in done.picked.groupby("round_id"):
        rows = picked["row"].to_numpy()
        assert picked["rank"].tolist() == list(range(len(rows)))
        np.testing.assert_array_equal(picked["label"], parts.data.reveal(rows))
        if round_id == 0:
            assert picked["score"].isna().all()
            continue
        key = f"fits/round_{round_id - 1:03d}_{selector}/fitted.npz"
        model = getattr(parts, selector).restore(decode_state(done.path / key))
        seen = model.observe({Need("probs"): np.sort(rows)})
        np.testing.assert_allclose(picked["score"], entropy(seen.probs(rows)), rtol=1e-9)


def test_promise_6_core_set_rows_are_traced_too(tmp_path):
    sizes = "pipeline.sizes=[10,0.25]"
    done = go(tmp_path / "run", *PROBE, "pipeline=core_set", "strategy=kcenter", sizes)
    assert done.picked.groupby("round_id").size().tolist() == [10, 30]
    assert done.picked.groupby("round_id")["row"].nunique().tolist() == [10, 30]
    labels = build_parts(read_config(done.path))[0].data.reveal(done.picked["row"].to_numpy())
    np.testing.assert_array_equal(done.picked["label"], labels)


class Clerk:
    """An oracle that answers what it was told to."""

    def __init__(self, rows, labels):
        self.reply = np.array(rows), np.array(labels)

    def answer(self, rows):
        return self.reply


@pytest.fixture
def stages(tmp_path):
    held = RunDir.open(tmp_path / "run", {"seed": 0})
    parts = SimpleNamespace(oracle=None)
    yield Stages(parts, 0, held, None, None)
    held.close()


def test_promise_6_answers_in_another_order_find_their_rows(stages):
    stages.parts.oracle = Clerk([9, 2, 5], [90, 20, 50])
    assert stages.answer("a", np.array([5, 9, 2])).tolist() == [50, 90, 20]


@pytest.mark.parametrize("answered", [[9, 2, 7], [9, 2, 1], [9, 2, 2], [9, 2, 5, 5]])
def test_promise_6_an_answer_about_other_rows_is_not_taken_for_these(stages, answered):
    """A label must never end up at a row that it was not given for."""
    stages.parts.oracle = Clerk(answered, [10 * row for row in answered])
    try:
        labels = stages.answer("a", np.array([5, 9, 2]))
    except (ValueError, UserError):
        return
    assert labels.tolist() == [50, 90, 20]
