"""alframe-index: runs find the index where they look; mistakes in one sentence."""

from __future__ import annotations

import shutil
from collections import namedtuple
from pathlib import Path

import pytest
from tiny_runs import ACTIVE, DATA, selections

from alframe.cli import kept, run
from alframe.cli.embed import main as embed
from alframe.cli.index import main
from alframe.neighbors import parts, saving
from alframe.neighbors.approximate import FaissIndex
from alframe.store import Store

STORE, INDEX = "store=store", ("index=faiss", "index.factory=IVF8,Flat", "index.nprobe=3")


@pytest.fixture
def store(workdir):
    """A store of digits in the working directory."""
    assert embed(["data=digits", *DATA, "encoder=raw", "trainer=cpu", "out=store"]) == 0
    return Path("store")


def index(*words):
    return main([STORE, *words])


def search(*words):
    """Returns what a run picks that searches an index of the store."""
    words = *ACTIVE, "logger=[]", "candidates=seals", "candidates.k=8", *words
    return selections(run(*words, "embeddings.train=store").path).row.tolist()


def folder_of(store):
    (folder,) = store.glob("index_*")
    return folder


def test_a_run_finds_what_was_built_whole(store, capsys):
    assert index(*INDEX) == 0
    said = capsys.readouterr().err
    assert "index of 1797 rows built" in said
    assert "recall@100 of the index is" in said
    assert index(*INDEX, "index.memory_gib=9") == 0  # which changes nothing
    assert "the index is there" in capsys.readouterr().err
    found = search(*INDEX)
    assert "built" not in capsys.readouterr().err
    shutil.rmtree(folder_of(store))
    assert search(*INDEX) == found
    assert "index of 1797 rows built" in capsys.readouterr().err


def test_what_another_process_built_meanwhile_is_not_built_again(store, monkeypatch, capsys):
    waited = kept.locked

    def slower(place, *name):
        monkeypatch.setattr(kept, "locked", waited)
        assert index(*INDEX) == 0  # the other one, which had the lock first
        return waited(place, *name)

    monkeypatch.setattr(kept, "locked", slower)
    assert index(*INDEX) == 0
    said = capsys.readouterr().err
    assert said.count("index of 1797 rows built") == 1
    assert said.count("the index is there") == 1


def test_a_training_is_not_made_twice(store, capsys):
    assert index(*INDEX, "step=prepare") == 0
    (trained,) = store.glob("index_*/parts/trained/index.faiss")
    before = trained.stat().st_ino, trained.stat().st_mtime_ns
    assert index(*INDEX, "part=1/2") == 0
    capsys.readouterr()
    assert index(*INDEX, "step=prepare") == 0  # of a job that is queued again
    assert "the training that all parts share is there" in capsys.readouterr().err
    assert (trained.stat().st_ino, trained.stat().st_mtime_ns) == before
    assert index(*INDEX, "part=2/2") == 0
    assert index(*INDEX, "step=merge") == 0


def test_a_part_that_is_there_is_not_built_again(store, monkeypatch, capsys):
    assert index(*INDEX, "step=prepare") == 0
    assert index(*INDEX, "part=1/2") == 0
    (meta,) = store.glob("index_*/parts/part_00000*/meta.json")
    before, add = meta.stat().st_ino, FaissIndex.add
    monkeypatch.setattr(FaissIndex, "add", None)
    assert index(*INDEX, "part=1/2") == 0
    assert "part 1/2 is there" in capsys.readouterr().err
    assert meta.stat().st_ino == before
    monkeypatch.setattr(FaissIndex, "add", add)
    (meta.parent / "index.faiss").write_bytes(b"cut")
    assert index(*INDEX, "part=1/2") == 0
    assert index(*INDEX, "part=2/2") == 0
    assert index(*INDEX, "step=merge") == 0


def test_a_part_that_ends_after_the_others_were_merged_is_no_index(store, monkeypatch, capsys):
    assert index(*INDEX, "step=prepare") == 0
    built = parts.build_part

    def late(*words):
        monkeypatch.setattr(parts, "build_part", built)
        assert index(*INDEX) == 0  # somebody builds the whole meanwhile
        built(*words)

    monkeypatch.setattr(parts, "build_part", late)
    assert index(*INDEX, "part=1/2") == 0
    said = capsys.readouterr().err
    assert said.count("index of 1797 rows built") == 1
    assert said.count("done in") == 2  # the training, and the part


def test_a_kind_without_parts_is_refused_before_anything_is_read(store, monkeypatch, capsys):
    monkeypatch.setattr(Store, "verify", None)
    assert index("step=prepare") == 2
    assert "expected a kind of FAISS to build in parts, got auto" in capsys.readouterr().err
    assert not list(store.glob("index_*"))


