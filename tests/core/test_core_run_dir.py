"""One directory, one run, every finished stage of it."""

from __future__ import annotations

import json
import logging
import os
import re
import signal
import socket
import subprocess
import sys
import time
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import pytest
import yaml

from alframe.errors import UserError
from alframe.run_dir import (
    HeldError,
    RunDir,
    changed_keys,
    flatten,
    is_harmless,
    new_run_dir,
    read_config,
    take_lock,
)

CONFIG = {
    "seed": 0,
    "name": "toy",
    "strategy": {"_target_": "a.B", "options": {"k": 3}},
    "proxy": None,
    "sizes": [0.5, 100],
    "paths": {"data_dir": "/a", "runs_dir": "runs"},
    "logger": {"csv": {"name": "csv"}},
    "data": {"root": "/a", "subset": None},
    "run_dir": "x",
}
IDENTITY = {"data": {"fingerprint": "abc", "rows": 5}}


def opened(path, config=CONFIG, identity=IDENTITY):
    return RunDir.open(path, config, identity)


@pytest.fixture
def run(tmp_path):
    held = opened(tmp_path / "run")
    yield held
    held.close()


@pytest.fixture
def heard(caplog, monkeypatch):
    monkeypatch.setattr(logging.getLogger("alframe"), "propagate", True)
    return caplog


def content(folder):
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


# --- stages ---


def test_a_stage_runs_once(run):
    calls = []

    def stage():
        calls.append(1)
        return {"rows": np.arange(3), "seconds": 0.1}

    assert not run.done("stages/a")
    for _ in range(3):
        state = run.once("stages/a", stage)
        np.testing.assert_array_equal(state["rows"], np.arange(3))
        assert state["seconds"] == 0.1
    assert calls == [1]
    assert run.done("stages/a")


def test_a_stage_of_a_resumed_run_returns_what_it_returned(tmp_path):
    first = opened(tmp_path / "run")
    first.once("a", lambda: {"value": 1})
    first.close()
    second = opened(tmp_path / "run")
    assert second.once("a", lambda: pytest.fail("a finished stage was run again")) == {"value": 1}
    second.close()


def test_a_stage_that_fails_is_not_done(run):
    def fail():
        raise InterruptedError

    with pytest.raises(InterruptedError):
        run.once("a", fail)
    assert not run.done("a")
    assert run.once("a", lambda: {"value": 2}) == {"value": 2}


