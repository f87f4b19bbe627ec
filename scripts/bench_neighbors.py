"""Exact search against FAISS Flat: the same rows, and the ratio of their times.

    python scripts/bench_neighbors.py --rows 200000 --width 128 --k 100 --queries 1000 10000

The two take turns. Their times are the least of the rounds, in seconds, which other work on the
machine disturbs least; the ratio is that of these times, and the one of the round in the middle is
beside it. Writes results/bench_neighbors.json.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import faiss
import numpy as np
import torch

from alframe.cli.versions import git_state, versions
from alframe.neighbors.exact import ExactIndex
from alframe.neighbors.source import ArraySource

RESULTS = Path(__file__).parents[1] / "results"


def timed(work: Callable[[], Any]) -> tuple[float, Any]:
    """Returns the seconds that work took, and its result."""
    start = time.perf_counter()
    result = work()
    return time.perf_counter() - start, result


def compare(points: np.ndarray, queries: np.ndarray, k: int, rounds: int) -> dict[str, Any]:
    """Returns the times of both on the same input, having checked that the rows agree."""
    exact = ExactIndex(device="cpu")
    built, _ = timed(lambda: exact.build(ArraySource(points, "benchmark")))
    flat = faiss.IndexFlatL2(points.shape[1])
    flat.add(points)
    seconds = []
    for _ in range(rounds):
        mine, (_, rows) = timed(lambda: exact.search(queries, k))
        theirs, (_, peer_rows) = timed(lambda: flat.search(queries, k))
        seconds.append((mine, theirs))
    hits = [len({*a} & {*b}) for a, b in zip(rows.tolist(), peer_rows.tolist(), strict=True)]
    same = sum(hits) / rows.size
    mine, theirs = (min(times) for times in zip(*seconds, strict=True))
    assert same > 0.9999, f"only {same} of the rows agree"
    return {
        "queries": len(queries),
        "build_seconds": round(built, 3),
        "exact_seconds": round(mine, 3),
        "faiss_seconds": round(theirs, 3),
        "ratio": round(mine / theirs, 3),
        "ratio_in_the_middle": round(float(np.median([a / b for a, b in seconds])), 3),
        "rows_in_common": same,
    }


def main() -> None:
    """Prints one line of JSON for each number of queries."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=200_000)
    parser.add_argument("--width", type=int, default=128)
    parser.add_argument("--k", type=int, default=100)
    parser.add_argument("--queries", type=int, nargs="+", default=[1000, 10_000])
    parser.add_argument("--rounds", type=int, default=11)
    options = parser.parse_args()
    rng = np.random.default_rng(0)
    points = rng.standard_normal((options.rows, options.width), dtype=np.float32)
    setting = {
        "rows": options.rows, "width": options.width, "k": options.k, "faiss": faiss.__version__,
    }  # fmt: skip
    found = []
    for number in options.queries:
        queries = rng.standard_normal((number, options.width), dtype=np.float32)
        found.append(compare(points, queries, options.k, options.rounds))
        print(json.dumps({**setting, **found[-1]}))
    kept = {
        "command": f"python scripts/bench_neighbors.py {' '.join(sys.argv[1:])}".strip(),
        "device": f"cpu: {torch.get_num_threads()} threads of {os.cpu_count()} cores",
        "versions": versions(),
        "git": git_state(),
        "seed": 0,
        "date": datetime.now(UTC).date().isoformat(),
        **setting,
        "found": found,
    }
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / "bench_neighbors.json").write_text(json.dumps(kept, indent=1) + "\n")


if __name__ == "__main__":
    main()
