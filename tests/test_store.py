"""Embeddings on disk: written in shards, killed and gone on with, refused where something is wrong.

The plain twin of every store here is one array in memory.
"""

from __future__ import annotations

import errno
import hashlib
import os
import subprocess
import sys
from collections import namedtuple
from pathlib import Path

import numpy as np
import pytest
from store_parts import PARTS, PER_SHARD, POINTS, ROWS, WIDTH, contents, embed, fill, plan
from tiny_runs import environment

from alframe import store_plan
from alframe.errors import UserError
from alframe.run_dir import take_lock
from alframe.store import Store
from alframe.store_plan import Plan
from alframe.store_shard import ShardWriter
from alframe.store_writer import StoreWriter, Work


@pytest.fixture(scope="module")
def expected(tmp_path_factory):
    """What an undisturbed process leaves."""
    folder = tmp_path_factory.mktemp("undisturbed") / "store"
    fill(folder)
    return contents(folder)


@pytest.fixture(autouse=True)
def _no_power_cut(monkeypatch):
    """Waiting for the disk takes most of the time, and changes nothing that a test can see."""
    monkeypatch.setattr(os, "fsync", lambda _: None)


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "store"


# --- reading -------------------------------------------------------------------------------------


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


def test_many_rows_are_taken_in_blocks(folder, monkeypatch):
    fill(folder)
    monkeypatch.setattr("alframe.store.TAKEN_AT_ONCE", 64)
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


# --- the key -------------------------------------------------------------------------------------


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


# --- going on ------------------------------------------------------------------------------------

CHILD = """
import sys
import numpy as np
sys.path.insert(0, sys.argv[1])
from store_parts import POINTS, fill

def embed(start, stop):
    if start == 440:
        print("in the middle of shard 1", flush=True)
        sys.stdin.read()
    return POINTS[start:stop]

fill(sys.argv[2], embed, checkpoint=0)
"""


