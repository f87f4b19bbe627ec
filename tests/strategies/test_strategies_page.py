"""The page of all strategies says what their docstrings say."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from strategy_worlds import NAMES

ROOT = Path(__file__).parents[2]


def test_the_page_is_current():
    program = [sys.executable, ROOT / "scripts" / "strategies_page.py", "--check"]
    done = subprocess.run(program, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_the_page_says_the_same_things_of_every_strategy():
    page = (ROOT / "alframe" / "strategies" / "README.md").read_text()
    for name in NAMES:
        entry = page.split(f"\n## {name}\n")[1].split("\n## ")[0]
        wanted = (
            ["Needs", "Cost"] if name == "random" else ["Needs", "Cost", "Source", "Deviations"]
        )
        assert [part for part in wanted if f"- **{part}**: " not in entry] == [], name
