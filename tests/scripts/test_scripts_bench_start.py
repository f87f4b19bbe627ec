"""The benchmark of a run's start runs; its times are not looked at."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from tiny_runs import environment

ROOT = Path(__file__).parents[2]


@pytest.mark.slow
def test_the_small_benchmark_of_a_start_runs_and_keeps_nothing():
    kept = ROOT / "results" / "bench_start.json"
    before = kept.read_bytes() if kept.is_file() else None
    done = subprocess.run(
        [sys.executable, ROOT / "scripts" / "bench_start.py", "--small"],
        env=environment(),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert (kept.read_bytes() if kept.is_file() else None) == before
    lines = [line for line in done.stdout.splitlines() if line.startswith("| ")]
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    assert [row[0] for row in rows[1:3]] == ["as it is", "looked for"]
    for seconds, garbage in ([float(cell) for cell in row[1:]] for row in rows[1:3]):
        assert 0 <= garbage < seconds
    assert len(rows) == 3 + 1 + 4
