"""The benchmarks of training run, on a few steps; their times are not looked at."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from tiny_runs import environment

ROOT = Path(__file__).parents[2]


pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif("ALFRAME_DATA_DIR" not in os.environ, reason="needs CIFAR-10"),
]


def small_table(name):
    """Returns the rows that a benchmark prints, after a look that it keeps nothing."""
    kept = ROOT / "results" / f"{name}.json"
    before = kept.read_bytes() if kept.is_file() else None
    done = subprocess.run(
        [sys.executable, ROOT / "scripts" / f"{name}.py", "--small"],
        env=environment(),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert (kept.read_bytes() if kept.is_file() else None) == before
    return [line.split(" | ") for line in done.stdout.splitlines() if line.startswith("| ")][1:]


def test_the_small_benchmark_of_steps_runs_and_keeps_nothing():
    rows = small_table("bench_training")
    assert {row[0].removeprefix("| ") for row in rows} >= {
        "batches of 128",
        "ResNet-20, step of 128",
    }
    assert {"bare loop", "alframe"} <= {row[1] for row in rows}
    assert all(float(row[2]) > 0 for row in rows)


def test_the_small_benchmark_of_learning_runs_and_keeps_nothing():
    rows = small_table("bench_learning")
    assert [row[0].removeprefix("| ") for row in rows] == ["bare PyTorch loop", "alframe"]
