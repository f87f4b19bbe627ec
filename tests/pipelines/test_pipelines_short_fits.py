"""Core-sets from short fits: who is trained, how long, what is averaged, and what it cost."""

import gc
import json
import weakref
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from odd_parts import Two
from tiny_runs import CORE_SET, DATA, assert_same_results, metrics, selections

from alframe.cli import run
from alframe.data.digits import digits
from alframe.errors import UserError
from alframe.learners.lightning import LightningLearner
from alframe.pipelines.selector import Selector
from alframe.report.points import points_of
from alframe.report.runs import load

MLP = (
    "pipeline=core_set", "pipeline.sizes=[0.1,50]", "trainer=cpu", "logger=[]", *DATA,
)  # fmt: skip
PROXY = (
    *MLP, "learner@target=probe", "learner@proxy=mlp", "proxy.recipe.epochs=4",
    "proxy.recipe.min_steps=0",
)  # fmt: skip
ALONE = *MLP, "learner@target=mlp", "target.recipe.epochs=4", "target.recipe.min_steps=0"
EL2N = "strategy=el2n", "strategy.n_fits=3", "strategy.until_epoch=2"
TWO = "strategy._target_=odd_parts.Two", "~strategy.acquisition"


@pytest.fixture
def fits(monkeypatch):
    """All fits of networks in the test: rows, needs, and the fitted model."""
    made, fit = [], LightningLearner.fit

    def spy(self, view, rng, needs, workspace):
        fitted = fit(self, view, rng, needs, workspace)
        made.append((workspace.name, view, tuple(needs), fitted))
        return fitted

    monkeypatch.setattr(LightningLearner, "fit", spy)
    return made


def lengths(fits):
    return {name: fitted.curve[-1]["epoch"] for name, _, _, fitted in fits}


def history(fits, name, field):
    """Row number -> recorded values of one fit."""
    (table,) = [fitted.dynamics for fit, _, _, fitted in fits if fit == name]
    values = table.values[..., table.fields.index(field)].double().numpy().T
    return dict(zip(table.rows.tolist(), values, strict=True))


def test_only_the_short_fits_are_trained_and_averaged(workdir, fits):
    path = run(*PROXY, *EL2N, "pipeline.full=false").path
    names = [f"short_0{i}_proxy" for i in range(3)]
    assert lengths(fits) == dict.fromkeys(names, 2)
    pool = digits(subset=300, validation=100, test=100).pool_rows
    assert all(view.rows.tolist() == pool.tolist() for _, view, _, _ in fits)
    table = metrics(path)
    assert table.fit.unique().tolist() == [*names, "size_000_target", "size_001_target"]
    assert set(table[table.model == "proxy"].fit) == set(names)
    errors = [history(fits, name, "error_norm") for name in names]
    mean = {row: np.mean([each[row][1] for each in errors]) for row in pool.tolist()}
    assert any(abs(errors[0][row] - errors[1][row]).max() > 0.01 for row in mean)  # other seeds
    picks = selections(path).query("round_id == 1")
    assert picks.row.tolist() == sorted(mean, key=lambda row: (-mean[row], row))[:50]
    np.testing.assert_allclose(picks.score, [mean[row] for row in picks.row], rtol=1e-6)


def test_a_short_fit_is_none_of_the_others(workdir, fits):
    """Neither the ordinary proxy's fit nor that of another number has its random stream."""
    run(*PROXY, "strategy=aum", "pipeline.full=false")
    run(*PROXY, *EL2N, "strategy.field=margin", "pipeline.full=false")
    first = [next(iter(history(fits, fit[0], "margin").values()))[0] for fit in fits]
    assert len(set(first)) == len(fits) == 4


@pytest.mark.parametrize("full", [True, False])
def test_without_a_proxy_the_target_stands_in_for_itself(full, workdir, fits):
    result = run(*ALONE, *EL2N, f"pipeline.full={full}")
    found = lengths(fits)
    shorts = {f"short_0{i}_proxy": 2 for i in range(3)}
    targets = {"size_000_target": 4, "size_001_target": 4}
    assert found == {**shorts, **targets, **({"full_target": 4} if full else {})}
    table = metrics(result.path)
    assert set(table[table.model == "proxy"].fit) == set(shorts)
    assert ("full" in result.outcome.timings) == full


