import gc
import shutil
import subprocess
import sys
import sysconfig
import weakref
from importlib.metadata import entry_points
from pathlib import Path

import pandas as pd
import pytest
import tiny_runs
import yaml
from tiny_runs import ACTIVE, environment

import alframe.cli
import alframe.cli.embed
import alframe.cli.index
import alframe.cli.select
import alframe.report.cli
import alframe.sweeps.cli
from alframe.cli import run
from alframe.learners.probe import ProbeLearner
from alframe.run_dir import RunDir

MANY = (
    "target.inverse_regularization=0.5",
    "target.max_iter=2000",
    "candidates=random_subset",
    "candidates.size=0.5",
    "oracle=noisy",
    "oracle.rate=0.05",
    "task.initial=balanced",
    "trainer=cpu",
)
HEAVY = ("torch", "pytorch_lightning", "pandas", "sklearn", "matplotlib", "alframe.cli.execute")


@pytest.mark.parametrize("is_on", [True, False], ids=["on", "off"])
def test_garbage_is_looked_for_in_what_a_run_makes_and_afterwards_everywhere(
    workdir, monkeypatch, is_on
):
    seen = []
    fit = ProbeLearner.fit
    monkeypatch.setattr(
        ProbeLearner,
        "fit",
        lambda *args: (seen.append((gc.isenabled(), gc.get_freeze_count())), fit(*args))[1],
    )
    try:
        if not is_on:
            gc.disable()
        run(*ACTIVE)
        assert gc.isenabled() == is_on
    finally:
        gc.enable()
    assert gc.get_freeze_count() == 0
    assert all(on == is_on and left_out > 10_000 for on, left_out in seen)
    assert seen


def test_what_an_earlier_run_left_is_gone_before_the_next_one_fits(workdir, monkeypatch):
    class Loop:
        def __init__(self):
            self.itself = self

    left, alive = [], []
    fit = ProbeLearner.fit

    def leaves_garbage(*args):
        alive.append([there() is not None for there in left])
        loop = Loop()
        left.append(weakref.ref(loop))
        return fit(*args)

    monkeypatch.setattr(ProbeLearner, "fit", leaves_garbage)
    gc.disable()  # no look by chance
    try:
        run(*ACTIVE)
        made = len(left)
        run(*ACTIVE, "run_dir=again")
    finally:
        gc.enable()
    assert not any(alive[made][:made])
    assert made > 0


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--help"], "strategy: aum, badge, bait, bald"),
        (["--cfg", "job", "strategy=margin"], "path: alframe.functional.margin"),
        (["--cfg", "job", "--resolve", "experiment=svp_cifar10"], "depth: 164"),
        (["--version"], ""),
    ],
    ids=lambda words: " ".join(words) if isinstance(words, list) else "",
)
def test_what_needs_no_torch_does_not_import_it(words, says, workdir):
    code = (
        f"import sys; from alframe.cli import main; sys.argv = ['alframe', *{words!r}]\n"
        "try: main()\n"
        "except SystemExit as end: assert not end.code\n"
        f"print([name for name in {HEAVY!r} if name in sys.modules], file=sys.stderr)"
    )
    command = [sys.executable, "-c", code]
    done = subprocess.run(
        command, cwd=workdir, env=environment(), capture_output=True, text=True, check=False
    )
    assert done.stderr == "[]\n"
    assert says in done.stdout
    assert list(workdir.iterdir()) == []


def test_the_commands_are_installed(workdir):
    commands = {entry.name: entry.load() for entry in entry_points(group="console_scripts")
                if entry.name.startswith("alframe")}  # fmt: skip
    assert commands == {
        "alframe": alframe.cli.main,
        "alframe-report": alframe.report.cli.main,
        "alframe-select": alframe.cli.select.main,
        "alframe-embed": alframe.cli.embed.main,
        "alframe-index": alframe.cli.index.main,
        "alframe-sweep": alframe.sweeps.cli.main,
    }
    script = Path(sysconfig.get_path("scripts")) / "alframe"
    for command in ([str(script)], [sys.executable, "-m", "alframe"]):
        done = subprocess.run(
            [*command, "--help"], cwd=workdir, env=environment(), capture_output=True, text=True,
            check=True,
        )  # fmt: skip
        assert done.stdout.startswith("alframe: which rows should be labeled next")
        assert "alframe-report runs/" in done.stdout


