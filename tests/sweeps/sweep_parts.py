"""Sweeps of a few seconds."""

import json
import os
import signal
import subprocess
import sys
import time

import pandas as pd
from tiny_runs import ACTIVE, CNN_FITS, assert_same_results, environment

SWEPT = ("strategy=random,margin", "seed=0,1")
PROBES = (*ACTIVE, "logger=[]", "trainer=cpu")
SLOW_FITS = (
    *CNN_FITS,
    "target.model._target_=unhurried.UnhurriedCNN",
    "target.recipe.epochs=8",
    "schedule.initial=20",
    "schedule.query_size=20",
    "schedule.budget=60",
)
"""A cell takes some seconds, so that it can be killed in its middle."""


class Sweep:
    """The program itself, making a sweep in a process group that can be killed."""

    def __init__(self, folder, *words, cwd):
        self.folder = folder
        command = [sys.executable, "-m", "alframe", "-m", *words, f"hydra.sweep.dir={folder}"]
        self._said = folder.parent / f"said_{time.monotonic_ns()}.txt"  # a pipe outlives a kill
        with self._said.open("w") as said:
            self.process = subprocess.Popen(
                command, cwd=cwd, env=environment(OMP_NUM_THREADS="1"), start_new_session=True,
                stdout=said, stderr=subprocess.STDOUT,
            )  # fmt: skip

    def cells(self):
        return json.loads((self.folder / "sweep.json").read_text())["cells"]

    def states(self):
        """The state of each run that has begun, by cell."""
        found = self.folder.glob("*/status.json")
        return {path.parent.name: json.loads(path.read_text())["state"] for path in found}

    def ended(self, code=0):
        """Waits for the end, and returns what was printed."""
        self.process.wait(timeout=300)
        said = self._said.read_text()
        assert self.process.returncode == code, said
        return said

    def kill(self, everything=True):
        """Kills all processes, or only the launcher."""
        if everything:
            os.killpg(self.process.pid, signal.SIGKILL)
        else:
            self.process.kill()
        self.process.wait()


def stamps(folder):
    """When each table of each run was written."""
    return {path: path.stat().st_mtime_ns for path in folder.glob("*/metrics.csv")}


def assert_same_sweep(folder, expected, cells):
    """Compares the results of all cells, to the last bit."""
    for name in cells:
        assert_same_results(folder / name, expected / name)


def starts(folder):
    """How often each cell was resumed."""
    found = folder.glob("*/status.json")
    return {p.parent.name: len(json.loads(p.read_text()).get("resumed", [])) for p in found}


def rows(path):
    return pd.read_parquet(path / "selections.parquet")