def test_the_same_learner_as_proxy_or_target_selects_the_same(workdir):
    via = run(*ALONE, *EL2N, "learner@proxy=mlp", "proxy.recipe.epochs=4",
              "proxy.recipe.min_steps=0")  # fmt: skip
    assert_same_results(via.path, run(*ALONE, *EL2N).path)


@pytest.mark.parametrize(
    ("overrides", "ordinary"), [(PROXY, "proxy"), (ALONE, "full_target")], ids=["proxy", "target"]
)
def test_ordinary_and_short_needs_go_together(overrides, ordinary, workdir, fits):
    path = run(*overrides, *TWO, "pipeline.full=false").path
    found = {name: n for name, n in lengths(fits).items() if not name.startswith("size")}
    # the first serves the single fit of 3 epochs, too; the second only those that average two
    assert found == {ordinary: 4, "short_00_proxy": 3, "short_01_proxy": 2}
    needs = {name: needs for name, _, needs, _ in fits}
    assert needs["short_00_proxy"] == (Two.short, Two.once)
    assert needs["short_01_proxy"] == (Two.short,)
    assert set(needs[ordinary]) == set(Two.needs) - {Two.short, Two.once}
    last = history(fits, ordinary, "margin")
    shorts = [history(fits, f"short_0{i}_proxy", "margin") for i in range(2)]
    value = {row: abs(last[row][3] - np.mean([short[row][1] for short in shorts])) for row in last}
    picks = selections(path).query("round_id == 1")
    np.testing.assert_allclose(picks.score, [value[row] for row in picks.row], rtol=1e-3, atol=1e-3)
    rows = np.array(sorted(last))
    assert Two.seen.dynamics(rows, "correct").shape == (3, len(rows))
    assert Two.seen.probs(rows).shape == (len(rows), 10)
    with pytest.raises(ValueError, match="margin was asked for in 2 forms"):
        Two.seen.dynamics(rows, "margin")


@pytest.mark.parametrize(
    ("overrides", "selectors"),
    [
        pytest.param((*PROXY, *EL2N), {"short_00_proxy", "short_01_proxy", "short_02_proxy"},
                     id="proxy"),
        pytest.param((*ALONE, *EL2N), {"short_00_proxy", "short_01_proxy", "short_02_proxy"},
                     id="target"),
        pytest.param((*PROXY, *TWO), {"proxy", "short_00_proxy", "short_01_proxy"},
                     id="proxy, both"),
        pytest.param((*ALONE, *TWO), {"full_target", "short_00_proxy", "short_01_proxy"},
                     id="target, both"),
    ],
)  # fmt: skip
def test_speedups_count_every_fit_that_was_listened_to(overrides, selectors, workdir):
    result = run(*overrides)
    table = metrics(result.path, timings=True).query("split == 'test'").set_index("fit")
    judging = table.seconds_fit[list(selectors)].sum()
    full = table.seconds_fit["full_target"]
    timings = result.outcome.timings
    proxies = table.seconds_fit[table.model == "proxy"].sum()
    assert timings["proxy"] == pytest.approx(proxies)
    points = points_of(load(result.path)).set_index("fit")
    for index, size in enumerate((20, 50)):
        row = table.loc[f"size_{index:03d}_target"]
        cost = judging + row.seconds_observe + row.seconds_select + row.seconds_fit
        assert row.seconds_observe > 0
        assert timings[f"speedup_{size}"] == pytest.approx(full / cost)
        point = points.loc[f"size_{index:03d}_target"]  # the report agrees
        assert point.selector_seconds == pytest.approx(judging)
        assert point.speed_up == pytest.approx(full / cost)
    said = json.loads((result.path / "status.json").read_text())["observes"]
    assert said == (["fit", "short fits"] if len(overrides) > 0 and TWO[0] in overrides
                    else ["short fits"])  # fmt: skip


def test_models_and_histories_of_many_fits_are_never_held_together(workdir, monkeypatch):
    fitted, most, restore = [], [], LightningLearner.restore

    def spy(self, state):
        gc.collect()
        most.append(sum(ref() is not None for ref in fitted))
        model = restore(self, state)
        fitted.append(weakref.ref(model))
        return model

    monkeypatch.setattr(LightningLearner, "restore", spy)
    run(*PROXY, *EL2N, "strategy.n_fits=4", "strategy.until_epoch=1", "pipeline.full=false")
    assert len(fitted) == 8  # evaluated, and read again for the mean
    assert max(most) <= 1


