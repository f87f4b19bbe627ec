import json
import re

import numpy as np
import pandas as pd
import pytest
from odd_parts import SlowOracle
from tiny_runs import ACTIVE, assert_same_results, metrics, selections

from alframe.cli import run
from alframe.data.digits import digits
from alframe.learners.probe import ProbeLearner

QUIET = "logger=[]"
PROXY = "learner@proxy=probe"


@pytest.fixture(scope="module")
def data():
    """The dataset of the runs here."""
    return digits(subset=300, validation=100, test=100)


@pytest.fixture
def views(monkeypatch):
    """The views of all fits of the test, in order."""
    seen, fit = [], ProbeLearner.fit

    def spy(self, view, *rest):
        seen.append(view)
        return fit(self, view, *rest)

    monkeypatch.setattr(ProbeLearner, "fit", spy)
    return seen


def status(path):
    return json.loads((path / "status.json").read_text())


def test_metrics_have_a_row_for_each_model_and_split(workdir):
    table = metrics(run(*ACTIVE, QUIET).path, timings=True)
    assert {
        "round_id", "labeled", "train_rows", "model", "split", "accuracy", "loss",
        "seconds_fit", "seconds_observe", "seconds_select",
    } <= set(table)  # fmt: skip
    assert table[["round_id", "labeled", "model", "split"]].to_records(index=False).tolist() == [
        (round_id, labeled, "target", split)
        for round_id, labeled in enumerate([20, 30, 40])
        for split in ("validation", "test")
    ]
    assert (table.train_rows == table.labeled).all()
    assert table.accuracy.between(0, 1).all()
    assert np.isfinite(table.loss).all()
    assert (table.seconds_fit > 0).all()
    assert (table.loc[table.round_id == 0, "seconds_observe"] == 0).all()
    assert (table.loc[table.round_id > 0, ["seconds_observe", "seconds_select"]] > 0).all(axis=None)


def test_without_validation_rows_there_is_only_the_test_split(workdir):
    assert set(metrics(run(*ACTIVE, QUIET, "data.validation=0").path).split) == {"test"}


def test_selections_trace_every_row(workdir, data):
    table = selections(run(*ACTIVE, QUIET, "strategy=margin").path)
    assert {"row", "round_id", "rank", "score", "label"} <= set(table)
    assert table.row.is_unique
    assert table.row.isin(data.pool_rows).all()
    assert (table.label == data.reveal(table.row.to_numpy())).all()
    assert table.groupby("round_id").size().to_dict() == {0: 20, 1: 10, 2: 10}
    for round_id, part in table.groupby("round_id"):
        assert part["rank"].tolist() == list(range(len(part)))
        if round_id:
            assert part.score.is_monotonic_decreasing
        else:
            assert part.score.isna().all()


def test_a_fit_sees_the_labels_acquired_so_far_and_no_others(workdir, views):
    table = selections(run(*ACTIVE, QUIET).path)
    assert [len(view.rows) for view in views] == [20, 30, 40]
    for round_id, view in enumerate(views):
        known = table[table.round_id <= round_id].sort_values("row")
        assert view.rows.tolist() == known.row.tolist()
        assert view.labels.tolist() == known.label.tolist()


def test_the_last_round_takes_what_is_left_and_says_so(workdir, capsys):
    result = run(*ACTIVE, QUIET, "schedule.budget=47")
    assert sorted(set(metrics(result.path).labeled)) == [20, 30, 40, 47]
    assert "the last round is short, 7 rows instead of 10" in capsys.readouterr().err
    assert result.outcome.reason == "budget reached"


@pytest.mark.parametrize("query_size", ["70", "[70,70,40]"])
def test_the_pool_may_be_exhausted(query_size, workdir, data):
    result = run(*ACTIVE, QUIET, f"schedule.query_size={query_size}", "schedule.budget=null")
    table = selections(result.path)
    assert sorted(set(metrics(result.path).labeled)) == [20, 90, 160, 200]
    assert sorted(table.row) == data.pool_rows.tolist()
    assert result.outcome.reason == "pool exhausted"
    assert status(result.path)["reason"] == "pool exhausted"


def test_query_sizes_may_differ(workdir):
    table = metrics(run(*ACTIVE, QUIET, "schedule.query_size=[5,20]", "schedule.budget=null").path)
    assert sorted(set(table.labeled)) == [20, 25, 45]


def test_a_budget_of_the_initial_rows_is_one_round(workdir):
    result = run(*ACTIVE, QUIET, "schedule.budget=20")
    assert sorted(set(metrics(result.path).round_id)) == [0]


def first_to_reach(table, split, accuracy):
    reached = table[(table.split == split) & (table.accuracy >= accuracy)]
    return int(reached.labeled.min()) if len(reached) else None


