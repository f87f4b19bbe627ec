"""Runs that share fits: the same rows and metrics as alone, each fit made once, honest costs."""

import json
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from tiny_runs import CNN_FITS, DATA, assert_same_results, environment, metrics, selections

from alframe.cli import run
from alframe.errors import UserError
from alframe.files import decode_state
from alframe.learners.lightning import LightningLearner
from alframe.learners.probe import ProbeLearner
from alframe.report.points import points_of
from alframe.report.runs import load

SHARE = "share.dir=shared"
QUICK = "recipe.epochs=3", "recipe.min_steps=0"
MLP = (
    "pipeline=core_set", "pipeline.sizes=[0.1,50]", "trainer=cpu", "logger=[]", *DATA,
    "learner@target=mlp", *(f"target.{word}" for word in QUICK),
)  # fmt: skip
PROXY = *MLP, "learner@proxy=mlp", *(f"proxy.{word}" for word in QUICK)
EL2N = "strategy=el2n", "strategy.n_fits=2", "strategy.until_epoch=2"
ACTIVE = (
    "learner@target=mlp", *(f"target.{word}" for word in QUICK), "trainer=cpu", "logger=[]",
    "schedule.initial=20", "schedule.query_size=10", "schedule.budget=40", *DATA,
)  # fmt: skip
HISTORIES = ["correct", "error_norm", "margin", "probability"]


@pytest.fixture
def fits(monkeypatch):
    """The names of all fits that are trained in this process."""
    made = []
    for kind in (LightningLearner, ProbeLearner):

        def spy(self, view, rng, needs, workspace, fit=kind.fit):
            made.append(workspace.name)
            return fit(self, view, rng, needs, workspace)

        monkeypatch.setattr(kind, "fit", spy)
    return made


def origins(path):
    """Returns fit -> which runs trained it ("" for the run itself)."""
    table = pd.read_csv(path / "metrics.csv", keep_default_na=False, dtype={"shared_from": str})
    return dict(zip(table.fit, table.shared_from, strict=True))


def weights(path, fit):
    state = decode_state(path / "fits" / fit / "fitted.npz")
    return {key: value for key, value in state.items() if key.startswith("weight/")}


def notes():
    return [json.loads(path.read_text()) for path in Path("shared").glob("*/fit.json")]


CASES = {
    "core-set, entropy": (*PROXY, "strategy=entropy"),
    "core-set, forgetting": (*PROXY, "strategy=forgetting"),
    "core-set, k-center, no proxy": (*MLP, "strategy=kcenter"),
    "core-set, AUM, no proxy": (*MLP, "strategy=aum"),
    "core-set, EL2N": (*PROXY, *EL2N),
    "core-set, GraNd": (*PROXY, "strategy=grand", "strategy.n_fits=2", "strategy.until_epoch=1"),
    "core-set, random": (*PROXY, "strategy=random"),
    "active learning": (*ACTIVE, "strategy=margin"),
    "active learning, proxy": (*ACTIVE, "strategy=badge", "learner@proxy=probe"),
}


@pytest.mark.parametrize("case", CASES)
def test_rows_and_metrics_are_those_of_a_run_alone(case, workdir, fits):
    alone = run(*CASES[case]).path
    once = [*fits]
    first = run(*CASES[case], SHARE).path
    assert fits == [*once, *once]
    second = run(*CASES[case], SHARE).path
    assert fits == [*once, *once]  # nothing more
    assert_same_results(first, alone)
    assert_same_results(second, alone)
    assert set(origins(first).values()) == {""}
    assert set(origins(second).values()) == {str(first.resolve())}
    assert "shared_from" not in pd.read_csv(alone / "metrics.csv")


@pytest.mark.parametrize("more", [("strategy=aum",), EL2N], ids=["ordinary", "short"])
def test_what_is_recorded_does_not_touch_the_weights(more, workdir):
    alone, shared = (run(*PROXY, *more, *words).path for words in ((), (SHARE,)))
    fit = "proxy" if more is not EL2N else "full_target"
    kept = decode_state(shared / "fits" / fit / "fitted.npz")
    assert kept["fields"] == HISTORIES
    assert decode_state(alone / "fits" / fit / "fitted.npz")["fields"] != HISTORIES
    expected = weights(alone, fit)
    assert expected
    for name, value in weights(shared, fit).items():
        np.testing.assert_array_equal(value, expected[name])


def test_strategies_have_the_selectors_fit_and_the_full_run_in_common(workdir, fits):
    for strategy in ("forgetting", "kcenter", "aum", "random", "craig"):
        run(*PROXY, SHARE, f"strategy={strategy}")
    assert fits.count("proxy") == 1
    assert fits.count("full_target") == 1
    assert len(fits) == 2 + 2 * 5
    assert all(len(note["made_by"]) == 1 for note in notes())
    fits.clear()
    run(*PROXY, SHARE, "strategy=entropy", "pipeline.sizes=[0.3]")
    assert fits == ["size_000_target"]
    run(*PROXY, SHARE, "strategy=entropy", "pipeline.sizes=[0.3]", "seed=1")
    assert fits == ["size_000_target", "proxy", "size_000_target", "full_target"]


