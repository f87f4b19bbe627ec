"""What the tests of benchmarks share."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from tiny_runs import environment

ROOT = Path(__file__).parents[2]


def small_tables(name):
    """Returns the cells of the Markdown tables that a script prints with --small.

    After a look at its exit code, and that it changed no kept result.
    """
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
    lines = [line for line in done.stdout.splitlines() if line.startswith("| ")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