@pytest.mark.parametrize("damage", ["truncated", "flipped", "empty", "other"])
def test_a_corrupt_stage_is_computed_again_with_a_warning(run, heard, damage):
    run.once("a", lambda: {"rows": np.arange(100)})
    path = run.path / "a.npz"
    raw = path.read_bytes()
    middle = raw.find(np.arange(100).tobytes()) + 80
    path.write_bytes(
        {
            "truncated": raw[: len(raw) // 2],
            "flipped": raw[:middle] + bytes([raw[middle] ^ 4]) + raw[middle + 1 :],
            "empty": b"",
            "other": b"something else",
        }[damage]
    )
    np.testing.assert_array_equal(run.once("a", lambda: {"rows": np.arange(7)})["rows"], range(7))
    (record,) = heard.records
    assert record.levelname == "WARNING"
    assert "a.npz" in record.getMessage()
    heard.clear()
    np.testing.assert_array_equal(run.once("a", dict)["rows"], range(7))
    assert heard.records == []


def test_scratch_is_the_stages_own_and_goes(run):
    scratch = run.scratch("fits/one")
    (scratch / "last.ckpt").write_bytes(b"x")
    (run.scratch("fits/other") / "last.ckpt").write_bytes(b"y")
    run.clear_scratch("fits/one")
    run.clear_scratch("fits/one")
    assert not scratch.exists()
    assert (run.scratch("fits/other") / "last.ckpt").read_bytes() == b"y"


def test_a_discarded_stage_is_gone(run):
    run.once("fits/a", lambda: {"value": 1})
    run.discard("fits/a")
    run.discard("fits/a")
    assert not run.done("fits/a")


# --- taking a directory ---


def test_what_a_new_run_writes(tmp_path):
    run = opened(tmp_path / "a" / "run é, b=c")
    assert read_config(run.path) == CONFIG
    status = json.loads((run.path / "status.json").read_text())
    assert status["state"] == "running"
    assert status["data"] == IDENTITY["data"]
    assert re.fullmatch(r"[0-9a-f]{16}", status["run_id"])
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\+00:00", status["started"])
    run.close()


def test_a_resumed_run_keeps_its_id_and_start(tmp_path):
    first = opened(tmp_path / "run")
    first.update_status(started="2001-02-03T04:05:06+00:00", state="failed", versions={"a": "1"})
    first.close()
    second = opened(tmp_path / "run")
    assert second.status["run_id"] == first.status["run_id"]
    assert second.status["started"] == "2001-02-03T04:05:06+00:00"
    assert second.status["versions"] == {"a": "1"}
    assert json.loads((second.path / "status.json").read_text()) == second.status
    second.close()


CHANGES = [
    ({"seed": 1}, "seed: 0 -> 1"),
    ({"strategy": {"_target_": "a.B", "options": {"k": 4}}}, "strategy.options.k: 3 -> 4"),
    ({"strategy": {"_target_": "a.B"}}, "strategy.options.k: 3 -> (absent)"),
    ({"proxy": {"_target_": "c.D"}}, "proxy._target_: (absent) -> c.D"),
    ({"sizes": [0.5]}, "sizes: [0.5, 100] -> [0.5]"),
    ({"new": True}, "new: (absent) -> True"),
    ({"data": {"root": "/b", "subset": 9}}, "data.subset: None -> 9"),
]


@pytest.mark.parametrize(("change", "words"), CHANGES, ids=[case[1] for case in CHANGES])
def test_a_changed_config_is_refused_with_the_keys(tmp_path, change, words):
    opened(tmp_path / "run").close()
    before = content(tmp_path)
    with pytest.raises(UserError, match=re.escape(words)) as refusal:
        opened(tmp_path / "run", {**CONFIG, **change})
    assert "run_dir=" in str(refusal.value)
    assert content(tmp_path) == before


def test_all_changed_keys_are_listed():
    changes = changed_keys(CONFIG, {**CONFIG, "seed": 1, "name": "other", "run_dir": "y"})
    assert changes == ["name: toy -> other", "seed: 0 -> 1"]


@pytest.mark.parametrize(
    "change",
    [
        {"run_dir": "y"},
        {"resume": "y"},
        {"paths": {"data_dir": "/elsewhere"}},
        {"logger": {"wandb": {"project": "p"}}},
        {"logger": {}},
        {"data": {"root": "/elsewhere", "subset": None}},
        {"choices": {"strategy": "entropy"}},
    ],
    ids=str,
)
def test_harmless_keys_may_change(tmp_path, change):
    opened(tmp_path / "run").close()
    opened(tmp_path / "run", {**CONFIG, **change}).close()


def test_a_forked_process_holds_no_lock_of_its_parent(tmp_path):
    """A loader's worker lives some seconds longer than a parent that is killed."""
    lock = take_lock(tmp_path)
    context = get_context("fork")
    started = context.Event()

    def live():
        started.set()
        time.sleep(60)

    child = context.Process(target=live)
    child.start()
    try:
        assert started.wait(60)  # on a busy machine a child begins late to close what it inherits
        with pytest.raises(HeldError, match=f"process {os.getpid()} "):
            take_lock(tmp_path)
        lock.close()
        take_lock(tmp_path).close()
        assert child.is_alive()
    finally:
        child.kill()
        child.join()


def test_how_batches_are_made_may_change(tmp_path):
    opened(tmp_path / "run", {**CONFIG, "data": {"loader": "auto", "workers": None}}).close()
    other = {"loader": "workers", "workers": 3, "device_share": 0.1}
    opened(tmp_path / "run", {**CONFIG, "data": other}).close()


@pytest.mark.parametrize("learner", ["target", "proxy"])
def test_keys_that_came_later_may_be_absent_where_they_say_nothing_new(learner):
    before = {learner: {"recipe": {"crop": 4}}}
    assert changed_keys(before, {learner: {"recipe": {"crop": 4, "cutout": 0, "mixup": 0.0}}}) == []
    said = changed_keys(before, {learner: {"recipe": {"crop": 4, "cutout": 8, "mixup": 0.0}}})
    assert said == [f"{learner}.recipe.cutout: (absent) -> 8"]
    with_it = {learner: {"recipe": {"cutout": 8}}}
    said = changed_keys(with_it, {learner: {"recipe": {"cutout": 0}}})
    assert said == [f"{learner}.recipe.cutout: 8 -> 0"]


@pytest.mark.parametrize("key", ["data.rooted", "pathsx", "run_dir_2", "data", "loggers.csv"])
def test_a_key_is_not_harmless_because_it_begins_like_one(key):
    assert not is_harmless(key)


def test_flattening_a_config():
    assert flatten({"a": {"b": {"c": 1}, "d": [1, {"e": 2}]}, "f": None}) == {
        "a.b.c": 1,
        "a.d": [1, {"e": 2}],
        "f": None,
    }


def test_another_dataset_is_refused_with_the_difference(tmp_path):
    opened(tmp_path / "run").close()
    before = content(tmp_path)
    with pytest.raises(UserError, match=r"other data: expected .*rows 5, got .*rows 6; restore"):
        opened(tmp_path / "run", identity={"data": {"fingerprint": "xyz", "rows": 6}})
    assert content(tmp_path) == before


def test_a_folder_that_holds_something_else_is_refused(tmp_path):
    (tmp_path / "thesis.tex").write_text("years of work")
    with pytest.raises(UserError, match=r"is not empty and holds no run.*change run_dir"):
        opened(tmp_path)
    assert content(tmp_path) == {"thesis.tex": b"years of work"}


def test_what_a_kill_leaves_before_the_config_is_written_is_taken_over(tmp_path):
    (tmp_path / "lock").write_text("process 1 on elsewhere")
    run = opened(tmp_path)
    assert read_config(tmp_path) == CONFIG
    run.close()


@pytest.mark.parametrize("place", ["file/run", "file"])
def test_a_place_that_cannot_be_written_is_refused(tmp_path, place):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(UserError, match=r"run_dir=.*cannot be written.*change run_dir"):
        opened(tmp_path / place)
    assert content(tmp_path) == {"file": b"in the way"}


def test_a_full_disk_is_refused_and_frees_the_directory(tmp_path, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr("alframe.run_dir.write_atomic", full)
        with pytest.raises(UserError, match="No space left on device"):
            opened(tmp_path / "run")
    opened(tmp_path / "run").close()


def test_a_folder_without_a_run_cannot_be_resumed(tmp_path):
    with pytest.raises(UserError, match=r"holds no run: expected a folder with a config.yaml"):
        read_config(tmp_path)


def test_two_starts_in_one_second_have_two_directories(tmp_path):
    paths = {new_run_dir(tmp_path, "digits") for _ in range(50)}
    assert len(paths) == 50
    assert all(re.fullmatch(r"digits-\d{8}-\d{6}-[0-9a-f]{6}", path.name) for path in paths)
    assert not any(path.exists() for path in paths)


# --- the lock ---

HOLD = """
import sys
from pathlib import Path
from alframe.run_dir import RunDir
run = RunDir.open(Path(sys.argv[1]), {"seed": 0})
print("held", flush=True)
sys.stdin.read()
"""


@pytest.fixture
def holder(tmp_path):
    """Another process that holds the directory until it is killed."""
    root = Path(__file__).parents[2]
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, str(tmp_path / "run")],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(root)},
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline().strip() == "held"
        yield process
        process.kill()