@pytest.mark.parametrize("part", [(), ("part=1/2",)])
def test_room_is_looked_for_before_anything_is_built(store, part, monkeypatch, capsys):
    assert index(*INDEX, "step=prepare") == 0
    disk = namedtuple("disk", "free")
    monkeypatch.setattr(saving.shutil, "disk_usage", lambda _: disk(1000))
    monkeypatch.setattr(FaissIndex, "add", None)
    assert index(*INDEX, *part) == 2
    assert "expected room for" in capsys.readouterr().err


def test_a_damaged_record_of_the_recall_is_measured_again(store, capsys):
    assert index(*INDEX) == 0
    (record,) = store.glob("index_*/recall_*.json")
    whole = record.read_text()
    for damaged in (whole[:-9], '{"recall": 1.0}', "[3]"):
        record.write_text(damaged)
        assert index(*INDEX) == 0
        assert record.read_text() == whole
    assert "recall@100 of the index is" in capsys.readouterr().err


@pytest.mark.parametrize("on_disk", ["false", "true"])
def test_a_run_finds_what_was_built_in_parts(store, on_disk, capsys):
    expected = search(*INDEX)
    shutil.rmtree(folder_of(store))
    assert index(*INDEX, "step=prepare") == 0
    for part in ("3/3", "1/3", "2/3"):
        assert index(*INDEX, f"part={part}") == 0
    assert index(*INDEX, "step=merge", f"on_disk={on_disk}") == 0
    folder = folder_of(store)
    assert (folder / "lists.ivfdata").is_file() == (on_disk == "true")
    assert not (folder / "parts").exists()
    capsys.readouterr()
    assert search(*INDEX) == expected
    assert "built" not in capsys.readouterr().err


def test_parts_may_be_kept_and_an_absent_one_loses_nothing(store, capsys):
    assert index(*INDEX, "part=1/2") == 2
    assert "a training that all parts share, got none" in capsys.readouterr().err
    assert index(*INDEX, "step=prepare") == 0
    assert index(*INDEX, "step=merge") == 2
    assert "expected the parts of an index, got none" in capsys.readouterr().err
    assert index(*INDEX, "part=1/2") == 0
    assert index(*INDEX, "step=merge") == 2
    assert "part_00001_of_00002" in capsys.readouterr().err
    assert index(*INDEX, "part=2/2") == 0
    assert index(*INDEX, "step=merge", "keep_parts=true") == 0
    assert (folder_of(store) / "parts").is_dir()


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["store=absent"], "store=absent holds no store"),
        (["step=train"], "step=train: expected null, prepare or merge"),
        (["part=3/2"], "part=3/2: expected i/n with i from 1 to n"),
        (["part=1/2", "step=merge"], "part=1/2: expected it without step=merge"),
        (["on_disk=true"], "on_disk=true: expected step=merge"),
        (["keep_parts=1"], "keep_parts=1: expected true or false"),
        (["+shards=2"], "shards: expected a known config key"),
        (["step=prepare"], "expected a kind of FAISS to build in parts, got auto; set index="),
        (["index=hnsw", "step=prepare"], "got a graph; set index=ivf_flat"),
        (["index=ivf_flat", "index.nprob=3"], "index.nprob: expected a known config key"),
    ],
)
def test_mistakes_end_with_one_sentence(store, words, says, capsys):
    capsys.readouterr()
    assert index(*words) == 2
    (line,) = [li for li in capsys.readouterr().err.splitlines() if li.startswith("alframe-index")]
    assert says in line
    assert not list(store.glob("index_*/meta.json"))


def test_a_full_disk_is_said(store, monkeypatch, capsys):
    def full(*_):
        raise RuntimeError("Error: 'ret == (nitems)' failed: No space left on device")

    monkeypatch.setattr("faiss.write_index", full)
    assert index(*INDEX) == 2
    said = capsys.readouterr().err
    assert "No space left on device" in said
    assert "make room there, or move the store and change store" in said
    assert not list(store.glob("index_*/*.faiss"))


def test_an_altered_shard_is_refused_where_the_index_is_there(store, capsys):
    assert index(*INDEX) == 0
    shard = store / "shard_00000.npy"
    content = bytearray(shard.read_bytes())
    content[-1] ^= 1
    shard.unlink()
    shard.write_bytes(content)
    assert index(*INDEX) == 2
    assert "shard_00000.npy is altered" in capsys.readouterr().err


def test_an_altered_shard_is_refused(store, capsys):
    assert index(*INDEX, "step=prepare") == 0
    shard = store / "shard_00000.npy"
    content = bytearray(shard.read_bytes())
    content[-1] ^= 1
    shard.write_bytes(content)
    for words in (("part=1/2",), ("step=merge",), ("step=prepare",), ()):
        assert index(*INDEX, *words) == 2
        assert "shard_00000.npy is altered" in capsys.readouterr().err
