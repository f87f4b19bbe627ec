"""Runs of a second, and what they leave behind."""

import os
import subprocess
import sys
from pathlib import Path

import pandas as pd

from alframe.record import is_cost

ROOT = Path(__file__).parents[1]

DATA = ("data.subset=300", "data.validation=100", "data.test=100")
ACTIVE = (
    "learner@target=probe",
    "schedule.initial=20",
    "schedule.query_size=10",
    "schedule.budget=40",
    *DATA,
)
QUIET = ("logger=[]",)
CNN_FITS = (
    "data.subset=300",
    "data.validation=100",
    "data.test=100",
    "learner@target=small_cnn",
    "target.recipe.min_steps=0",
    "target.recipe.checkpoint_seconds=0",
    "target.recipe.curve_every=2",
    "trainer=cpu",
    *QUIET,
)
CORE_SET = ("pipeline=core_set", "learner@target=probe", "learner@proxy=probe", *DATA)


def environment(**extra: str) -> dict[str, str]:
    """Returns the environment of a process that finds alframe, installed or not, and test parts."""
    paths = [str(ROOT), str(ROOT / "tests"), *os.environ.get("PYTHONPATH", "").split(os.pathsep)]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, paths)), **extra}


def alframe(*words: str, cwd: Path, **extra: str) -> "subprocess.CompletedProcess[str]":
    """Runs the program in a process of its own."""
    return subprocess.run(
        [sys.executable, "-m", "alframe", *words],
        cwd=cwd,
        env=environment(**extra),
        capture_output=True,
        text=True,
        check=False,
    )


def metrics(path: Path, timings: bool = False) -> pd.DataFrame:
    """Reads ``metrics.csv``; without the costs, two runs of one config have equal ones."""
    table = pd.read_csv(path / "metrics.csv")
    kept = [name for name in table if timings or not is_cost(str(name))]
    return table[kept]


def selections(path: Path) -> pd.DataFrame:
    """Reads ``selections.parquet``."""
    return pd.read_parquet(path / "selections.parquet")


def assert_same_results(path: Path, expected: Path) -> None:
    """Compares the tables of two runs, timings aside, to the last bit."""
    pd.testing.assert_frame_equal(metrics(path), metrics(expected), check_exact=True)
    pd.testing.assert_frame_equal(selections(path), selections(expected), check_exact=True)
