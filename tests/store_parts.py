"""A small store, and the array in memory that is its plain twin."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np

from alframe.store.plan import Plan
from alframe.store.writer import Filled, StoreWriter, Work

ROWS, WIDTH, PER_SHARD = 1000, 6, 300
POINTS = np.random.default_rng(0).normal(size=(ROWS, WIDTH)).astype(np.float32)
PARTS = {"inputs": "abc", "split": "train", "encoder": "raw", "weights": "none"}


def plan(dtype="float16", rows=ROWS, per_shard=PER_SHARD, parts=PARTS) -> Plan:
    return Plan(parts, rows, WIDTH, dtype, per_shard)


def embed(start, stop):
    return POINTS[start:stop]


def fill(
    folder, source=embed, chunk=70, invalid="refuse", part=(1, 1), checkpoint=5.0, **options
) -> Filled:
    writer = StoreWriter(folder, plan(**options), invalid)
    return writer.fill(Work(source, chunk, part, checkpoint_seconds=checkpoint))


def contents(folder) -> tuple[dict[str, bytes], dict[str, object]]:
    """The bytes of every file of a store, and its manifest without dates."""
    files = {path.name: path.read_bytes() for path in Path(folder).iterdir()}
    manifest = json.loads(files.pop("store.json"))
    del manifest["about"], files["store.lock"]
    return files, manifest


class Crash(BaseException):
    """Stands for a kill: nothing catches it."""


def crashing_at(row, source=embed):
    def crashing(start, stop):
        if start == row:
            raise Crash
        return source(start, stop)

    return crashing


def child(folder, code):
    """Runs code in a process that can be killed; it is given this folder and the store's."""
    from tiny_runs import environment  # slow to import, and children import this file, too

    return subprocess.Popen(
        [sys.executable, "-c", code, str(Path(__file__).parent), str(folder)],
        env=environment(),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
