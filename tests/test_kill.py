"""The program itself, killed by the system at random moments and started again."""

import random
import shutil
import signal
import subprocess
import sys
import time

import pytest
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

    def __init__(self, cwd):
        command = [sys.executable, "-m", "alframe", *SUBPROCESS, "run_dir=killed"]
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


def kill_and_resume(folder, delays, expected):
    """Kills the program after each delay; starts over where it ends before all are used up.

    Returns:
        Whether a kill left a checkpoint, which is one inside a fit.
    """
    inside = False
    for delay in delays:
        program = Program(folder)
        program.wait_until_it_holds_the_run()
        if program.ended_within(delay):
            program.process.communicate()
            assert_same_results(folder / "killed", expected)
            shutil.rmtree(folder / "killed")
            program = Program(folder)
            program.wait_until_it_holds_the_run()
            program.ended_within(delay / 4)
        program.kill()
        inside = inside or any((folder / "killed").rglob("last.ckpt"))
    return inside


def undisturbed_run():
    """Returns an undisturbed run in this process, and its seconds."""
    start = time.perf_counter()
    path = run(*SUBPROCESS, "run_dir=undisturbed").path
    return path, time.perf_counter() - start


def test_killed_twice_by_the_system(workdir):
    expected, seconds = undisturbed_run()
    draws = random.Random(0)
    kill_and_resume(workdir, [draws.uniform(0.05, 0.3) * seconds for _ in range(2)], expected)
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