def child(folder, code=CHILD, **extra):
    tests = str(Path(__file__).parent)
    return subprocess.Popen(
        [sys.executable, "-c", code, tests, str(folder)],
        env=environment(**extra),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


def test_killed_within_a_shard_it_goes_on_there_and_the_bytes_are_the_same(folder, expected):
    process = child(folder)
    assert "middle" in process.stdout.readline()
    process.kill()
    process.communicate()
    with pytest.raises(UserError, match=r"not finished: 1 of 4 shards are"):
        Store.open(folder)
    asked = []

    def noted(start, stop):
        asked.append(start)
        return embed(start, stop)

    filled = fill(folder, noted)
    assert (asked[0], filled.rows, filled.found) == (440, ROWS - 440, 1)
    assert contents(folder) == expected


class Crash(BaseException):
    """Stands for a kill: nothing catches it."""


def crashing_at(row, source=embed):
    def crashing(start, stop):
        if start == row:
            raise Crash
        return source(start, stop)

    return crashing


class Countdown:
    """Lets a function work some times, and then crash before or after it works."""

    def __init__(self, times, after):
        self.left, self.after = times, after

    def wrap(self, function):
        def wrapped(*args, **named):
            self.left -= 1
            if self.left == 0 and not self.after:
                raise Crash
            result = function(*args, **named)
            if self.left == 0:
                raise Crash
            return result

        return wrapped


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
def test_a_crash_at_any_change_of_the_disk_changes_nothing(tmp_path, monkeypatch, after):
    """Two shards, of two chunks and of one."""
    small = {"chunk": 200, "rows": 500, "checkpoint": 0}
    fill(tmp_path / "undisturbed", **small)
    for times in range(1, 1000):
        folder, countdown = tmp_path / f"{times}", Countdown(times, after)
        with monkeypatch.context() as patch:
            for owner, name in ((os, "fsync"), (Path, "replace"), (Path, "unlink")):
                patch.setattr(owner, name, countdown.wrap(getattr(owner, name)))
            try:
                fill(folder, **small)
                break
            except Crash:
                pass
        fill(folder, **small)
        assert contents(folder) == contents(tmp_path / "undisturbed"), times
    assert times > 20  # else there was nothing to crash at


def test_killed_between_a_shards_move_and_its_record_it_is_only_recorded(
    folder, expected, monkeypatch
):
    def crash(self, shard, record):
        raise Crash

    monkeypatch.setattr(StoreWriter, "_record", crash)
    with pytest.raises(Crash):
        fill(folder)
    monkeypatch.undo()
    assert (folder / "shard_00000.npy").exists()
    filled = fill(folder)
    assert (filled.rows, filled.found) == (700, 0)
    assert contents(folder) == expected


def test_what_a_cut_partial_file_lost_is_written_again(folder, expected):
    with pytest.raises(Crash):
        fill(folder, crashing_at(440), checkpoint=0)
    partial = folder / "shard_00001.npy.partial"
    os.truncate(partial, partial.stat().st_size - 300)
    assert fill(folder).rows == 700
    assert contents(folder) == expected


def test_a_full_disk_says_so_and_loses_nothing(folder, expected, monkeypatch):
    append = ShardWriter.append

    def full(self, embeddings):
        if self.done == 140:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return append(self, embeddings)

    monkeypatch.setattr(ShardWriter, "append", full)
    with pytest.raises(UserError, match=r"out=.*No space left.*make room there"):
        fill(folder, checkpoint=0)
    monkeypatch.undo()
    assert fill(folder).rows == ROWS - 140
    assert contents(folder) == expected


def test_an_error_of_the_encoder_is_not_taken_for_one_of_the_disk(folder):
    def absent(start, stop):
        raise FileNotFoundError("an image")

    with pytest.raises(FileNotFoundError, match="an image"):
        fill(folder, absent)


@pytest.mark.parametrize("shape", [(70, 5), (69, 6), (70, 6, 1)])
def test_embeddings_of_another_shape_are_refused(folder, shape):
    says = (
        rf"shape \({', '.join(map(str, shape))}\) for 70 rows: expected \(70, 6\); change encoder"
    )
    with pytest.raises(UserError, match=says):
        fill(folder, lambda *_: np.ones(shape, np.float32))


# --- several processes ---------------------------------------------------------------------------

TWO = """
import sys, time
from pathlib import Path
sys.path.insert(0, sys.argv[1])
from store_parts import POINTS, fill

def embed(start, stop):
    here = Path(sys.argv[2]).parent
    (here / f"in_shard_{start // 300}").touch()
    while len(list(here.glob("in_shard_*"))) < 2:  # until the other is in the middle of another
        time.sleep(0.01)
    return POINTS[start:stop]

print(fill(sys.argv[2], embed).rows)
"""


@pytest.mark.timeout(60)  # where one waits for the other's lock, both would wait forever
def test_two_processes_write_different_shards_at_a_time(folder, expected):
    processes = [child(folder, TWO) for _ in range(2)]
    rows = [int(process.communicate()[0]) for process in processes]
    assert sum(rows) == ROWS
    assert min(rows) > 0
    assert contents(folder) == expected


def test_parts_of_the_work_are_distinct_and_make_the_whole(folder, expected):
    rows = [fill(folder, part=(i, 3)).rows for i in (1, 2, 3)]
    assert rows == [400, 300, 300]
    assert contents(folder) == expected


def test_a_shard_that_another_process_holds_is_left_to_it(folder, expected):
    fill(folder, part=(1, 4))
    with take_lock(folder, "shard_00001.lock"):
        filled = fill(folder)
    assert (filled.rows, filled.found) == (400, 1)
    assert filled.held[0].startswith(f"process {os.getpid()} on ")
    with pytest.raises(UserError, match="3 of 4 shards"):
        Store.open(folder)
    assert fill(folder).rows == 300
    assert contents(folder) == expected


def test_what_another_process_finished_in_the_meantime_is_not_written_again(folder, expected):
    def others_first(start, stop):
        if start == 0:
            fill(folder)  # leaves the first shard, which is held
        assert start < PER_SHARD
        return embed(start, stop)

    filled = fill(folder, others_first)
    assert (filled.rows, filled.found) == (300, 3)
    assert contents(folder) == expected


def test_the_second_of_two_that_begin_at_once_is_checked_too(folder, monkeypatch):
    """It looked before the first had written, and must not go by what it saw."""
    real = store_plan.Plan.manifest
    calls = []

    def first_comes_in_between(self, where):
        manifest = real(self, where)
        if not calls:
            calls.append(1)
            fill(folder, per_shard=250)
        return manifest

    monkeypatch.setattr(store_plan.Plan, "manifest", first_comes_in_between)
    with pytest.raises(UserError, match=r"rows_per_shard 250 -> 300"):
        fill(folder)


# --- what is wrong -------------------------------------------------------------------------------


@pytest.mark.parametrize("change", [-1, -600, 1], ids=["a byte", "rows", "longer"])
def test_a_shard_of_another_size_is_refused_by_name(folder, expected, change):
    fill(folder)
    path = folder / "shard_00002.npy"
    os.truncate(path, path.stat().st_size + change)
    word = "truncated" if change < 0 else "altered"
    says = rf"shard_00002\.npy is {word}: expected 3728 bytes, got {3728 + change}; remove shard"
    for refuse in (lambda: Store.open(folder), lambda: fill(folder)):
        with pytest.raises(UserError, match=says):
            refuse()
    path.unlink()
    with pytest.raises(UserError, match=r"shard_00002\.npy cannot be read"):
        Store.open(folder)
    assert fill(folder).rows == 300
    assert contents(folder) == expected


def test_an_altered_value_is_found_by_verify(folder):
    fill(folder)
    path = folder / "shard_00003.npy"
    content = bytearray(path.read_bytes())
    content[-5] ^= 1
    path.write_bytes(content)
    store, writer = Store.open(folder), StoreWriter(folder, plan())
    for each in (store, writer):
        with pytest.raises(UserError, match=r"shard_00003\.npy is altered: expected sha256"):
            each.verify()
    content[-5] ^= 1
    path.write_bytes(content)
    store.verify()
    writer.verify()


def test_an_altered_header_is_refused(folder):
    fill(folder)
    path = folder / "shard_00000.npy"
    path.write_bytes(path.read_bytes().replace(b"(300, 6)", b"(600, 3)"))
    with pytest.raises(UserError, match=r"shard_00000\.npy is altered.*float16 \[300, 6\]"):
        Store.open(folder)


BROKEN = {
    "no JSON": lambda text: text[:40],
    "a list": lambda text: f"[{text}]",
    "no key": lambda text: text.replace('"key"', '"kay"'),
    "a type": lambda text: text.replace("float16", "float8"),
    "an unknown shard": lambda text: text.replace('"3": {', '"../3": {'),
    "shards of other rows": lambda text: text.replace(
        '"shards": {', '"shards": {"4": {"sha256": ""},'
    ).replace("complete", "filling"),
    "a shard too many": lambda text: text.replace('"3": {', '"4": {'),
    "fewer rows": lambda text: text.replace('"rows": 1000', '"rows": 0'),
    "a later format": lambda text: text.replace('"format": 1', '"format": 2'),
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_damaged_manifest_is_refused(folder, name):
    fill(folder)
    path = folder / "store.json"
    text = path.read_text()
    assert BROKEN[name](text) != text
    path.write_text(BROKEN[name](text))
    for refuse in (lambda: Store.open(folder), lambda: fill(folder)):
        with pytest.raises(UserError, match=r"store\.json is damaged"):
            refuse()


def test_no_store(tmp_path):
    with pytest.raises(UserError, match=r"index\.store=.* holds no store"):
        Store.open(tmp_path, "index.store")


def test_room_is_checked_before_anything_is_written(folder, monkeypatch, expected):
    disk = namedtuple("disk", "free")

    def leave(free):
        monkeypatch.setattr(store_plan.shutil, "disk_usage", lambda _: disk(free))

    leave(12_511)
    says = r"out=.* needs 12512 bytes more.*got 12511 bytes free.*store\.dtype"
    with pytest.raises(UserError, match=says):
        fill(folder)
    assert not folder.exists()
    leave(12_512)
    fill(folder)
    assert sum(map(len, expected[0].values())) == 12_512
    path = folder.with_name("half")
    with pytest.raises(Crash):
        fill(path, crashing_at(440), checkpoint=0)
    written = sum(file.stat().st_size for file in path.glob("shard_*.npy*"))
    leave(12_512 - written - 1)
    with pytest.raises(UserError, match=rf"needs {12_512 - written} bytes more"):
        fill(path)
    leave(12_512 - written)
    fill(path)
    leave(0)
    assert fill(folder).found == 4  # what is there needs no room


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"dtype": "float64"}, r"store\.dtype=float64: expected float16 or float32"),
        ({"per_shard": 0}, r"store\.rows_per_shard=0"),
        ({"invalid": "ignore"}, r"store\.invalid=ignore: expected refuse or drop"),
    ],
)
def test_wrong_options(folder, options, says):
    with pytest.raises(UserError, match=says):
        fill(folder, **options)