def test_what_is_left_of_the_short_fits_is_their_curves(workdir):
    path = run(*PROXY, *EL2N).path
    for name in ("short_00_proxy", "short_02_proxy"):
        assert (path / "fits" / name / "curve.csv").is_file()
        assert not (path / "fits" / name / "fitted.npz").exists()


@pytest.mark.parametrize("overrides", [PROXY, ALONE], ids=["proxy", "target"])
def test_training_is_not_counted_as_looking(overrides, workdir, monkeypatch, fits):
    """What is trained within `Selector.observe` would be, as that is what the clock runs for."""
    trained, observe = [], Selector.observe

    def spy(self, requests):
        before = len(fits)
        seen = observe(self, requests)
        trained.append((before, len(fits)))
        return seen

    monkeypatch.setattr(Selector, "observe", spy)
    run(*overrides, *TWO, "pipeline.full=false")
    assert trained == [(3, 3)]


def test_early_stopping_may_end_the_fits_after_different_epochs(workdir, fits):
    path = run(*PROXY, "strategy=aum", "strategy.n_fits=4", "proxy.recipe.epochs=25",
               "proxy.recipe.learning_rate=0.5", "proxy.recipe.early_stopping=1",
               "pipeline.full=false").path  # fmt: skip
    assert len(set(lengths(fits).values())) > 1
    shortest = min(lengths(fits).values())
    margins = [history(fits, f"short_0{i}_proxy", "margin") for i in range(4)]
    value = {row: -np.mean([margin[row][:shortest] for margin in margins]) for row in margins[0]}
    picks = selections(path).query("round_id == 1")
    np.testing.assert_allclose(picks.score, [value[row] for row in picks.row], rtol=1e-5)


@pytest.mark.parametrize("strategy", ["grand", "aum", "confidence", "variability", "ccs"])
def test_every_strategy_of_dynamics_runs(strategy, workdir):
    more = ("strategy.n_fits=2", "strategy.until_epoch=1") if strategy == "grand" else ()
    path = run(*PROXY, f"strategy={strategy}", *more).path
    assert selections(path).groupby("round_id").size().tolist() == [20, 50]


def test_ccs_over_a_score_of_short_fits(workdir):
    score = (
        "strategy@strategy.score=el2n",
        "strategy.score.n_fits=2",
        "strategy.score.until_epoch=1",
    )
    path = run(*PROXY, "strategy=ccs", *score, "strategy.beta=0.2").path
    plain = run(*PROXY, "strategy=el2n", "strategy.n_fits=2", "strategy.until_epoch=1").path
    hardest = selections(plain).query("round_id == 0").row  # 20 of 200; 40 are dropped
    assert not set(selections(path).row) & set(hardest)
    assert set(metrics(path)[metrics(path).model == "proxy"].fit) == {
        "short_00_proxy", "short_01_proxy",
    }  # fmt: skip


@pytest.mark.parametrize("name", ["el2n", "aum", "ccs"])
def test_promise_5_a_learner_that_records_nothing_is_refused(name, workdir):
    with pytest.raises(UserError, match=r"dynamics, which ProbeLearner does not give.*@proxy"):
        run(*CORE_SET, f"strategy={name}")
    assert not list(Path().glob("runs/*"))


@pytest.mark.parametrize("name", ["el2n", "aum", "ccs"])
def test_promise_5_active_learning_refuses_them(name, workdir):
    with pytest.raises(UserError, match="expected pipeline=core_set"):
        run(f"strategy={name}", *DATA)


def test_promise_5_active_learning_refuses_short_fits_of_labeled_rows(workdir):
    """Its round's only model would else be one that stopped early."""
    with pytest.raises(UserError, match="needs short fits of their own"):
        run("strategy._target_=odd_parts.ShortInRounds", "~strategy.acquisition", *DATA)


def test_the_means_in_float32_are_counted_before_the_run(workdir):
    path = run(*PROXY, *EL2N, "pipeline.full=false").path
    memory = json.loads((path / "status.json").read_text())["memory"]
    assert memory["observed_bytes"] == 3 * 200 * 2 * 4  # copies, rows, epochs, bytes
    pd.testing.assert_frame_equal(selections(path), selections(run("resume=" + str(path)).path))
