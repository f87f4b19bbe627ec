"""What a sweep's folder tells of its cells."""

import json
import subprocess
import sys

import pytest
from tiny_runs import environment

from alframe.errors import UserError
from alframe.run_dir import HeldError
from alframe.sweeps.cells import Cell
from alframe.sweeps.folder import SweepFolder

BASE = {"seed": 0, "strategy": {"name": "entropy"}, "schedule": {"budget": 40}, "logger": ["csv"]}
CELLS = [Cell("seed=0", ("seed=0",)), Cell("seed=1", ("seed=1",))]


@pytest.fixture
def folder(tmp_path):
    made = SweepFolder(tmp_path / "sweep")
    made.open(BASE, ["seed"], CELLS)
    return made


def say(folder, name, **status):
    (folder.path / name).mkdir(exist_ok=True)
    (folder.path / name / "status.json").write_text(json.dumps(status))


def test_the_states_of_a_cell(folder):
    assert folder.look("seed=0").state == "new"
    folder.begins("seed=0")
    assert folder.look("seed=0").state == "killed", "before its run began"
    say(folder, "seed=0", state="running")
    assert folder.look("seed=0").state == "killed"
    with folder.hold("seed=0"):
        assert folder.look("seed=0").state == "running"
        with pytest.raises(HeldError, match="process"):
            folder.hold("seed=0")
    say(folder, "seed=0", state="interrupted", reason="Left: SIGUSR2")
    assert (folder.look("seed=0").state, folder.look("seed=0").error) == (
        "interrupted", "Left: SIGUSR2",
    )  # fmt: skip
    say(folder, "seed=0", state="failed", reason="RuntimeError: first line\nlast line")
    assert folder.look("seed=0").error == "last line"
    folder.fails("seed=0", "UserError: other", mistake=True)
    assert folder.look("seed=0").error == "UserError: other"
    assert folder.is_mistake("seed=0")
    folder.begins("seed=0")
    assert folder.look("seed=0").error == "last line"
    say(folder, "seed=0", state="done", reason="budget reached")
    folder.fails("seed=0", "in vain", mistake=False)
    assert (folder.look("seed=0").state, folder.look("seed=0").error) == ("done", "")


def test_a_cell_that_could_not_begin_tells_why(folder):
    folder.fails("seed=1", "no such data", mistake=True)
    assert (folder.look("seed=1").state, folder.look("seed=1").error) == ("failed", "no such data")


def test_a_killed_process_holds_nothing(folder):
    code = (
        "import pathlib, sys, time; from alframe.sweeps.folder import SweepFolder\n"
        f"held = SweepFolder(pathlib.Path({str(folder.path)!r})).hold('seed=0')\n"
        "print('held', flush=True); time.sleep(60)"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code], env=environment(), stdout=subprocess.PIPE, text=True
    )
    assert process.stdout.readline() == "held\n"
    assert folder.is_held("seed=0")
    process.kill()
    process.communicate()
    assert not folder.is_held("seed=0")


def test_a_start_that_was_killed_at_once_is_no_hindrance(tmp_path):
    (tmp_path / "cells").mkdir()
    (tmp_path / ".sweep.json.partial").touch()
    SweepFolder(tmp_path).open(BASE, ["seed"], CELLS)


def test_other_data_are_another_sweep(tmp_path):
    data = {**BASE, "data": {"path": "a.npz"}}
    folder = SweepFolder(tmp_path / "sweep")
    folder.open(data, ["seed"], CELLS)
    with pytest.raises(UserError, match=r"data.path: a.npz -> b.npz"):
        folder.open({**BASE, "data": {"path": "b.npz"}}, ["seed"], CELLS)


def test_a_look_does_not_stop_a_cell_from_beginning(folder):
    with folder.hold("seed=0"):
        before = (folder.notes / "seed=0.lock").read_text()
        assert folder.is_held("seed=0")
        assert (folder.notes / "seed=0.lock").read_text() == before != ""
    assert not folder.is_held("seed=0")


def test_more_cells_may_be_added(folder):
    folder.open(BASE, ["seed", "strategy"], [Cell("seed=2", ("seed=2",))])
    assert [cell.name for cell in folder.known()] == ["seed=0", "seed=1", "seed=2"]
    assert folder.record()["swept"] == ["seed", "strategy"]


def test_what_was_swept_may_be_fixed_later(folder):
    folder.open({**BASE, "seed": 1}, ["strategy"], CELLS)
    folder.open({**BASE, "strategy": {"name": "margin"}}, [], CELLS)


def test_another_sweep_is_not_mixed_in(folder):
    with pytest.raises(UserError, match=r"schedule.budget: 40 -> 60.*hydra.sweep.dir"):
        folder.open({**BASE, "schedule": {"budget": 60}}, ["seed"], CELLS)
    folder.open({**BASE, "logger": []}, ["seed"], CELLS)


def test_a_folder_of_something_else_is_refused(tmp_path):
    (tmp_path / "thesis.txt").write_text("")
    with pytest.raises(
        UserError, match=r"holds no sweep, but thesis\.txt.*change hydra\.sweep\.dir"
    ):
        SweepFolder(tmp_path).open(BASE, ["seed"], CELLS)


def test_only_a_sweep_of_which_nothing_began_is_tidied_away(folder):
    with folder.hold("seed=0"):
        folder.fails("seed=0", "no", mistake=True)
    (folder.path / "seed=0").mkdir()
    folder.tidy()
    assert folder.record()
    (folder.path / "seed=0").rmdir()
    folder.tidy()
    assert not folder.path.exists()