# --- embeddings that cannot be searched ----------------------------------------------------------


def broken(start, stop):
    values = POINTS.copy()
    values[[3, 310, 999], [0, 5, 2]] = [np.nan, np.inf, -np.inf]
    values[[7, 301]] = 0
    values[500, 1] = 70_000  # float16 ends at 65504
    return values[start:stop]


BAD = [3, 7, 301, 310, 500, 999]


def test_they_are_counted_and_refused_when_all_is_written(folder):
    with pytest.raises(UserError) as refused:
        fill(folder, broken)
    for part in (
        "3 hold NaN or infinity (rows 3, 310, 999)",
        "2 are zero throughout (rows 7, 301)",
        "1 are too large for float16 (rows 500)",
        "store.dtype=float32",
        "store.invalid=drop",
    ):
        assert part in str(refused.value)
    with pytest.raises(UserError, match=r"embeddings=.*store\.invalid=drop"):
        Store.open(folder, "embeddings")
    with pytest.raises(UserError, match="3 hold NaN"):
        fill(folder)


def test_they_are_dropped_on_request_without_embedding_again(folder):
    with pytest.raises(UserError):
        fill(folder, broken)
    assert fill(folder, invalid="drop").rows == 0
    store = Store.open(folder)
    assert store.invalid.tolist() == BAD
    others = np.setdiff1d(np.arange(ROWS), BAD)
    assert np.isnan(store.take(np.array(BAD))).all()
    stored = POINTS.astype(np.float16).astype(np.float32)
    np.testing.assert_array_equal(store.take(others), stored[others])
    assert fill(folder).found == 4  # it is finished, whatever is asked for now


def test_float32_holds_what_float16_does_not(folder):
    fill(folder, broken, invalid="drop", dtype="float32")
    assert Store.open(folder).invalid.tolist() == [row for row in BAD if row != 500]


def test_a_store_of_which_no_row_can_be_searched_is_refused_all_the_same(folder):
    with pytest.raises(UserError, match="1000 are zero throughout"):
        fill(
            folder, lambda start, stop: np.zeros((stop - start, WIDTH), np.float32), invalid="drop"
        )


def test_invalid_rows_survive_a_kill(tmp_path):
    fill(tmp_path / "undisturbed", broken, invalid="drop")
    for row in (140, 440):
        folder = tmp_path / f"{row}"
        with pytest.raises(Crash):
            fill(folder, crashing_at(row, broken), invalid="drop", checkpoint=0)
        fill(folder, broken, invalid="drop")
        assert contents(folder) == contents(tmp_path / "undisturbed")
