"""A store gives the rows that were written, and is of what it says.

The plain twin of every store here is one array in memory.
"""

from __future__ import annotations

import hashlib
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from store_parts import (
    PARTS,
    PER_SHARD,
    POINTS,
    ROWS,
    WIDTH,
    contents,
    fill,
)
from tiny_runs import environment

from alframe.errors import UserError
from alframe.store import Store
from alframe.store.plan import Plan
from alframe.store.writer import StoreWriter, Work


@pytest.mark.parametrize("dtype", ["float16", "float32"])
@pytest.mark.parametrize("per_shard", [77, 300, 1000, 5000])
def test_rows_come_back_in_every_order(folder, dtype, per_shard):
    fill(folder, dtype=dtype, per_shard=per_shard)
    store, stored = Store.open(folder), POINTS.astype(dtype)
    assert (store.num_rows, store.width, store.dtype) == (ROWS, WIDTH, dtype)
    rng = np.random.default_rng(1)
    for rows in ([], [999], [5, 5, 0, 999, 299, 300], rng.permutation(ROWS)):
        taken = store.take(np.array(rows, dtype=np.int64))
        assert taken.dtype == np.float32
        np.testing.assert_array_equal(taken, stored[list(rows)].astype(np.float32))


@pytest.mark.parametrize("dtype", ["float16", "float32"])
@pytest.mark.parametrize("per_shard", [77, 1000])
def test_ascending_rows_are_picked_into_room_for_a_few(folder, dtype, per_shard):
    fill(folder, dtype=dtype, per_shard=per_shard)
    store, stored = Store.open(folder), POINTS.astype(dtype)
    room = np.empty((10, WIDTH), dtype)
    for rows in ([], [0], [76, 77, 78, 999], np.arange(0, ROWS, 7)):
        seen = 0
        for before, few in store.picked(np.array(rows, dtype=np.int64), room):
            assert before == seen
            assert np.shares_memory(few, room)
            np.testing.assert_array_equal(few, stored[list(rows[seen : seen + len(few)])])
            seen += len(few)
        assert seen == len(rows)
    for wrong in (-1, ROWS):
        with pytest.raises(IndexError, match="is not among"):
            next(store.picked(np.array([wrong]), room))


def test_many_rows_are_taken_in_blocks(folder, monkeypatch):
    fill(folder)
    monkeypatch.setattr("alframe.store.reading.TAKEN_AT_ONCE", 64)
    rows = np.random.default_rng(2).integers(0, ROWS, 1500)
    expected = POINTS.astype(np.float16).astype(np.float32)[rows]
    np.testing.assert_array_equal(Store.open(folder).take(rows), expected)


@pytest.mark.parametrize("size", [1, 64, 300, 5000])
def test_chunks_are_views_of_the_files_in_row_order(folder, size):
    fill(folder)
    chunks = list(Store.open(folder).chunks(size))
    assert max(len(chunk) for _, chunk in chunks) == min(size, PER_SHARD)
    starts = np.cumsum([0, *(len(chunk) for _, chunk in chunks)])
    assert [start for start, _ in chunks] == starts[:-1].tolist()
    whole = np.concatenate([chunk for _, chunk in chunks])
    assert whole.dtype == np.float16
    np.testing.assert_array_equal(whole, POINTS.astype(np.float16))
    assert not any(chunk.flags.owndata or chunk.flags.writeable for _, chunk in chunks)


@pytest.mark.parametrize("rows", [[-1], [ROWS], [0.5], [[1]], ["a"]])
def test_what_is_no_row_is_not_taken(folder, rows):
    fill(folder)
    with pytest.raises(IndexError, match="row"):
        Store.open(folder).take(np.array(rows))


def test_numpy_alone_reads_a_shard(folder):
    fill(folder)
    shards = [np.load(path, mmap_mode="r") for path in sorted(folder.glob("shard_*.npy"))]
    assert [shard.shape for shard in shards] == [(300, 6), (300, 6), (300, 6), (100, 6)]
    assert all(isinstance(shard, np.memmap) for shard in shards)
    np.testing.assert_array_equal(np.concatenate(shards), POINTS.astype(np.float16))


def test_a_finished_store_holds_nothing_else_and_the_checksums_of_its_files(folder):
    fill(folder)
    files, manifest = contents(folder)
    assert sorted(files) == [f"shard_{i:05d}.npy" for i in range(4)]
    sums = {str(i): hashlib.sha256(files[name]).hexdigest() for i, name in enumerate(sorted(files))}
    assert {i: record["sha256"] for i, record in manifest["shards"].items()} == sums
    assert manifest["state"] == "complete"


