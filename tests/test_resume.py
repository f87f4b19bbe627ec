import os
import shutil

import pytest
from tiny_runs import ACTIVE, CNN_FITS, CORE_SET, QUIET, assert_same_results

import alframe.files
from alframe.cli import run
from alframe.errors import UserError
from alframe.learners.keeper import Keeper
from alframe.run_dir import RunDir, read_config


class Killed(BaseException):
    """Stands for a SIGKILL: nothing in the program may catch it."""


class Disk:
    """Stands before `write_atomic`: the k-th commit, and every one after it, never happens."""

    def __init__(self, monkeypatch):
        self.commits = 0
        self.last = float("inf")
        self._write = alframe.files.write_atomic
        for module in ("alframe.files", "alframe.run_dir", "alframe.record"):
            monkeypatch.setattr(f"{module}.write_atomic", self.write)

    def write(self, path, content):
        self.commits += 1
        if self.commits > self.last:  # killed in the middle of writing the file beside its place
            path.parent.mkdir(parents=True, exist_ok=True)
            path.with_name(f".{path.name}.1.partial").write_bytes(content[: len(content) // 2])
            raise Killed
        self._write(path, content)

    def kill_after(self, commits):
        self.commits, self.last = 0, commits

    def spare(self):
        self.commits, self.last = 0, float("inf")


@pytest.mark.parametrize(
    "overrides",
    [
        pytest.param(
            (*ACTIVE, "learner@proxy=probe", "strategy=kcenter", "schedule.budget=35"),
            id="active_learning", marks=pytest.mark.slow,
        ),
        pytest.param(
            (*ACTIVE, "candidates=seals", "candidates.k=8", "index=ivf_flat", "index.nprobe=4"),
            id="seals",
        ),
        pytest.param(
            (*ACTIVE, "candidates=anchors", "candidates.k=5", "candidates.size=30",
             "strategy=random"),
            id="anchors", marks=pytest.mark.slow,
        ),
        pytest.param(
            (*CORE_SET, "pipeline.sizes=[0.5,30]"), id="core_set", marks=pytest.mark.slow
        ),
        pytest.param(
            (*CORE_SET, "learner@proxy=mlp", "strategy=el2n", "strategy.n_fits=2",
             "strategy.until_epoch=1", "pipeline.sizes=[30]", "pipeline.full=false",
             "trainer=cpu"),
            id="short_fits", marks=pytest.mark.slow,
        ),
    ],
)  # fmt: skip
def test_a_run_killed_at_any_commit_ends_as_if_undisturbed(overrides, workdir, monkeypatch):
    disk = Disk(monkeypatch)
    overrides = *overrides, *QUIET
    expected = run(*overrides, "run_dir=undisturbed").path
    commits = disk.commits
    assert commits > 12

    for number in range(1, commits):  # the first commit is that of config.yaml: see below
        disk.kill_after(number)
        with pytest.raises(Killed):
            run(*overrides, "run_dir=killed")
        disk.spare()
        result = run("resume=killed") if number % 2 else run(*overrides, "run_dir=killed")
        assert result.outcome.state == "done"
        assert_same_results(result.path, expected)
        shutil.rmtree("killed")


def test_a_run_killed_while_its_config_was_written_starts_anew(workdir, monkeypatch):
    disk = Disk(monkeypatch)
    disk.kill_after(0)
    with pytest.raises(Killed):
        run(*ACTIVE, *QUIET, "run_dir=killed")
    disk.spare()
    assert run(*ACTIVE, *QUIET, "run_dir=killed").outcome.state == "done"


def test_many_kills_of_one_run(workdir, monkeypatch):
    disk = Disk(monkeypatch)
    overrides = *ACTIVE, "strategy=margin", "seed=3", *QUIET
    expected = run(*overrides, "run_dir=undisturbed").path
    kills = 0
    disk.kill_after(4)
    while True:
        try:
            result = run(*overrides, "run_dir=killed")
            break
        except Killed:
            kills += 1
            disk.kill_after(4 + kills)  # a replay writes its tables again before it gets further
    assert kills > 3
    assert_same_results(result.path, expected)


@pytest.mark.parametrize(
    "overrides",
    [
        pytest.param(("schedule.budget=30", "schedule.initial=20", "schedule.query_size=10",
                      "target.recipe.epochs=4"), id="active_learning"),
        pytest.param(("pipeline=core_set", "strategy=forgetting", "pipeline.sizes=[0.5]",
                      "target.recipe.epochs=4"), id="forgetting"),
        pytest.param(("pipeline=core_set", "strategy=el2n", "strategy.n_fits=2",
                      "strategy.until_epoch=4", "pipeline.sizes=[0.5]", "pipeline.full=false",
                      "target.recipe.epochs=5"), id="short_fits"),
        pytest.param(("pipeline=core_set", "strategy=random", "pipeline.sizes=[0.5]",
                      "target.recipe.epochs=30", "target.recipe.early_stopping=1",
                      "target.recipe.learning_rate=0.3"), id="early_stopping"),
    ],
)  # fmt: skip
def test_a_fit_killed_in_any_epoch_goes_on_in_its_middle(overrides, workdir, monkeypatch):
    overrides = *CNN_FITS, *overrides
    expected = run(*overrides, "run_dir=undisturbed").path
    undisturbed, after = Keeper.on_train_epoch_start, {"epochs": 0, "last": 3}

    def start_epoch(self, trainer, pl_module):
        after["epochs"] += 1
        if after["epochs"] > after["last"]:
            raise Killed
        undisturbed(self, trainer, pl_module)

    monkeypatch.setattr(Keeper, "on_train_epoch_start", start_epoch)
    kills = 0
    while True:
        try:
            after["epochs"] = 0
            result = run(*overrides, "run_dir=killed")
            break
        except Killed:
            kills += 1
    assert kills >= 2
    assert_same_results(result.path, expected)
    for curve in expected.glob("fits/*/curve.csv"):
        points = [line.split(",") for line in curve.read_text().splitlines()]
        again = result.path / curve.relative_to(expected)
        assert [line.split(",")[::2] for line in again.read_text().splitlines()] == [
            point[::2]
            for point in points  # epoch and split; the seconds differ
        ]


def test_a_damaged_stage_is_computed_again(workdir, capsys):
    overrides = *ACTIVE, "strategy=margin", *QUIET
    expected = run(*overrides, "run_dir=undisturbed").path
    shutil.copytree(expected, "damaged")
    stages = sorted((workdir / "damaged").glob("*/**/*.npz"))
    for stage in stages:
        content = bytearray(stage.read_bytes())
        content[len(content) // 2] ^= 1
        stage.write_bytes(content)
    result = run(*overrides, "run_dir=damaged")
    assert_same_results(result.path, expected)
    assert "it is computed again" in capsys.readouterr().err


def test_a_damaged_checkpoint_starts_its_fit_again(workdir, monkeypatch, capsys):
    overrides = *CNN_FITS, "schedule.budget=20", "target.recipe.epochs=4"
    expected = run(*overrides, "run_dir=undisturbed").path
    undisturbed = Keeper.on_train_epoch_start

    def start_epoch(self, trainer, pl_module):
        if trainer.current_epoch == 2:
            raise Killed
        undisturbed(self, trainer, pl_module)

    with monkeypatch.context() as patch:
        patch.setattr(Keeper, "on_train_epoch_start", start_epoch)
        with pytest.raises(Killed):
            run(*overrides, "run_dir=killed")
    (checkpoint,) = (workdir / "killed").rglob("*.ckpt")
    checkpoint.write_bytes(checkpoint.read_bytes()[:1000])
    result = run(*overrides, "run_dir=killed")
    assert_same_results(result.path, expected)
    assert "the fit starts again" in capsys.readouterr().err


def files_of(path):
    return {
        str(file.relative_to(path)): file.read_bytes()
        for file in path.rglob("*")
        if file.is_file() and file.name not in ("status.json", "lock")
    }


@pytest.mark.parametrize("logger", ["csv", "[]"])
def test_a_finished_run_run_again_changes_nothing_and_prints_the_same(logger, workdir, capsys):
    overrides = *ACTIVE, f"logger={logger}", "run_dir=finished"
    first = run(*overrides)
    printed = capsys.readouterr().out
    before = files_of(first.path)
    for again in (overrides, ("resume=finished",)):
        result = run(*again)
        assert capsys.readouterr().out == printed
        assert files_of(result.path) == before
        assert result == first


def test_an_interrupted_run_says_so(workdir, monkeypatch):
    def interrupt(self, *_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("alframe.learners.probe.ProbeLearner.fit", interrupt)
        with pytest.raises(KeyboardInterrupt):
            run(*ACTIVE, *QUIET, "run_dir=stopped")
    assert RunDir.open(workdir / "stopped", read_config(workdir / "stopped")).status["reason"]


def test_a_changed_config_is_refused_with_its_keys(workdir):
    run(*ACTIVE, *QUIET, "run_dir=mine")
    before = files_of(workdir / "mine")
    with pytest.raises(UserError) as caught:
        run(*ACTIVE, *QUIET, "run_dir=mine", "seed=5", "schedule.target_accuracy=0.5")
    message = str(caught.value)
    assert "seed: 0 -> 5" in message
    assert "schedule.target_accuracy: None -> 0.5" in message
    assert "schedule.budget" not in message
    assert files_of(workdir / "mine") == before


def test_another_strategy_is_a_changed_config(workdir):
    run(*ACTIVE, *QUIET, "run_dir=mine")
    with pytest.raises(UserError, match=r"strategy\."):
        run(*ACTIVE, *QUIET, "run_dir=mine", "strategy=margin")


def test_harmless_keys_may_change(workdir):
    first = run(*ACTIVE, "run_dir=mine", "logger=csv")
    result = run(*ACTIVE, "run_dir=mine", "logger=[]", "paths.data_dir=elsewhere")
    assert_same_results(result.path, first.path)


def test_the_same_command_takes_other_harmless_keys_and_resume_takes_none(workdir):
    first = run(*ACTIVE, "run_dir=mine", "logger=csv")
    assert run(*ACTIVE, "run_dir=mine", "paths.data_dir=elsewhere").metrics == first.metrics
    with pytest.raises(UserError, match=r"got paths\.data_dir=elsewhere"):
        run("resume=mine", "paths.data_dir=elsewhere")


def test_other_data_are_refused(workdir, monkeypatch):
    run(*ACTIVE, *QUIET, "run_dir=mine")
    import sklearn.datasets

    table = sklearn.datasets.load_digits()
    table.images[0, 0, 0] += 1
    monkeypatch.setattr(sklearn.datasets, "load_digits", lambda: table)
    with pytest.raises(UserError, match="data"):
        run(*ACTIVE, *QUIET, "run_dir=mine")


def test_a_directory_in_use_is_refused(workdir):
    run(*ACTIVE, *QUIET, "run_dir=mine")
    held = RunDir.open(workdir / "mine", read_config(workdir / "mine"))
    before = files_of(workdir / "mine")
    with pytest.raises(UserError, match=rf"in use by process {os.getpid()} on "):
        run(*ACTIVE, *QUIET, "run_dir=mine")
    assert files_of(workdir / "mine") == before
    held.close()
    run(*ACTIVE, *QUIET, "run_dir=mine")


def test_a_run_dir_that_was_moved_is_resumed_where_it_is(workdir):
    first = run(*ACTIVE, "run_dir=here", "logger=csv")
    shutil.move("here", "there")
    result = run("resume=there")
    assert result.metrics == first.metrics
    assert not (workdir / "here").exists()


def test_a_run_is_resumed_from_another_working_directory(workdir, monkeypatch):
    first = run(*ACTIVE, "run_dir=here", "logger=csv")
    elsewhere = workdir / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.chdir(elsewhere)
    assert run(f"resume={workdir / 'here'}").metrics == first.metrics
    assert list(elsewhere.iterdir()) == []