def test_without_a_proxy_the_full_run_is_the_same_for_all(workdir, fits):
    """Also where there is a proxy, or where the strategy listens to no one."""
    for words in ((*MLP, "strategy=aum"), (*MLP, "strategy=random"), (*PROXY, "strategy=entropy")):
        run(*words, SHARE)
    assert fits.count("full_target") == 1


def test_short_fits_are_shared_by_how_many_there_are(workdir, fits):
    run(*PROXY, SHARE, *EL2N)
    fits.clear()
    run(*PROXY, SHARE, *EL2N, "strategy.n_fits=3", "strategy.field=margin")
    assert "short_02_proxy" in fits
    assert not {"short_00_proxy", "short_01_proxy", "full_target"} & set(fits)
    fits.clear()
    run(*PROXY, SHARE, *EL2N, "strategy.until_epoch=1")
    assert {"short_00_proxy", "short_01_proxy"} <= set(fits)


def test_the_first_round_is_the_same_for_all_strategies(workdir, fits):
    for strategy in ("margin", "kcenter", "random"):
        run(*ACTIVE, SHARE, f"strategy={strategy}")
    assert sorted(fits) == [
        "round_000_target",
        *["round_001_target"] * 3,
        *["round_002_target"] * 3,
    ]


def test_costs_are_those_of_the_run_that_paid_them(workdir):
    first = run(*PROXY, SHARE, "strategy=entropy")
    second = run(*PROXY, SHARE, "strategy=kcenter")
    before, after = (metrics(r.path, timings=True).set_index("fit") for r in (first, second))
    common = ["proxy", "full_target"]
    assert (after.seconds_fit[common] == before.seconds_fit[common]).all()
    paid = after[after.split == "test"].seconds_fit[common].sum()
    assert second.outcome.timings["shared"] == pytest.approx(paid)
    status = json.loads((second.path / "status.json").read_text())
    assert status["timings"]["shared"] == pytest.approx(paid)
    assert "shared" not in first.outcome.timings
    points = points_of(load(second.path)).set_index("fit")  # the report takes them as they are
    for size in (20, 50):
        place = f"size_00{(20, 50).index(size)}_target"
        found = second.outcome.timings[f"speedup_{size}"]
        assert points.speed_up[place] == pytest.approx(found)


def test_the_histories_are_counted_before_the_run(workdir):
    def expected(*words):
        path = run(*PROXY, "strategy=forgetting", "pipeline.full=false", *words).path
        return json.loads((path / "status.json").read_text())["memory"]["observed_bytes"]

    # copies, rows, epochs, bytes: correct alone, or all four fields in float16
    assert expected() == 3 * 200 * 3
    assert expected(SHARE) == 3 * 200 * 3 * (1 + 4 * 2)


def test_only_the_chosen_histories_are_recorded_for_others(workdir, fits):
    first = run(*PROXY, SHARE, "share.records=[correct]", "strategy=forgetting").path
    assert decode_state(first / "fits/full_target/fitted.npz")["fields"] == ["correct"]
    fits.clear()
    run(*PROXY, SHARE, "share.records=[correct]", "strategy=entropy")
    assert set(fits) == {"size_000_target", "size_001_target"}
    fits.clear()  # what a strategy itself needs is recorded all the same, in a fit of its own
    aum = run(*PROXY, SHARE, "share.records=[correct]", "strategy=aum").path
    assert decode_state(aum / "fits/proxy/fitted.npz")["fields"] == ["correct", "margin"]
    assert "full_target" not in fits
    none = run(*PROXY, SHARE, "share.records=[]", "strategy=entropy").path
    assert decode_state(none / "fits/proxy/fitted.npz")["fields"] == []


@pytest.mark.parametrize("records", ["[correct,gradients]", "correct", "[1]"])
def test_a_history_that_there_is_not_is_refused(records, workdir):
    with pytest.raises(UserError, match=r"share\.records"):
        run(*PROXY, SHARE, f"share.records={records}")
    assert not list(Path().iterdir())


def test_nothing_is_shared_by_default(workdir):
    run(*ACTIVE)
    assert [path.name for path in Path().iterdir()] == ["runs"]


