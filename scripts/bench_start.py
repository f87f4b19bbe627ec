"""What alframe's two settings of Python and OpenBLAS save: in a short run, and in a probe's fits.

    python scripts/bench_start.py [--small]

Runs a short search on digits in processes of their own, in turns: as it is, and with Python looking
for garbage all the time (see alframe/cli/garbage.py). Fits linear probes to random rows in
processes of their own, in turns: with OPENBLAS_THREAD_TIMEOUT as `import alframe` sets it, and with
28, which OpenBLAS takes where nothing is set. Prints two Markdown tables and writes
results/bench_start.json (with --small: fewer of all, and nothing is kept).
"""

from __future__ import annotations

import argparse
import contextlib
import gc
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

HERE = Path(__file__)
RESULTS = HERE.parents[1] / "results"
SEED = 0
RUN = (
    "data=digits", "learner@target=probe", "strategy=margin", "logger=[]", "trainer=cpu",
    f"seed={SEED}",
)  # fmt: skip
FITS = ((305, 256, 2), (3_000, 256, 2), (2_000, 64, 10), (5_000, 3_072, 10))
"""Rows, width and classes; the first one is the first round of bench_seals.py."""
WAITING = "OPENBLAS_THREAD_TIMEOUT"
VARIANTS = {"garbage": ("as it is", "looked for"), "waiting": ("as set", "28")}


def collecting(work: Callable[[], object]) -> dict[str, float]:
    """Returns the seconds of some work, and those of them that looking for garbage takes."""
    taken, began = [0.0], [0.0]

    def note(phase: str, _: object) -> None:
        if phase == "start":
            began[0] = time.perf_counter()
        else:
            taken[0] += time.perf_counter() - began[0]

    gc.callbacks.append(note)
    start = time.perf_counter()
    work()
    seconds = time.perf_counter() - start
    gc.callbacks.remove(note)
    return {"seconds": seconds, "garbage": taken[0]}


def one_run(variant: str) -> dict[str, float]:
    """Makes a run in this process, which has imported nothing yet."""

    def work() -> None:
        from alframe.cli import garbage, run

        if variant == "looked for":
            garbage.put_off = contextlib.nullcontext  # type: ignore[assignment]
            garbage.leave_out = lambda: None
        with tempfile.TemporaryDirectory() as folder:
            run(*RUN, f"run_dir={folder}/run")

    return collecting(work)


def fits(repeats: int) -> list[float]:
    """Returns the median seconds of each fit in this process."""
    import alframe  # noqa: F401, I001 before numpy, whose OpenBLAS reads the variable once
    import numpy as np

    from alframe.data.dataset import Splits, build_dataset
    from alframe.learners.probe import ProbeLearner
    from alframe.protocols import View
    from alframe.tasks.classification import Classification

    found = []
    for rows, width, classes in FITS:
        rng = np.random.default_rng(SEED)
        labels = np.arange(rows) % classes
        points = rng.standard_normal((rows, width), dtype=np.float32)
        data = build_dataset(
            "random", (points, labels), (points[:100], labels[:100]), None, Splits(), False
        )
        learner, every = ProbeLearner(data, Classification(data)), View(np.arange(rows), labels)
        taken = []
        for _ in range(1 + repeats):  # the first one imports
            start = time.perf_counter()
            learner.fit(every, rng, (), None)  # type: ignore[arg-type]
            taken.append(time.perf_counter() - start)
        found.append(statistics.median(taken[1:]))
    return found


def child(what: str, variant: str, repeats: int) -> Any:
    """Returns what this script finds in a process of its own."""
    environment = {key: value for key, value in os.environ.items() if key != WAITING}
    if variant == "28":
        environment[WAITING] = variant
    words = [sys.executable, str(HERE), "--child", what, variant, str(repeats)]
    done = subprocess.run(words, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(done.stderr)
    return json.loads(done.stdout.splitlines()[-1])


def measured(turns: int, repeats: int) -> dict[str, Any]:
    """Returns medians over turns, by what was measured and by variant."""
    seen: dict[str, dict[str, list[Any]]] = {
        what: {variant: [] for variant in variants} for what, variants in VARIANTS.items()
    }
    for _ in range(turns):
        for what, variants in VARIANTS.items():
            for variant in variants:
                seen[what][variant].append(child(what, variant, repeats))
    runs = {
        variant: {key: statistics.median(one[key] for one in made) for key in made[0]}
        for variant, made in seen["garbage"].items()
    }
    by_fit = {
        variant: [statistics.median(times) for times in zip(*made, strict=True)]
        for variant, made in seen["waiting"].items()
    }
    return {"runs": runs, "fits": by_fit}


def tables(found: dict[str, Any]) -> str:
    """Returns two Markdown tables."""
    lines = ["| garbage is | run, s | of it looking for garbage, s |", "|---|---|---|"]
    for variant, run in found["runs"].items():
        lines.append(f"| {variant} | {run['seconds']:.2f} | {run['garbage']:.2f} |")
    lines += ["", "| probe's fit | as set, ms | 28, ms | times |", "|---|---|---|---|"]
    for fit, short, long in zip(FITS, found["fits"]["as set"], found["fits"]["28"], strict=True):
        rows, width, classes = fit
        name = f"{rows:,} x {width:,}, {classes} classes"
        lines.append(f"| {name} | {1e3 * short:.1f} | {1e3 * long:.1f} | {long / short:.1f} |")
    return "\n".join(lines)


def main(words: Sequence[str] | None = None) -> None:
    """Measures all and writes the tables."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", maxsplit=1)[0])
    parser.add_argument("--small", action="store_true", help="fewer of all; nothing is kept")
    parser.add_argument("--child", nargs=3, help=argparse.SUPPRESS)
    options = parser.parse_args(words)
    if options.child:
        what, variant, repeats = options.child
        found = one_run(variant) if what == "garbage" else fits(int(repeats))
        print(json.dumps(found))
        return
    results = measured(1, 1) if options.small else measured(5, 5)
    print(tables(results))
    if options.small:
        return
    import torch

    from alframe.cli.versions import git_state, versions

    kept = {
        "command": "python scripts/bench_start.py",
        "device": f"cpu: {torch.get_num_threads()} threads of {os.cpu_count()} cores",
        "versions": versions(),
        "git": git_state(),
        "seeds": [SEED],
        "date": datetime.now(UTC).date().isoformat(),
        **results,
    }
    (RESULTS / "bench_start.json").write_text(json.dumps(kept, indent=1) + "\n")


if __name__ == "__main__":
    main()
