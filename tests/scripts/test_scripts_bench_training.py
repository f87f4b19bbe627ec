"""The benchmarks of training run, on a few steps; their times are not looked at."""

from __future__ import annotations

import os

import pytest
from script_parts import small_tables

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif("ALFRAME_DATA_DIR" not in os.environ, reason="needs CIFAR-10"),
]


def test_the_small_benchmark_of_steps_runs_and_keeps_nothing():
    rows = small_tables("bench_training")[1:]
    assert {row[0] for row in rows} >= {
        "batches of 128",
        "ResNet-20, step of 128",
    }
    assert {"bare loop", "alframe"} <= {row[1] for row in rows}
    assert all(float(row[2]) > 0 for row in rows)


def test_the_small_benchmark_of_learning_runs_and_keeps_nothing():
    rows = small_tables("bench_learning")[1:]
    assert [row[0] for row in rows] == ["bare PyTorch loop", "alframe"]
