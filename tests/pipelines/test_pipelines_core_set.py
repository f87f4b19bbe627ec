import json

import numpy as np
import pandas as pd
import pytest
import yaml
from odd_parts import SlowOracle
from tiny_runs import CORE_SET, DATA, assert_same_results, metrics, selections

from alframe.cli import run
from alframe.data.digits import digits
from alframe.learners.probe import ProbeLearner

QUIET = "logger=[]"
ALONE = "pipeline=core_set", "learner@target=probe", *DATA, QUIET
SVP = *CORE_SET, QUIET


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


def row_of(table, fit):
    return table[(table.fit == fit) & (table.split == "test")].iloc[0]


def test_sizes_are_shares_or_numbers_of_rows(workdir):
    table = metrics(run(*SVP, "pipeline.sizes=[0.1,50,1.0]").path)
    fits = table[table.split == "test"].set_index("fit").train_rows.to_dict()
    assert fits == {
        "proxy": 200, "size_000_target": 20, "size_001_target": 50, "size_002_target": 200,
        "full_target": 200,
    }  # fmt: skip
    assert (table.labeled == 200).all()
    assert set(table.split) == {"validation", "test"}


def test_selections_hold_distinct_rows_for_each_size(workdir, data):
    table = selections(run(*SVP, "pipeline.sizes=[0.1,50]", "strategy=margin").path)
    assert table.groupby("round_id").size().to_dict() == {0: 20, 1: 50}
    for _, part in table.groupby("round_id"):
        assert part.row.is_unique
        assert part.row.isin(data.pool_rows).all()
        assert part["rank"].tolist() == list(range(len(part)))
        assert part.score.is_monotonic_decreasing
        assert (part.label == data.reveal(part.row.to_numpy())).all()


@pytest.mark.parametrize("strategy", ["random", "entropy", "kcenter"])
def test_the_target_is_trained_on_the_selected_rows(strategy, workdir, views):
    path = run(*SVP, "pipeline.sizes=[50]", f"strategy={strategy}", "pipeline.full=false").path
    rows = selections(path).row
    assert views[-1].rows.tolist() == sorted(rows)
    assert views[-1].weights is None
    assert "full_target" not in set(metrics(path).fit)


def test_the_ceiling_is_left_out_where_asked(workdir, views):
    result = run(*SVP, "pipeline.full=false")
    assert [len(view.rows) for view in views] == [200, 100]
    assert not [name for name in result.outcome.timings if name.startswith(("full", "speedup"))]


def test_without_a_proxy_the_full_target_selects(workdir, views):
    result = run(*ALONE, "pipeline.full=false")
    assert [len(view.rows) for view in views] == [200, 100]
    assert set(metrics(result.path).fit) == {"full_target", "size_000_target"}
    via_proxy = run(*SVP).path  # the proxy is the same model
    pd.testing.assert_frame_equal(selections(via_proxy), selections(result.path))


def test_an_experiments_proxy_can_be_left_out(workdir):
    result = run(*SVP, "proxy=null")
    assert_same_results(result.path, run(*ALONE).path)
    config = yaml.safe_load((result.path / "config.yaml").read_text())
    assert config["choices"]["proxy"] is None  # by which reports group the runs


@pytest.mark.parametrize("overrides", [ALONE, SVP], ids=["target", "proxy"])
def test_random_trains_no_selector(overrides, workdir, views):
    result = run(*overrides, "strategy=random", "pipeline.full=false")
    assert [len(view.rows) for view in views] == [100]
    assert set(metrics(result.path).fit) == {"size_000_target"}


def test_weights_reach_the_learner_with_their_rows(workdir, views):
    overrides = *SVP, "pipeline.full=false", "strategy._target_=odd_parts.Weighted"
    weighted = run(*overrides, "~strategy.acquisition")
    view = views[-1]
    assert view.weights.tolist() == (view.rows + 1).tolist()
    assert view.rows.tolist() == sorted(view.rows)
    plain = run(*SVP, "pipeline.full=false", "strategy=random")
    pd.testing.assert_series_equal(selections(weighted.path).row, selections(plain.path).row)
    assert metrics(weighted.path).loss.iloc[-1] != metrics(plain.path).loss.iloc[-1]


