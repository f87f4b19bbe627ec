"""Two processes end with what one ends with."""

import json
import shutil
import subprocess
import sys

import numpy as np
import pytest
from tiny_runs import ACTIVE, CNN_FITS, QUIET, assert_same_results, metrics, selections
from world_parts import ALONE, DDP, by_hand, clean_environment, several, stop, torchrun

from alframe.cli import run
from alframe.files import decode_state

CNN = (
    *CNN_FITS[:-2],  # without trainer=cpu and the logger
    *QUIET,
    "data.subset=400",  # a pool of two batches and a bit, a batch of an odd number of rows
    "target.recipe.epochs=4",
    "schedule.initial=33",
    "schedule.query_size=40",
    "schedule.budget=73",
)
KEPT = "pipeline.keep_models=true"
MARGIN = (*CNN, "strategy=margin", KEPT)
CORE_SET = (
    *CNN[:-3],
    "pipeline=core_set",
    "pipeline.sizes=[40,80]",
    "strategy=forgetting",
    "target.recipe.mixup=0.3",
    "target.recipe.flip=true",
)
ENSEMBLE = (
    *ACTIVE[1:],
    *QUIET,
    "learner@target=ensemble",
    "target.members=2",
    "target.member.recipe.min_steps=0",
    "target.member.recipe.epochs=2",
    "strategy=bald",
    "strategy.draws=2",
)
SEALS = ("candidates=seals", "candidates.k=8")
OWN = (*CNN, "target.module={_target_: world_module.Own, _partial_: true}", "strategy=entropy")


def alone(monkeypatch, words, path):
    for name, value in ALONE.items():
        monkeypatch.setenv(name, value)
    run(*words, *DDP, f"run_dir={path}")


def without_selections(run_dir, copy):
    """Returns a copy of a run: all models are there, and nothing that was selected with them."""
    shutil.copytree(run_dir, copy)
    for stage in {*copy.glob("stages/round_001*"), *copy.glob("stages/*metrics.npz")}:
        stage.unlink()
    (copy / "selections.parquet").unlink()
    (copy / "metrics.csv").unlink()
    return copy


def assert_near(path, expected, within):
    """Compares all models, and the tables: same rows, scores and metrics nearly so."""
    fits = sorted(expected.glob("fits/*/fitted.npz"))
    assert fits
    for fit in fits:
        mine, theirs = decode_state(path / fit.relative_to(expected)), decode_state(fit)
        for key in theirs:
            if key.startswith("weight/"):
                np.testing.assert_allclose(mine[key], theirs[key], atol=within, rtol=within)
        if "dynamics" in theirs:
            assert np.mean(mine["dynamics"] != theirs["dynamics"]) < 0.002
    mine, theirs = selections(path), selections(expected)
    assert mine.row.tolist() == theirs.row.tolist()
    np.testing.assert_allclose(mine.score, theirs.score, atol=10 * within)
    ours, of_one = metrics(path), metrics(expected)
    np.testing.assert_allclose(ours.loss, of_one.loss, atol=10 * within)
    assert ours.train_rows.tolist() == of_one.train_rows.tolist()


@pytest.mark.slow
def test_the_program_ends_with_the_same_tables(tmp_path, monkeypatch):
    """The probe is deterministic: rows, scores, labels and metrics are equal to the last bit."""
    words = (*ACTIVE, "data.subset=null", "run_dir=two")
    process = torchrun("-m", "alframe", *words, *DDP, cwd=tmp_path)
    said, _ = process.communicate(timeout=300)
    assert process.returncode == 0, said
    alone(monkeypatch, (*ACTIVE, "data.subset=null"), tmp_path / "one")
    assert_same_results(tmp_path / "two", tmp_path / "one")
    assert said.count("INFO run directory") == said.count("budget reached") == 1
    status = json.loads((tmp_path / "two" / "status.json").read_text())
    assert status["state"] == "done"
    assert status["device"].startswith("2 processes, each with cpu")
    assert (tmp_path / "two" / "tracking").is_dir()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["one", "two"]


