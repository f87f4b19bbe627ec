"""The program itself, killed by the system at random moments and started again."""

import random
import shutil
import signal
import subprocess
import sys
import time

import pytest
import torch
from tiny_runs import CNN_FITS, assert_same_results, environment, selections

from alframe.cli import run

SUBPROCESS = (
    *CNN_FITS,
    "target.recipe.epochs=40",
    "schedule.initial=20",
    "schedule.query_size=20",
    "schedule.budget=80",
    "strategy=margin",
)


class Program:
    """A real run, in a process that can be killed."""

    def __init__(self, cwd, words=SUBPROCESS):
        command = [sys.executable, "-m", "alframe", *words, "run_dir=killed"]
        self.process = subprocess.Popen(
            command, cwd=cwd, env=environment(), stdout=subprocess.PIPE, stderr=subprocess.STDOUT
        )
        self._lock = cwd / "killed" / "lock"

    def wait_until_it_holds_the_run(self):
        mine = f"process {self.process.pid} "
        while not (self._lock.is_file() and mine in self._lock.read_text()):
            self.ended_within(0.02)
            assert self.process.returncode is None, self.process.stdout.read()

    def ended_within(self, seconds):
        try:
            self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            return False
        assert self.process.returncode == 0, self.process.stdout.read()
        return True

    def kill(self):
        self.process.send_signal(signal.SIGKILL)
        self.process.communicate()


def kill_and_resume(folder, delays, expected, words=SUBPROCESS):
    """Kills the program after each delay; starts over where it ends before all are used up.

    Returns:
        Whether a kill left a checkpoint, which is one inside a fit.
    """
    inside = False
    for delay in delays:
        program = Program(folder, words)
        program.wait_until_it_holds_the_run()
        if program.ended_within(delay):
            program.process.communicate()
            assert_same_results(folder / "killed", expected)
            shutil.rmtree(folder / "killed")
            program = Program(folder, words)
            program.wait_until_it_holds_the_run()
            program.ended_within(delay / 4)
        program.kill()
        inside = inside or any((folder / "killed").rglob("last.ckpt"))
    return inside


def undisturbed_run(words=SUBPROCESS):
    """Returns an undisturbed run in this process, and its seconds."""
    start = time.perf_counter()
    path = run(*words, "run_dir=undisturbed").path
    return path, time.perf_counter() - start


def test_killed_once_by_the_system(workdir):
    expected, seconds = undisturbed_run()
    kill_and_resume(workdir, [random.Random(0).uniform(0.05, 0.3) * seconds], expected)
    result = run(*SUBPROCESS, "run_dir=killed")
    assert_same_results(result.path, expected)


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_killed_ten_times_by_the_system(workdir):
    expected, seconds = undisturbed_run()
    draws = random.Random(1)
    delays = [draws.uniform(0, 0.25) * seconds for _ in range(10)]
    assert kill_and_resume(workdir, delays, expected)
    program = Program(workdir)
    program.process.communicate()
    assert program.process.returncode == 0
    assert_same_results(workdir / "killed", expected)
    assert len(selections(expected)) == 80


NEIGHBORS = (
    *SUBPROCESS,
    "target.model._target_=unhurried.UnhurriedCNN",
    "target.recipe.epochs=4",
    "candidates=seals",
    "candidates.k=6",
    "index=ivf_flat",
    "index.nprobe=4",
)


@pytest.mark.slow
def test_killed_by_the_system_it_looks_at_the_same_neighbors(workdir):
    expected, seconds = undisturbed_run(NEIGHBORS)
    draws = random.Random(3)
    delays = [draws.uniform(0.1, 0.4) * seconds for _ in range(4)]
    kill_and_resume(workdir, delays, expected, NEIGHBORS)
    assert_same_results(run(*NEIGHBORS, "run_dir=killed").path, expected)
    assert list((workdir / "undisturbed" / "stages").glob("*_query.npz"))


LONG_EPOCHS = (
    *CNN_FITS,
    "target.model._target_=unhurried.UnhurriedCNN",
    "pipeline=core_set",
    "pipeline.sizes=[0.5]",
    "strategy=margin",
    "target.recipe.epochs=3",
    "target.recipe.batch_size=4",
    "target.model.dropout=0.3",
    "trainer.steps_per_call=2",
)


def batches_done(folder):
    """Returns how many calls of the epoch the checkpoint in a folder holds, and of how many."""
    (path,) = folder.rglob("last.ckpt")
    loop = torch.load(path, weights_only=True)["loops"]["fit_loop"]
    progress = loop["epoch_loop.batch_progress"]
    return progress["current"]["ready"], progress["is_last_batch"]


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_killed_by_the_system_within_epochs(workdir):
    """50 steps an epoch, and a checkpoint after every second one: each kill is within an epoch."""
    expected = run(*LONG_EPOCHS, "run_dir=undisturbed").path
    draws = random.Random(2)
    within = 0
    for _ in range(5):
        program = Program(workdir, LONG_EPOCHS)
        program.wait_until_it_holds_the_run()
        while not any((workdir / "killed").rglob("last.ckpt")):
            assert not program.ended_within(0.02)
        program.ended_within(draws.uniform(0.1, 0.5))
        program.kill()
        if any((workdir / "killed").rglob("last.ckpt")):
            calls, last = batches_done(workdir / "killed")
            within += calls < 25 and not last
    assert within >= 2
    resumed = run(*LONG_EPOCHS, "run_dir=killed").path
    assert_same_results(resumed, expected)