@pytest.mark.parametrize(
    ("overrides", "selector"),
    [
        pytest.param(SVP, "proxy", id="proxy"),
        pytest.param(ALONE, "full_target", id="target"),
        pytest.param((*ALONE, "strategy=random"), None, id="random"),
    ],
)
def test_speedups_count_all_that_a_core_set_costs(overrides, selector, workdir):
    result = run(*overrides, "pipeline.sizes=[0.1,0.5]")
    table = metrics(result.path, timings=True)
    full = row_of(table, "full_target").seconds_fit
    judging = row_of(table, selector).seconds_fit if selector else 0.0
    for index, size in enumerate((20, 100)):
        row = row_of(table, f"size_{index:03d}_target")
        cost = judging + row.seconds_observe + row.seconds_select + row.seconds_fit
        assert result.outcome.timings[f"speedup_{size}"] == pytest.approx(full / cost)
        assert result.outcome.timings[f"target_{size}"] == pytest.approx(row.seconds_fit)
        assert (row.samples_per_second_observe > 0) == (selector is not None)
    assert result.outcome.timings["full"] == pytest.approx(full)


def test_one_size_needs_no_list_and_one_row_is_enough(workdir):
    assert len(metrics(run(*SVP, "pipeline.sizes=0.25").path).fit.unique()) == 3
    assert len(metrics(run(*SVP, "pipeline.sizes=[1]").path).fit.unique()) == 3


def test_the_order_of_the_sizes_does_not_matter(workdir):
    tables = [
        metrics(run(*SVP, f"pipeline.sizes={sizes}", "strategy=random").path)
        for sizes in ("[20,60]", "[20,100]")
    ]
    assert row_of(tables[0], "size_000_target").loss == row_of(tables[1], "size_000_target").loss


def test_the_whole_pool_as_a_core_set_is_as_good_as_the_ceiling(workdir):
    table = metrics(run(*SVP, "pipeline.sizes=[1.0]").path)
    assert row_of(table, "size_000_target").loss == row_of(table, "full_target").loss


def test_status_is_complete(workdir, data):
    path = run(*SVP).path
    found = json.loads((path / "status.json").read_text())
    assert (found["state"], found["reason"]) == ("done", "all sizes trained")
    assert found["pipeline"] == "core_set"
    assert found["data"] == {
        "name": "digits", "fingerprint": data.fingerprint, "rows": data.num_rows, "pool": 200,
        "validation": 100, "test": 100, "classes": list("0123456789"),
    }  # fmt: skip
    assert {"proxy", "observe_100", "select_100", "target_100", "full", "speedup_100"} <= set(
        found["timings"]
    )
    assert {"versions", "git", "device", "started", "finished", "run_id"} <= set(found)


def test_candidates_restrict_what_may_be_selected(workdir):
    table = selections(
        run(*SVP, "candidates=random_subset", "candidates.size=60", "pipeline.sizes=[60]").path
    )
    assert len(table) == 60
    assert set(table.row) != set(selections(run(*SVP, "pipeline.sizes=[60]").path).row)


def test_the_seed_decides(workdir):
    overrides = *SVP, "strategy=random"
    first, again, other = (run(*overrides, f"seed={seed}").path for seed in (0, 0, 1))
    assert_same_results(again, first)
    assert set(selections(other).row) != set(selections(first).row)


def test_noisy_labels_are_those_that_are_trained_on(workdir, data, views):
    run(*SVP, "oracle=noisy", "oracle.rate=0.3")
    wrong = np.mean(views[0].labels != data.reveal(views[0].rows))
    assert 0.2 < wrong < 0.4


def test_labels_that_are_missing_make_the_run_wait(workdir, monkeypatch):
    expected = run(*SVP).path
    overrides = *SVP, "run_dir=waiting", "oracle._target_=odd_parts.SlowOracle"
    monkeypatch.setattr(SlowOracle, "answered", 150)
    assert run(*overrides).outcome.state == "waiting"
    monkeypatch.setattr(SlowOracle, "answered", 200)
    result = run(*overrides)
    assert result.outcome.state == "done"
    assert_same_results(result.path, expected)


def test_a_rare_concept_has_an_average_precision_here_too(workdir, capsys):
    words = "concept=7", "task.positives=2", "task.negatives=18", "data.validation=0"
    path = run(*SVP, *words).path
    assert metrics(path).average_precision.between(0, 1).all()
    shown = capsys.readouterr().out
    assert "test average" in shown
    assert "positives" not in shown  # they are counted in rounds only


def test_forgetting_selects_on_the_history_of_the_proxys_fit(workdir):
    path = run(
        "pipeline=core_set", "learner@target=probe", "learner@proxy=mlp", "strategy=forgetting",
        "proxy.recipe.epochs=3", "proxy.recipe.min_steps=0", "pipeline.full=false", *DATA, QUIET,
    ).path  # fmt: skip
    table = selections(path)
    assert len(table) == 100
    assert table.row.is_unique
    assert set(table.score) <= {0.0, 1.0, np.inf}  # three epochs allow one forgetting at most
    assert (path / "fits" / "proxy" / "curve.csv").is_file()
