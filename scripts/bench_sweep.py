"""What a sweep costs beside its runs: a cell that does next to nothing, and cells that are done.

    python scripts/bench_sweep.py [--cells 100]

A cell fits a linear probe to 20 digits and ends. Its overhead is the seconds of a sweep of one cell
beyond those of a process that imports the same modules, in turns. Then a sweep of --cells such
cells, and the same command again, which finds all of them done. Prints a Markdown table and writes
results/bench_sweep.json.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from alframe.cli.versions import git_state, versions

RESULTS = Path(__file__).parents[1] / "results"
CELL = (
    "learner@target=probe", "trainer=cpu", "logger=[]", "data.subset=300", "data.validation=100",
    "data.test=100", "schedule.initial=20", "schedule.budget=20",
)  # fmt: skip
TOLD = """
import atexit, sys
atexit.register(lambda: open({!r}, "w").write("\\n".join(sys.modules)))
from alframe.cli import main
main()
"""


def timed(command: Sequence[str], cwd: Path) -> float:
    """Returns the seconds of a command, which must go well."""
    start = time.perf_counter()
    done = subprocess.run(command, cwd=cwd, capture_output=True, text=True, check=False)
    seconds = time.perf_counter() - start
    if done.returncode:
        sys.exit(done.stderr)
    return seconds


def alframe(*words: str) -> list[str]:
    """Returns the command of a sweep."""
    return [sys.executable, "-m", "alframe", "-m", *CELL, *words]


def imported_by_a_cell(folder: Path) -> list[str]:
    """Returns the modules that a sweep of one cell imports, in their order."""
    names = folder / "modules.txt"
    code = TOLD.format(str(names))
    timed([sys.executable, "-c", code, "-m", *CELL, "hydra.sweep.dir=first"], folder)
    return [n for n in names.read_text().split() if n.isidentifier() or "." in n]


def imports(modules: Sequence[str], folder: Path) -> list[str]:
    """Returns a command that only imports modules, those that can be imported by name."""
    file = folder / "imports.py"
    file.write_text(
        "import importlib\n"
        f"for name in {list(modules)!r}:\n"
        "    try:\n        importlib.import_module(name)\n"
        "    except Exception:\n        pass\n"
    )
    return [sys.executable, str(file)]


def measured(cells: int, repeats: int) -> dict[str, float]:
    """Returns all seconds."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        only = imports(imported_by_a_cell(folder), folder)
        pairs = [
            (timed(alframe(f"hydra.sweep.dir=one_{i}"), folder), timed(only, folder))
            for i in range(repeats)
        ]
        sweep = alframe(f"seed=range({cells})", "hydra.sweep.dir=many")
        made, skipped = timed(sweep, folder), timed(sweep, folder)
    return {
        "one_cell": statistics.median(one for one, _ in pairs),
        "imports": statistics.median(other for _, other in pairs),
        "overhead": statistics.median(one - other for one, other in pairs),
        "made": made,
        "each_further_cell": (made - pairs[0][0]) / (cells - 1),
        "skipped": skipped,
    }


def main() -> None:
    """Measures, prints and writes."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", maxsplit=1)[0])
    parser.add_argument("--cells", type=int, default=100)
    parser.add_argument("--repeats", type=int, default=5)
    options = parser.parse_args()
    seconds = {k: round(v, 2) for k, v in measured(options.cells, options.repeats).items()}
    print("| what | seconds |\n|---|---|")
    for words, key in (
        ("a sweep of one cell", "one_cell"),
        ("a process that imports the same", "imports"),
        ("overhead of the cell, median of the differences", "overhead"),
        (f"a sweep of {options.cells} cells", "made"),
        ("each further cell", "each_further_cell"),
        (f"the same command again: {options.cells} cells are skipped", "skipped"),
    ):
        print(f"| {words} | {seconds[key]} |")
    kept = {
        "command": f"python scripts/bench_sweep.py --cells {options.cells}",
        "device": f"cpu: {os.cpu_count()} cores",
        "versions": versions(),
        "git": git_state(),
        "seeds": f"0 to {options.cells - 1}",
        "date": datetime.now(UTC).date().isoformat(),
        "seconds": seconds,
    }
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / "bench_sweep.json").write_text(json.dumps(kept, indent=1) + "\n")


if __name__ == "__main__":
    main()