def test_a_corrupt_shared_fit_is_made_again(workdir, fits, capsys):
    alone = run(*PROXY).path
    run(*PROXY, SHARE)
    (proxy,) = [path for path in Path("shared").iterdir() if "proxy: fit proxy" in
                (path / "fit.json").read_text()]  # fmt: skip
    raw = (proxy / "fitted.npz").read_bytes()
    (proxy / "fitted.npz").write_bytes(raw[: len(raw) // 2])
    fits.clear()
    result = run(*PROXY, SHARE)
    assert fits == ["proxy"]
    assert "computed again" in capsys.readouterr().err
    assert_same_results(result.path, alone)
    assert origins(result.path)["proxy"] == ""


def test_a_run_may_begin_to_share_or_stop_when_it_is_resumed(workdir, monkeypatch):
    expected = run(*PROXY).path
    fit, left = LightningLearner.fit, [2]

    def stop(self, view, rng, needs, workspace):
        if not left[0]:
            raise InterruptedError
        left[0] -= 1
        return fit(self, view, rng, needs, workspace)

    for begin, end in (((), (SHARE,)), ((SHARE,), ())):
        left[0] = 2
        with monkeypatch.context() as patched:
            patched.setattr(LightningLearner, "fit", stop)
            with pytest.raises(InterruptedError):
                run(*PROXY, "run_dir=stopped", *begin)
        result = run(*PROXY, "run_dir=stopped", *end)
        assert_same_results(result.path, expected)
        assert set(origins(result.path).values()) == {""}  # its own all the same
        shutil.rmtree("stopped")
        shutil.rmtree("shared")


# --- several processes ---


@pytest.mark.slow
def test_two_processes_at_once_make_each_fit_once(workdir):
    words = *PROXY, SHARE, "proxy.recipe.epochs=30", "target.recipe.epochs=10"
    command = [sys.executable, "-m", "alframe", *words]
    both = [
        subprocess.Popen(
            [*command, f"run_dir={name}"], env=environment(), stderr=subprocess.PIPE, text=True
        )
        for name in ("one", "two")
    ]
    said = [process.communicate()[1] for process in both]
    assert [process.returncode for process in both] == [0, 0], said
    assert_same_results(Path("one"), Path("two"))
    tables = [origins(Path(name)) for name in ("one", "two")]
    assert tables[0].keys() == tables[1].keys() == {
        "proxy", "size_000_target", "size_001_target", "full_target"
    }  # fmt: skip
    for fit in tables[0]:
        assert [tables[0][fit], tables[1][fit]].count("") == 1, fit
    trained = re.findall(r"INFO (\w+): training on", "".join(said))
    assert sorted(trained) == sorted(tables[0])
    assert len(notes()) == 4


@pytest.mark.slow
def test_a_fit_that_was_killed_in_one_run_is_gone_on_with_in_another(workdir, monkeypatch):
    words = (
        *CNN_FITS, "target.recipe.epochs=60", "schedule.initial=40", "schedule.query_size=20",
        "schedule.budget=60", "strategy=margin",
    )  # fmt: skip
    expected = run(*words, "run_dir=undisturbed").path
    with subprocess.Popen(
        [sys.executable, "-m", "alframe", *words, SHARE, "run_dir=killed"],
        env=environment(), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    ) as process:  # fmt: skip
        while not list(Path("shared").glob("*/scratch/last.ckpt")):
            assert process.poll() is None
            time.sleep(0.01)
        process.send_signal(signal.SIGKILL)
    begun, fit = {}, LightningLearner.fit

    def spy(self, view, rng, needs, workspace):
        begun[workspace.name] = [path.name for path in workspace.folder.iterdir()]
        return fit(self, view, rng, needs, workspace)

    monkeypatch.setattr(LightningLearner, "fit", spy)
    other = run(*words, SHARE, "run_dir=other").path
    assert "last.ckpt" in begun["round_000_target"]
    assert begun["round_001_target"] == []
    assert origins(other) == {
        "round_000_target": str(Path("killed").resolve()),
        "round_001_target": "",
    }
    resumed = run(*words, SHARE, "run_dir=killed").path
    assert len(begun) == 2
    # it began the first fit, but most of its seconds passed elsewhere
    assert set(origins(resumed).values()) == {str(Path("other").resolve())}
    assert_same_results(other, expected)
    assert_same_results(resumed, expected)


@pytest.mark.parametrize("place", ["share.dir=file/shared", "share.dir=5", "share.patience=-1"])
def test_a_mistake_is_refused_before_anything_is_written(place, workdir):
    Path("file").write_text("in the way")
    with pytest.raises(UserError, match=place.split("=")[0].replace(".", r"\.")):
        run(*ACTIVE, place)
    assert [path.name for path in Path().iterdir()] == ["file"]


def test_other_devices_and_threads_never_mix(workdir, fits, monkeypatch):
    from alframe.learners.hardware import Hardware

    run(*ACTIVE, SHARE)
    fits.clear()
    monkeypatch.setattr(Hardware, "describe", lambda _: "NVIDIA H100")
    run(*ACTIVE, SHARE)
    assert len(fits) == 3


def test_a_noisy_oracle_is_another_fit(workdir, fits):
    run(*ACTIVE, SHARE, "strategy=random")
    run(*ACTIVE, SHARE, "strategy=random", "oracle=noisy", "oracle.rate=0.3")
    assert fits.count("round_000_target") == 2
    tables = [selections(path) for path in sorted(Path("runs").iterdir())]
    assert (tables[0].row == tables[1].row).all()
