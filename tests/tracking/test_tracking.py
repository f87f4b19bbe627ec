import json
import math

import pandas as pd
import pytest
from pytorch_lightning.loggers import CSVLogger, TensorBoardLogger
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tiny_runs import ACTIVE, CORE_SET, DATA, assert_same_results, metrics

from alframe.cli import run
from alframe.learners.probe import ProbeLearner
from alframe.tracking.tracker import Tracker

MLP = (
    "learner@target=mlp", "target.recipe.min_steps=0", "target.recipe.epochs=4",
    "target.recipe.curve_every=2", "trainer=cpu",
)  # fmt: skip


class Killed(BaseException):
    """Stands for a SIGKILL."""


def csv_points(path):
    """Returns what the CSV logger holds: (name, step, value), sorted."""
    file = max(path.glob("tracking/csv/version_*/metrics.csv"))  # of the last start
    table = pd.read_csv(file).melt(id_vars="step").dropna()
    return sorted(zip(table.variable, table.step, table.value, strict=True))


def event_points(path):
    """Returns what TensorBoard's event files hold: (name, step, value), sorted."""
    events = EventAccumulator(str(path / "tracking" / "tensorboard"))
    events.Reload()
    tags = [tag for tag in events.Tags()["scalars"] if tag != "hp_metric"]
    return sorted((tag, e.step, e.value) for tag in tags for e in events.Scalars(tag))


def expected_points(path):
    """Returns the points that ``metrics.csv`` stands for."""
    return sorted(
        (f"{row.model}/{row.split}_{name}", row.train_rows, getattr(row, name))
        for row in metrics(path).itertuples()
        for name in ("accuracy", "loss", "macro_accuracy")
    )


def assert_close(points, expected):
    assert [point[:2] for point in points] == [point[:2] for point in expected]
    for point, other in zip(points, expected, strict=True):
        assert math.isclose(point[2], other[2], rel_tol=1e-6), point


def curves_of_fits(points):
    return [point for point in points if point[0].startswith("fits/")]


def test_csv_is_the_default(workdir):
    path = run(*ACTIVE).path
    assert_close(csv_points(path), expected_points(path))
    assert {file.name for file in (path / "tracking").iterdir()} == {"csv", "sent.txt"}


def test_several_at_once(workdir):
    path = run(*ACTIVE, "learner@proxy=probe", "logger=[csv,tensorboard]").path
    assert_close(csv_points(path), expected_points(path))
    assert_close(event_points(path), expected_points(path))


@pytest.mark.parametrize("logger", ["tensorboard", "[tensorboard]"])
def test_one_other_than_the_default(logger, workdir):
    path = run(*CORE_SET, f"logger={logger}").path
    assert_close(event_points(path), expected_points(path))
    assert not (path / "tracking" / "csv").exists()


def test_none_at_all(workdir):
    path = run(*ACTIVE, "logger=[]").path
    assert not list(path.glob("tracking/*/"))


def test_the_curves_of_the_fits_have_a_prefix(workdir):
    path = run(*DATA, *MLP, "schedule.budget=40", "logger=[csv,tensorboard]").path
    for points in (csv_points(path), event_points(path)):
        fits = curves_of_fits(points)
        assert_close([point for point in points if point not in fits], expected_points(path))
        for name in ("round_000_target", "round_001_target"):
            steps = [step for tag, step, _ in fits if tag == f"fits/{name}/train_loss"]
            assert steps == [1, 2, 3, 4]
            assert [s for tag, s, _ in fits if tag == f"fits/{name}/test_error"] == [2]


def test_a_resumed_run_sends_nothing_twice(workdir, monkeypatch):
    overrides = *ACTIVE, "logger=[csv,tensorboard]", "run_dir=killed"
    fit, fits = ProbeLearner.fit, []

    def killed_in_the_third_fit(self, *args):
        fits.append(args)
        if len(fits) == 3:
            raise Killed
        return fit(self, *args)

    monkeypatch.setattr(ProbeLearner, "fit", killed_in_the_third_fit)
    with pytest.raises(Killed):
        run(*overrides)
    assert len(set(event_points(workdir / "killed"))) == 12  # two rounds of six values
    run(*overrides)
    path = run("resume=killed").path
    assert_close(event_points(path), expected_points(path))
    assert_close(csv_points(path), expected_points(path))


def test_the_config_is_sent(workdir):
    path = run(*ACTIVE, "seed=7").path
    (file,) = path.glob("tracking/csv/**/hparams.yaml")
    assert "seed: 7" in file.read_text()


@pytest.mark.parametrize("method", ["log_metrics", "log_hyperparams", "save", "finalize"])
def test_a_logger_that_fails_never_ends_a_run(method, workdir, monkeypatch, capsys):
    expected = run(*ACTIVE, "logger=[]").path

    def fail(*_, **__):
        raise ConnectionError("the service is away")

    monkeypatch.setattr(TensorBoardLogger, method, fail)
    capsys.readouterr()
    result = run(*ACTIVE, "logger=[csv,tensorboard]")
    warnings = [line for line in capsys.readouterr().err.splitlines() if "WARNING" in line]
    assert len(warnings) == 1
    assert "TensorBoardLogger" in warnings[0]
    assert "the service is away" in warnings[0]
    assert_same_results(result.path, expected)
    assert_close(csv_points(result.path), expected_points(result.path))


def test_a_logger_that_cannot_be_built_never_ends_a_run(workdir, monkeypatch, capsys):
    def fail(*_, **__):
        raise ConnectionError("the service is away")

    monkeypatch.setattr(TensorBoardLogger, "__init__", fail)
    result = run(*ACTIVE, "logger=[csv,tensorboard]")
    assert result.outcome.state == "done"
    warnings = [line for line in capsys.readouterr().err.splitlines() if "WARNING" in line]
    assert len(warnings) == 1
    assert "tensorboard" in warnings[0]
    assert_close(csv_points(result.path), expected_points(result.path))


def test_a_tracker_keeps_count_of_what_it_sent(tmp_path):
    for _ in range(2):
        loggers = [CSVLogger(str(tmp_path), "csv", ""), TensorBoardLogger(str(tmp_path), "tb", "")]
        tracker = Tracker(loggers, tmp_path / "sent.txt")
        for step in range(3):
            tracker.log(f"key {step}", {"value": step / 2}, step)
        tracker.close()
    events = EventAccumulator(str(tmp_path / "tb"))
    events.Reload()
    assert [(e.step, e.value) for e in events.Scalars("value")] == [(0, 0), (1, 0.5), (2, 1)]
    table = pd.read_csv(tmp_path / "csv" / "metrics.csv")
    assert table.value.tolist() == [0, 0.5, 1]


def test_wandb_offline_keeps_its_id(workdir, monkeypatch):
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_DIR", str(workdir / "wandb"))
    monkeypatch.setenv("WANDB_SILENT", "true")
    overrides = *ACTIVE, "logger=wandb", "run_dir=tracked"
    fit, fits = ProbeLearner.fit, []

    def killed_in_the_second_fit(self, *args):
        fits.append(args)
        if len(fits) == 2:
            raise Killed
        return fit(self, *args)

    monkeypatch.setattr(ProbeLearner, "fit", killed_in_the_second_fit)
    with pytest.raises(Killed):
        run(*overrides)
    result = run(*overrides)
    assert result.outcome.state == "done"
    run_id = json.loads((result.path / "status.json").read_text())["run_id"]
    found = {
        file.stem.removeprefix("run-") for file in (result.path / "tracking").rglob("run-*.wandb")
    }
    assert found == {run_id}