SCAN = """
import sys
import numpy as np
from alframe.store import Store

def anonymous():
    lines = open("/proc/self/status").read().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("RssAnon")) * 1024

store = Store.open(sys.argv[1])
weights = np.ones(store.width, np.float32)
before = anonymous()
scores = sum(float((chunk.astype(np.float32) @ weights).sum()) for _, chunk in store.chunks(1024))
print(anonymous() - before, scores)
"""


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="Linux tells it")
def test_a_scan_takes_no_memory_of_its_own(folder):
    """64 MiB of float16 values; a chunk of 1024 rows as float32 is 1 MiB."""
    rows, width = 2**17, 256
    block = np.ones((4096, width), np.float32)
    writer = StoreWriter(folder, Plan(PARTS, rows, width, rows_per_shard=50_000))
    writer.fill(Work(lambda start, stop: block[: stop - start], 4096))
    command = [sys.executable, "-c", SCAN, str(folder)]
    done = subprocess.run(
        command, env=environment(OMP_NUM_THREADS="1"), capture_output=True, text=True, check=True
    )
    grown, total = done.stdout.split()
    assert float(total) == rows * width
    assert int(grown) < 16 * 2**20


def test_the_key_is_of_what_the_embeddings_are_of_and_not_of_the_layout(tmp_path):
    keys = {}
    for name, options in {
        "one": {},
        "other shards": {"per_shard": 77},
        "float32": {"dtype": "float32"},
        **{part: {"parts": {**PARTS, part: "other"}} for part in PARTS},
    }.items():
        fill(tmp_path / name, **options)
        keys[name] = Store.open(tmp_path / name).key
    assert keys["one"] == keys["other shards"]
    assert len(set(keys.values())) == len(keys) - 1


OTHERS = {
    "weights": ({"parts": {**PARTS, "weights": "new"}}, "weights none -> new"),
    "dtype": ({"dtype": "float32"}, "dtype float16 -> float32"),
    "rows": ({"rows": 999}, "rows 1000 -> 999"),
    "rows_per_shard": ({"per_shard": 10}, "rows_per_shard 300 -> 10"),
}


@pytest.mark.parametrize("name", OTHERS)
def test_a_store_of_something_else_is_not_gone_on_with(folder, expected, name):
    fill(folder)
    options, says = OTHERS[name]
    with pytest.raises(UserError, match=rf"out=.*changed are {says}; use another out"):
        fill(folder, **options)
    assert contents(folder) == expected


def test_without_rows_per_shard_those_of_the_store_are_kept(folder):
    fill(folder)
    assert fill(folder, per_shard=None).found == 4


def test_a_folder_with_other_files_is_refused(folder):
    folder.mkdir()
    (folder / "notes.txt").write_text("mine")
    with pytest.raises(UserError, match=r"out=.* is not empty and holds no store"):
        fill(folder)
    assert [path.name for path in folder.iterdir()] == ["notes.txt"]


def test_what_is_seen_of_files_changes_where_one_is_written_to(folder):
    fill(folder)
    store = Store.open(folder)
    before = store.seen().files
    assert list(before) == sorted(path.name for path in folder.glob("shard_*.npy"))
    store.verify()
    assert store.seen().files == before
    path = folder / "shard_00001.npy"
    path.write_bytes(path.read_bytes())
    after = Store.open(folder).seen().files
    assert [name for name, about in after.items() if before[name] != about] == [path.name]


READ_ALL = """
import os, resource, sys
from alframe.errors import UserError
from alframe.store import Store

soft, hard = int(sys.argv[2]), int(sys.argv[3])
resource.setrlimit(resource.RLIMIT_NOFILE, (soft + len(os.listdir("/dev/fd")), hard))
try:
    stores = [Store.open(sys.argv[1]) for _ in range(3)]
    print("opened")
    for store in stores:
        print(sum(float(chunk.sum(dtype=float)) for _, chunk in store.chunks(100)))
    others = [open(os.devnull) for _ in range(100)]
except UserError as error:
    print(error)
"""


def read_all(folder, soft, hard):
    """Reads three stores in a process that may open so many files more, and raise that limit."""
    command = [sys.executable, "-c", READ_ALL, str(folder), str(soft), str(hard)]
    done = subprocess.run(command, env=environment(), capture_output=True, text=True, check=True)
    return done.stdout.splitlines()


def test_stores_may_have_more_files_than_a_process_may_open_at_first(folder):
    fill(folder, chunk=4, per_shard=4, checkpoint=60)
    for soft in (50, 250, 755):  # for no store, for just one, for just all
        said = read_all(folder, soft, 4096)
        assert said[0] == "opened"
        total = POINTS.astype(np.float16).sum(dtype=float)
        assert [float(found) for found in said[1:]] == [total] * 3
    opened, first, last = read_all(folder, 50, 400)  # enough for one of them
    assert (opened, float(first)) == ("opened", total)
    assert f"{folder} has 250 files" in last
    assert "expected a limit of open files above that, got 400 (hard limit: 400); raise it" in last
    (refused,) = read_all(folder, 50, 240)  # before anything is read
    assert "expected a limit of open files above that, got " in refused
