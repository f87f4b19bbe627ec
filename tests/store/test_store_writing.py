"""Whatever stops it, and whoever else writes, the bytes of a store are the same.

The plain twin of every store here is one array in memory.
"""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from store_parts import (
    PER_SHARD,
    ROWS,
    Crash,
    child,
    contents,
    crashing_at,
    embed,
    fill,
)
from tiny_runs import environment

from alframe.errors import UserError
from alframe.run_dir import take_lock
from alframe.store import Store, shard
from alframe.store import plan as store_plan
from alframe.store.shard import ShardWriter
from alframe.store.writer import StoreWriter

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


def test_killed_within_a_shard_it_goes_on_there_and_the_bytes_are_the_same(folder, expected):
    process = child(folder, CHILD)
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


FULL = """
import resource, signal, sys
sys.path.insert(0, sys.argv[1])
from store_parts import fill
from alframe.errors import UserError

signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (2000, 2000))
try:
    fill(sys.argv[2], checkpoint=float(sys.argv[3]))
except UserError as error:
    print(error)
"""


@pytest.mark.parametrize("checkpoint", [0, 60])
def test_a_file_that_cannot_grow_is_said_and_gone_on_with(folder, expected, checkpoint):
    """A shard has 3,728 bytes; what could not be written is still to be written at the end."""
    command = [sys.executable, "-c", FULL, str(Path(__file__).parent), folder, str(checkpoint)]
    done = subprocess.run(command, env=environment(), capture_output=True, text=True, check=True)
    assert f"out={folder} cannot be written (File too large)" in done.stdout
    assert fill(folder).rows == ROWS - (140 if checkpoint == 0 else 0)
    assert contents(folder) == expected


@pytest.mark.parametrize("buffered", [64, 1000, 2000])
def test_pieces_that_are_written_at_once_change_no_byte(folder, expected, buffered, monkeypatch):
    monkeypatch.setattr(shard, "WRITTEN_AT_ONCE", buffered)
    with pytest.raises(Crash):
        fill(folder, crashing_at(440), checkpoint=0)
    fill(folder)
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
