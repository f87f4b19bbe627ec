"""When one of two processes is gone, the other ends too, and the run goes on later."""

import json
import os
import signal
import time

import pytest
from tiny_runs import ACTIVE, CNN_FITS, QUIET, assert_same_results, selections
from world_parts import DDP, by_hand, clean_environment, stop, torchrun, wait_for, workers

pytestmark = pytest.mark.slow
LONG = (
    *CNN_FITS[:-2],
    *QUIET,
    "target.recipe.epochs=80",
    "target.recipe.checkpoint_seconds=0.2",
    "target.recipe.curve_every=0",
    "schedule.initial=40",
    "schedule.query_size=20",
    "schedule.budget=60",
    "strategy=margin",
    "run_dir=x",
)
BOUND = 60  # seconds in which the others must have ended
SCRATCH = ("x", "fits", "round_000_target", "scratch", "last.ckpt")


def trains(folder):
    """Waits until the first fit has saved its first checkpoint."""
    wait_for(folder.joinpath(*SCRATCH))


def status(folder):
    return json.loads((folder / "x" / "status.json").read_text())


@pytest.mark.parametrize("rank", [0, 1])
def test_a_process_of_torchrun_is_killed(tmp_path, rank):
    starter = torchrun("-m", "alframe", *LONG, *DDP, cwd=tmp_path)
    try:
        trains(tmp_path)
        pids = workers(starter.pid)
        os.kill(pids[rank], signal.SIGKILL)
        starter.communicate(timeout=BOUND)
        assert starter.returncode not in (0, None)
        assert all(ended(pid) for pid in pids.values())
    finally:
        stop(starter)
    again = torchrun("-m", "alframe", *LONG, *DDP, cwd=tmp_path)
    said, _ = again.communicate(timeout=300)
    assert again.returncode == 0, said
    assert status(tmp_path)["state"] == "done"
    whole = torchrun("-m", "alframe", *LONG[:-1], "run_dir=whole", *DDP, cwd=tmp_path)
    whole.communicate(timeout=300)
    assert_same_results(tmp_path / "x", tmp_path / "whole")


@pytest.mark.parametrize(
    ("rank", "number"),
    [(0, signal.SIGKILL), (1, signal.SIGKILL), (1, signal.SIGSTOP)],
    ids=["first", "other", "frozen"],
)
def test_a_process_started_by_hand_is_gone(tmp_path, rank, number):
    pair = by_hand(*LONG, cwd=tmp_path)
    try:
        trains(tmp_path)
        pair[rank].send_signal(number)
        said, _ = pair[1 - rank].communicate(timeout=BOUND)
        assert pair[1 - rank].returncode not in (0, None)
        if rank == 1:
            assert status(tmp_path)["state"] == "failed"
            assert "process 1 of 2 is gone" in said or "process 1 of 2 has not been" in said
    finally:
        stop(*pair)


def test_a_process_is_gone_while_the_first_selects(tmp_path):
    """Nobody waits for anybody's part then: only the watch can see it."""
    slow = "strategy._target_=slow_strategy.Slow"
    pair = by_hand(*ACTIVE, *QUIET, "~strategy", f"+{slow}", "run_dir=x", cwd=tmp_path)
    try:
        wait_for(tmp_path / "selecting")
        pair[1].kill()
        said, _ = pair[0].communicate(timeout=BOUND)
        assert pair[0].returncode == 1
        assert "process 1 of 2 has not been heard of" in said
        assert status(tmp_path)["state"] == "failed"
    finally:
        stop(*pair)


def test_a_process_that_fails_ends_the_other_and_says_why(tmp_path):
    words = ("target.model._target_=failing_model.Failing", "~target.model.width", *LONG)
    pair = by_hand(*words, "~target.model.dropout", cwd=tmp_path)
    try:
        said = [process.communicate(timeout=BOUND + 120)[0] for process in pair]
        assert [process.returncode for process in pair] == [1, 1], said
        assert "process 1 failed (ValueError: nothing works in process 1)" in said[0]
        assert "process 1" in status(tmp_path)["reason"]
    finally:
        stop(*pair)


def test_ctrl_c_saves_and_leaves_and_the_run_goes_on(tmp_path):
    pair = by_hand(*LONG, cwd=tmp_path)
    try:
        trains(tmp_path)
        pair[1].send_signal(signal.SIGINT)  # to one of them: both leave after the same step
        said = [process.communicate(timeout=BOUND)[0] for process in pair]
        assert [process.returncode for process in pair] == [130, 130], said
        assert status(tmp_path)["state"] == "interrupted"
        assert tmp_path.joinpath(*SCRATCH).is_file()
    finally:
        stop(*pair)
    again = by_hand(*LONG, cwd=tmp_path)
    said = [process.communicate(timeout=300)[0] for process in again]
    assert [process.returncode for process in again] == [0, 0], said
    assert len(selections(tmp_path / "x")) == 60


def ended(pid, within=35):
    end = time.monotonic() + within
    while time.monotonic() < end:
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return True
        time.sleep(0.2)
    return False


def test_the_environment_of_these_tests_is_clean():
    assert "RANK" not in clean_environment()