def test_the_target_accuracy_is_measured_on_the_validation_rows(workdir):
    full = metrics(run(*ACTIVE, QUIET, "schedule.budget=90", "strategy=random").path)
    reached = {
        accuracy: [first_to_reach(full, split, accuracy) for split in ("validation", "test")]
        for accuracy in full.accuracy
    }
    wanted, expected = next(  # an accuracy that the two reach at other label counts
        (accuracy, validation)
        for accuracy, (validation, test) in reached.items()
        if validation is not None and validation < 90 and validation != test
    )
    result = run(
        *ACTIVE, QUIET, "schedule.budget=90", "strategy=random",
        f"schedule.target_accuracy={wanted}",
    )  # fmt: skip
    table = metrics(result.path)
    assert table.labeled.max() == expected
    pd.testing.assert_frame_equal(table, full[full.labeled <= expected])
    assert result.outcome.reason == f"target accuracy reached with {expected} labels"


@pytest.mark.parametrize("at", ["[30]", "[]"])
def test_an_expensive_target_is_trained_only_where_asked_and_at_the_end(at, workdir, views):
    table = metrics(run(*ACTIVE, QUIET, PROXY, f"schedule.evaluate_at={at}").path)
    trained = {model: sorted(set(part.labeled)) for model, part in table.groupby("model")}
    expected = {"proxy": [20, 30, 40], "target": [30, 40] if at == "[30]" else [40]}
    assert trained == expected
    assert sum(len(view.rows) == 20 for view in views) == 1  # the proxy alone


def test_the_proxy_selects_as_it_would_as_a_target(workdir):
    """Who judges the rows is all that matters to the strategy."""
    alone = selections(run(*ACTIVE, QUIET, "target.inverse_regularization=0.01").path)
    regularized = run(*ACTIVE, QUIET, PROXY, "proxy.inverse_regularization=0.01").path
    other = selections(run(*ACTIVE, QUIET).path)
    pd.testing.assert_frame_equal(selections(regularized), alone)
    assert set(other.row) != set(alone.row)


def test_no_proxy_is_the_default(workdir):
    plain = run(*ACTIVE, QUIET).path
    assert set(metrics(plain).model) == {"target"}
    assert_same_results(run(*ACTIVE, QUIET, "proxy=null").path, plain)


def test_random_needs_no_proxy(workdir, views):
    table = metrics(run(*ACTIVE, QUIET, PROXY, "strategy=random").path)
    assert set(table.model) == {"target"}
    assert len(views) == 3


def test_strategies_start_from_the_same_rows(workdir):
    names = "random", "entropy", "kcenter", "margin", "least_confidence"
    tables = {name: selections(run(*ACTIVE, QUIET, f"strategy={name}").path) for name in names}
    initial = {name: table[table.round_id == 0].row.tolist() for name, table in tables.items()}
    later = {name: tuple(table[table.round_id > 0].row) for name, table in tables.items()}
    assert all(rows == initial["random"] for rows in initial.values())
    assert len(set(later.values())) == len(names)


def test_the_seed_decides(workdir):
    first, again, other = (run(*ACTIVE, QUIET, f"seed={seed}").path for seed in (0, 0, 1))
    assert_same_results(again, first)
    assert set(selections(other).row[:20]) != set(selections(first).row[:20])


def test_a_noisy_oracle_errs_at_its_rate(workdir, data, views):
    path = run(
        *ACTIVE, QUIET, "oracle=noisy", "oracle.rate=0.3", "schedule.budget=200",
        "schedule.query_size=180",
    ).path  # fmt: skip
    table = selections(path)
    wrong = table.label != data.reveal(table.row.to_numpy())
    assert 0.2 < wrong.mean() < 0.4
    labels = dict(zip(views[-1].rows, views[-1].labels, strict=True))
    assert [labels[row] for row in table.row] == table.label.tolist()


def test_noise_does_not_touch_what_is_measured(workdir):
    """All labels wrong: the model learns them, and the test rows tell."""
    table = metrics(
        run(*ACTIVE, QUIET, "oracle=noisy", "oracle.rate=1", "schedule.budget=200",
            "schedule.query_size=180").path
    )  # fmt: skip
    assert table.accuracy.iloc[-1] < 0.2


def test_a_random_part_of_the_pool_is_looked_at(workdir, monkeypatch):
    from alframe.strategies.top_score import TopScore

    looked_at, select = [], TopScore.select

    def spy(self, size, candidates, *rest):
        looked_at.append(candidates)
        return select(self, size, candidates, *rest)

    monkeypatch.setattr(TopScore, "select", spy)
    path = run(*ACTIVE, QUIET, "candidates=random_subset", "candidates.size=0.25").path
    table = selections(path)
    assert [len(rows) for rows in looked_at] == [45, 42]  # a quarter of 180, of 170 unlabeled rows
    for round_id, rows in enumerate(looked_at, start=1):
        assert table[table.round_id == round_id].row.isin(rows).all()
        assert not np.isin(rows, table[table.round_id < round_id].row).any()
    assert len(np.intersect1d(*looked_at)) < 42  # drawn anew