@pytest.fixture(scope="module")
def sweep(tmp_path_factory):
    """Two strategies by two seeds, run by the program itself; its output and working directory."""
    folder = tmp_path_factory.mktemp("sweep")
    words = "-m", "strategy=random,entropy", "seed=0,1", *ACTIVE
    done = tiny_runs.alframe(*words, cwd=folder)
    assert done.returncode == 0, done.stderr
    return done, folder


def test_each_cell_of_a_sweep_has_its_own_run(sweep):
    _, folder = sweep
    configs = [yaml.safe_load(file.read_text()) for file in folder.glob("runs/*/*/config.yaml")]
    cells = sorted((config["choices"]["strategy"], config["seed"]) for config in configs)
    assert cells == [("entropy", 0), ("entropy", 1), ("random", 0), ("random", 1)]
    assert len(list(folder.rglob("metrics.csv"))) == 4 + 4  # a run's own, and its tracker's
    assert [path.name for path in folder.iterdir()] == ["runs"]


def test_the_end_of_a_run_shows_curve_costs_and_place(sweep):
    done, folder = sweep
    lines = done.stdout.splitlines()
    for heading in ("labeled", "test accuracy", "fit s"):
        assert sum(heading in line for line in lines) == 4
    assert sum(line.startswith("costs") for line in lines) == 4
    places = [line.split(": ", 1)[1] for line in lines if line.startswith("run directory: ")]
    assert len(places) == 4
    assert all((folder / place / "metrics.csv").is_file() for place in places)
    table = pd.read_csv(folder / places[0] / "metrics.csv")
    for accuracy in table[table.split == "test"].accuracy:
        assert f"{accuracy:.4f}" in done.stdout


def test_without_a_terminal_there_are_no_escape_codes(sweep):
    done, _ = sweep
    assert "\x1b" not in done.stdout + done.stderr
    assert "\r" not in done.stdout + done.stderr
    assert "INFO round_002_target: training on 40 rows" in done.stderr
    assert "Warning" not in done.stderr


def test_a_report_groups_the_seeds_of_a_sweep(sweep, workdir, capsys):
    _, folder = sweep
    assert alframe.report.cli.main([str(folder / "runs"), "--out", "report"]) == 0
    printed = capsys.readouterr().out
    assert (workdir / "report" / "index.html").is_file()
    assert {"entropy", "random"} <= set(printed.split())
    table = pd.read_csv(workdir / "report" / "results.csv")
    assert set(table.group) == {"entropy", "random"}
    assert set(table.seeds) == {2}


@pytest.mark.parametrize(
    "words",
    [
        ("-m",),
        ("-m", "seed=0,1", "paths.data_dir=/some/where"),
        ("-m", "seed=0,1", *ACTIVE, *MANY),
    ],
    ids=["one cell", "slashes", "many overrides"],
)
def test_every_cell_of_a_sweep_gets_a_directory(words, workdir, monkeypatch, capfd):
    opened = []

    def open_it(config, path):
        run = RunDir.open(path, config)
        run.update_status(state="done")
        run.close()
        opened.append(path.resolve())

    monkeypatch.setattr("alframe.cli.execute.execute", open_it)
    monkeypatch.setenv("HYDRA_FULL_ERROR", "")
    monkeypatch.setattr(sys, "argv", ["alframe", *words])
    alframe.cli.main()
    assert len(set(opened)) == (2 if "seed=0,1" in words else 1)


def test_two_runs_of_one_second_have_two_directories(workdir):
    paths = {run(*ACTIVE, "schedule.budget=20", "logger=[]").path for _ in range(3)}
    assert len(paths) == 3
    assert all(path.parent.name == "runs" for path in paths)


@pytest.mark.parametrize("name", ["a folder", "é=1,2", "percent%20"])
def test_odd_names_of_run_directories(name, workdir):
    path = run(*ACTIVE, "schedule.budget=20", f"run_dir='{name}'").path
    assert path.name == name
    before = (path / "metrics.csv").read_bytes()
    shutil.copytree(path, "copy")
    assert run(f"resume='{name}'").path.name == name
    assert (path / "metrics.csv").read_bytes() == before