def test_a_second_process_is_refused_until_the_first_is_dead(tmp_path, holder):
    path = tmp_path / "run"
    before = content(path)
    words = f"in use by process {holder.pid} on {socket.gethostname()}"
    for _ in range(2):  # a refusal must not loosen the lock
        with pytest.raises(UserError, match=re.escape(words)):
            RunDir.open(path, {"seed": 0})
    assert content(path) == before
    holder.send_signal(signal.SIGKILL)
    holder.wait()
    run = RunDir.open(path, {"seed": 0})
    assert (path / "lock").read_text() == f"process {os.getpid()} on {socket.gethostname()}"
    run.close()


def test_the_same_process_is_refused_too_until_it_closes(run):
    with pytest.raises(UserError, match=f"in use by process {os.getpid()} on"):
        opened(run.path)
    run.close()
    opened(run.path).close()


# --- harm ---


def test_a_config_is_read_without_building_python_objects(tmp_path):
    (tmp_path / "config.yaml").write_text("seed: !!python/object/apply:os.getpid []")
    with pytest.raises(yaml.YAMLError):
        read_config(tmp_path)


@pytest.mark.parametrize("value", ["1e5", "on", "null", "0x1f", "2001-01-01", "é", " a: b", "~"])
def test_words_that_yaml_could_take_for_something_else_are_kept(tmp_path, value):
    config = {"word": value, "number": 1e-12, "list": [1e9, None, True]}
    opened(tmp_path / "run", config).close()
    assert read_config(tmp_path / "run") == config
    opened(tmp_path / "run", config).close()


def test_what_differs_of_the_neighbors_is_said_and_nothing_else(tmp_path):
    before = {"kind": "faiss", "factory": "IVF28,Flat", "rows": 1797}
    opened(tmp_path / "run", identity={"neighbors": before}).close()
    after = {"kind": "exact", "rows": 1797}
    says = (
        "with other neighbors: expected kind faiss, factory IVF28,Flat, got kind exact, factory "
        "(absent); restore the neighbors (index=auto chooses by index.memory_gib, too)"
    )
    with pytest.raises(UserError, match=re.escape(says)):
        opened(tmp_path / "run", identity={"neighbors": after})