def test_an_oracle_that_has_not_answered_makes_the_run_wait(workdir, monkeypatch):
    expected = run(*ACTIVE, QUIET).path
    overrides = *ACTIVE, QUIET, "run_dir=waiting", "oracle._target_=odd_parts.SlowOracle"
    seen = []
    for answered in (0, 7, 20, 10, 10, 20):  # by run: the initial 20, then 10 a round
        monkeypatch.setattr(SlowOracle, "answered", answered)
        result = run(*overrides)
        seen.append((result.outcome.state, status(result.path)["state"]))
        if result.outcome.state == "waiting":
            assert "labels" in status(result.path)["reason"]
    assert seen[:2] == [("waiting", "waiting")] * 2
    assert seen[-1] == ("done", "done")
    assert_same_results(result.path, expected)


def test_a_part_of_an_answer_is_not_trained_on(workdir, monkeypatch, views, capsys):
    monkeypatch.setattr(SlowOracle, "answered", 15)
    result = run(*ACTIVE, QUIET, "oracle._target_=odd_parts.SlowOracle")
    assert result.outcome.state == "waiting"
    assert result.outcome.reason == "waiting for labels: 15 of 20 labels have come"
    assert result.outcome.reason in " ".join(capsys.readouterr().out.split())
    assert views == []
    assert result.metrics == []


def test_a_broken_strategy_ends_the_run_with_a_reason(workdir):
    overrides = *ACTIVE, QUIET, "strategy._target_=odd_parts.Same", "~strategy.acquisition"
    with pytest.raises(ValueError, match="1 distinct"):
        run(*overrides, "run_dir=broken")
    assert status(workdir / "broken")["state"] == "failed"
    assert "1 distinct" in status(workdir / "broken")["reason"]
    assert sorted(set(selections(workdir / "broken").round_id)) == [0]


@pytest.mark.parametrize(("keep", "kept"), [("false", [2]), ("true", [0, 1, 2])])
def test_models_are_kept_where_asked(keep, kept, workdir):
    path = run(*ACTIVE, QUIET, f"pipeline.keep_models={keep}").path
    found = sorted(file.parent.name for file in path.glob("fits/*/fitted.npz"))
    assert found == [f"round_{round_id:03d}_target" for round_id in kept]


def test_balanced_initial_rows(workdir):
    table = selections(run(*ACTIVE, QUIET, "task.initial=balanced").path)
    assert table[table.round_id == 0].groupby("label").size().tolist() == [2] * 10


def test_status_is_complete(workdir, data):
    path = run(*ACTIVE, QUIET).path
    found = status(path)
    assert (found["state"], found["reason"]) == ("done", "budget reached")
    assert found["data"]["fingerprint"] == data.fingerprint
    assert found["data"]["pool"] == 200
    assert set(found["timings"]) == {"target", "observe", "select"}
    assert {"torch", "python", "alframe"} <= set(found["versions"])
    table = metrics(path, timings=True)
    seconds = table[table.split == "test"].seconds_fit.sum()
    assert found["timings"]["target"] == pytest.approx(seconds)


def test_the_share_that_was_touched_only_grows(workdir):
    """At most a quarter of what is left is looked at in a round, and what is labeled counts."""
    path = run(*ACTIVE, QUIET, "candidates=random_subset", "candidates.size=0.25").path
    shares = metrics(path).groupby("round_id").share_touched.first()
    assert shares[0] == 20 / 200
    assert (np.diff(shares) > 0).all()
    assert shares.iloc[-1] <= (20 + 45 + 43) / 200
    whole = run(*ACTIVE, QUIET).path
    assert metrics(whole).groupby("round_id").share_touched.first().tolist() == [0.1, 1.0, 1.0]


def test_a_resumed_run_knows_what_was_touched(workdir, monkeypatch):
    words = (*ACTIVE, QUIET, "candidates=random_subset", "candidates.size=0.25")
    expected = run(*words, "run_dir=whole").path
    fit = ProbeLearner.fit

    def once(self, view, *rest):
        if len(view.rows) == 30 and not once.over:
            once.over = True
            raise KeyboardInterrupt
        return fit(self, view, *rest)

    once.over = False
    monkeypatch.setattr(ProbeLearner, "fit", once)
    with pytest.raises(KeyboardInterrupt):
        run(*words, "run_dir=stopped")
    assert_same_results(run(*words, "run_dir=stopped").path, expected)


def test_a_rare_concept_is_searched_for(workdir, capsys):
    words = ("concept=7", "learner@target=probe")
    words += ("task.positives=2", "task.negatives=18", "schedule.initial=20")
    path = run(*words, QUIET, "schedule.budget=80", "data.validation=0").path
    table = metrics(path)
    assert (table.split == "test").all()
    found = table.positives_found.to_numpy()
    picked = selections(path)
    counts = picked.groupby("round_id").label.sum().cumsum()
    assert found.tolist() == counts.tolist()
    assert found[0] == 2
    assert found[-1] > 8  # a tenth of the rows are sevens: entropy finds more
    assert table.average_precision.between(0, 1).all()
    assert table.average_precision.iloc[-1] > table.average_precision.iloc[0]
    shown = capsys.readouterr()
    last = table.average_precision.iloc[-1]
    assert re.search(rf"on 80 rows in \S+ s, test average precision {last:.4f}\n", shown.err)
    assert "positives found" in shown.out
    assert "accuracy" not in shown.out + shown.err
