"""How fast a probe looks at all rows of a pool, against sums over the same files."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from seals_pool import SIZES

from alframe.data.embedded import embedded
from alframe.data.one_against_rest import one_against_rest
from alframe.functional import least_confidence
from alframe.functional.arrays import as_tensor
from alframe.functional.threads import each_in_its_thread
from alframe.learners.linear_scan import CHUNK_BYTES
from alframe.learners.probe import ProbeLearner
from alframe.protocols import Need, View
from alframe.store import Store
from alframe.tasks.rare_concept import RareConcept

Paths = Mapping[str, Path]


def speeds(paths: Paths, repeats: int) -> dict[str, Any]:
    """Returns GB/s of the probe's look at all rows, and of sums over the same files, in turns."""
    data = embedded(**{name: str(path) for name, path in paths.items()}, keep_gib=0)
    data = one_against_rest(data, next(iter(SIZES)))
    task, store = RareConcept(data, 5, 300), data.stores["train"]
    rows = task.initial_rows(305, data.pool_rows, np.random.default_rng(0))
    learner = ProbeLearner(data, task)
    fitted = learner.fit(View(rows, data.reveal(rows)), np.random.default_rng(0), (), None)  # type: ignore[arg-type]
    need, others = Need("probs", reduce=least_confidence), np.setdiff1d(data.pool_rows, rows, True)
    contenders: dict[str, Callable[[], object]] = {
        "probe": lambda: fitted.observe({need: others}),
        "sum in chunks": lambda: sum_in_chunks(store),
        "sum by numpy": lambda: [chunk.sum(dtype=np.float32) for _, chunk in store.chunks(2**20)],
        "sum by torch": lambda: [
            as_tensor(chunk).sum(dtype=torch.float32) for _, chunk in store.chunks(2**20)
        ],
        "sum of the bytes": lambda: sum_of_bytes(store),
    }
    size = 2 * store.num_rows * store.width
    for work in (sum_of_bytes, sum_in_chunks):  # the file is cached from here on
        work(store)
    turns = [{name: size / took(work) / 1e9 for name, work in contenders.items()}
             for _ in range(repeats)]  # fmt: skip
    found = {name: statistics.median(turn[name] for turn in turns) for name in contenders}
    ratios = {name: statistics.median(turn["probe"] / turn[name] for turn in turns)
              for name in contenders if name != "probe"}  # fmt: skip
    return {"gb_per_second": rounded(found), "probe_against": rounded(ratios)}


def sum_in_chunks(store: Store) -> float:
    """Sums the values in float32 in threads, as many rows at a time as the probe looks at."""
    rows = CHUNK_BYTES // (4 * store.width)

    def work(chunks: Sequence[np.ndarray]) -> float:
        block, total = torch.empty(rows, store.width), 0.0
        for chunk in chunks:
            for part in torch.split(as_tensor(chunk), rows):
                total += float(block[: len(part)].copy_(part).sum())
        return total

    return sum(each_in_its_thread(work, [chunk for _, chunk in store.chunks(2**14)]))


def sum_of_bytes(store: Store) -> int:
    """Sums the bytes of the files as integers of 64 bits: as fast as memory is."""
    chunks = [chunk.view(np.uint64) for _, chunk in store.chunks(4096)]
    return sum(each_in_its_thread(lambda some: sum(int(c.sum()) for c in some), chunks))


def took(work: Callable[[], object]) -> float:
    """Returns the seconds that work takes."""
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def rounded(numbers: Mapping[str, float]) -> dict[str, float]:
    """Returns numbers for people."""
    return {name: float(f"{number:.4g}") for name, number in numbers.items()}