def test_networks_train_observe_and_select_as_one_process_does(tmp_path, monkeypatch):
    one = tmp_path / "one"
    alone(monkeypatch, MARGIN, one)
    seen = without_selections(one, tmp_path / "seen")
    nan = (*CNN, "strategy=margin", "target.recipe.learning_rate=1e12")
    said = several(
        [
            (*MARGIN, f"run_dir={seen}"),
            (*MARGIN, f"run_dir={tmp_path / 'two'}"),
            (*nan, f"run_dir={tmp_path / 'nan'}"),
            (*MARGIN, "seed=1", f"run_dir={seen}"),
            (*ACTIVE, *QUIET, "strategy=kcenter", f"run_dir={tmp_path / 'kcenter'}"),
            (*ACTIVE, *QUIET, *SEALS, f"run_dir={tmp_path / 'seals'}"),
        ],
        tmp_path,
    )
    assert said[:2] == [None, None]
    assert_same_results(seen, one)  # on given weights: to the last bit
    assert_near(tmp_path / "two", one, 1e-4)
    assert "lower the learner's recipe.learning_rate" in said[2]
    assert "holds a run of another config" in said[3]
    assert said[4:] == [None, None]  # the processes can go on after a mistake
    for name, words in {"kcenter": ["strategy=kcenter"], "seals": SEALS}.items():
        alone(monkeypatch, (*ACTIVE, *QUIET, *words), tmp_path / f"{name}_one")
        assert_same_results(tmp_path / name, tmp_path / f"{name}_one")


@pytest.mark.slow
def test_histories_mixtures_ensembles_shared_fits_and_modules_of_others(tmp_path, monkeypatch):
    cases = {"core_set": CORE_SET, "ensemble": ENSEMBLE, "own": OWN}
    shared = [f"share.dir={tmp_path / 'shared'}"]
    runs = [(*words, f"run_dir={tmp_path / name}") for name, words in cases.items()]
    again = [(*CORE_SET, *shared, f"run_dir={tmp_path / name}") for name in ("first", "second")]
    assert several([*runs, *again], tmp_path) == [None] * 5
    for name, words in cases.items():
        alone(monkeypatch, words, tmp_path / f"{name}_one")
    for name in ("core_set", "own"):
        assert_near(tmp_path / name, tmp_path / f"{name}_one", 1e-4)
    mine, theirs = (selections(tmp_path / name) for name in ("ensemble", "ensemble_one"))
    assert mine.row.tolist() == theirs.row.tolist()
    assert_same_results(tmp_path / "first", tmp_path / "core_set")
    assert_same_results(tmp_path / "second", tmp_path / "core_set")
    sources = metrics(tmp_path / "second", timings=True)["shared_from"]
    assert str(tmp_path / "first") in set(sources)
    assert len(list((tmp_path / "shared").iterdir())) == 3


@pytest.mark.slow
def test_cifar10(tmp_path, monkeypatch):
    words = (
        "data=cifar10",
        "data.subset=900",
        "data.validation=100",
        "learner@target=resnet8",
        "target.recipe.epochs=[2]",
        "target.recipe.learning_rate=[0.05]",
        "schedule.initial=100",
        "schedule.query_size=100",
        "schedule.budget=200",
        "strategy=entropy",
        KEPT,
        *QUIET,
    )
    one, two = tmp_path / "one", tmp_path / "two"
    alone(monkeypatch, words, one)
    seen = without_selections(one, tmp_path / "seen")
    runs = [(*words, f"run_dir={seen}"), (*words, f"run_dir={two}")]
    assert several(runs, tmp_path) == [None, None]
    assert_same_results(seen, one)  # on given weights: to the last bit
    mine, theirs = selections(two), selections(one)
    # after two epochs the entropies of many rows are as near to each other as rounding
    np.testing.assert_allclose(np.sort(mine.score), np.sort(theirs.score), atol=1e-4)
    assert len({*mine.row} & {*theirs.row}) >= 195


@pytest.mark.slurm
@pytest.mark.skipif(shutil.which("srun") is None, reason="Slurm is not installed")
def test_srun(tmp_path, monkeypatch):
    words = (*ACTIVE, *QUIET)
    command = ["srun", "--overcommit", "--ntasks", "2", sys.executable, "-m", "alframe"]
    done = subprocess.run(
        [*command, *words, *DDP, "run_dir=two"],
        cwd=tmp_path,
        env=clean_environment(),
        capture_output=True,
        text=True,
        check=False,
        timeout=400,
    )
    assert done.returncode == 0, done.stderr
    alone(monkeypatch, words, tmp_path / "one")
    assert_same_results(tmp_path / "two", tmp_path / "one")


@pytest.mark.slow
def test_without_torchrun_and_a_mistake_is_said_once(tmp_path):
    pair = by_hand(*ACTIVE, *QUIET, "limits.memory=1e-12", "run_dir=x", cwd=tmp_path)
    try:
        said = [process.communicate(timeout=200)[0] for process in pair]
        assert [process.returncode for process in pair] == [2, 2]
        assert "limits.memory" in said[0]
        assert said[1] == ""
        assert not (tmp_path / "x").exists()
    finally:
        stop(*pair)
