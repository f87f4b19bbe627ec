"""An index that is built in parts is the one that is built whole."""

import shutil
from types import SimpleNamespace

import numpy as np
import pytest
from twins import Chunked, clusters

from alframe.errors import UserError
from alframe.neighbors import parts
from alframe.neighbors.faiss import library
from alframe.neighbors.kinds import faiss
from alframe.neighbors.source import ArraySource

POINTS = clusters(1500, 8)
POINTS[[3, 700, 1499]] = np.nan
SOURCE = Chunked(ArraySource(POINTS), 230)
QUERIES = clusters(40, 8, seed=5)
FACTORIES = ["Flat", "IVF16,Flat", "IVF16,SQ8", "IVF16,PQ4x4", "PCA4,IVF8,Flat", "RR32,LSHt"]


def made(factory, metric="euclidean", **options):
    refine = 4 if "LSH" in factory else 0
    words = {"metric": metric, "nprobe": 4, "refine": refine, "drop_invalid": True, **options}
    return faiss(factory=factory, **words)


def in_parts(factory, folder, count, metric="euclidean"):
    parts.prepare(made(factory, metric), SOURCE, folder)
    for part in reversed(range(count)):  # in any order, each by an index of its own
        parts.build_part(made(factory, metric), SOURCE, folder, part, count)


def same(mine, other):
    values, rows = mine.search(QUERIES, 12)
    others, other_rows = other.search(QUERIES, 12)
    np.testing.assert_allclose(values, others, rtol=1e-6)
    np.testing.assert_array_equal(rows, other_rows)


@pytest.mark.parametrize("factory", FACTORIES)
@pytest.mark.parametrize("metric", ["euclidean", "cosine"])
def test_merged_is_whole(factory, metric, tmp_path):
    whole, merged = made(factory, metric), made(factory, metric)
    whole.build(SOURCE)
    in_parts(factory, tmp_path, 4, metric)
    parts.merge(merged, SOURCE, tmp_path, 4)
    same(whole, merged)
    merged.save(tmp_path / "merged")
    loaded = made(factory, metric)
    loaded.load(tmp_path / "merged", SOURCE)
    same(whole, loaded)


@pytest.mark.parametrize("factory", ["IVF16,Flat", "PCA4,IVF8,PQ2x4"])
def test_lists_on_disk_are_lists_in_memory(factory, tmp_path):
    whole, on_disk = made(factory), made(factory)
    whole.build(SOURCE)
    parts.build_on_disk(on_disk, SOURCE, tmp_path / "parts", 3, tmp_path / "index")
    same(whole, on_disk)
    moved = (tmp_path / "index").rename(tmp_path / "moved")
    loaded = made(factory)
    loaded.load(moved, SOURCE)
    same(whole, loaded)
    lists = moved / "lists.ivfdata"
    harmed = lists.read_bytes()[:-1]
    lists.unlink()  # the file that is mapped must not be cut
    lists.write_bytes(harmed)
    with pytest.raises(UserError, match=r"lists\.ivfdata is not what was written"):
        loaded.load(moved, SOURCE)


def test_lists_on_disk_can_be_read_where_nothing_may_be_written(tmp_path, monkeypatch):
    opened, read_index = [], library().read_index

    def noted(path, flags):
        opened.append(flags)
        return read_index(path, flags)

    parts.build_on_disk(made("IVF16,SQ8"), SOURCE, tmp_path / "parts", 3, tmp_path / "index")
    monkeypatch.setattr(library(), "read_index", noted)
    loaded = made("IVF16,SQ8")
    loaded.load(tmp_path / "index", SOURCE)
    assert [flags & library().IO_FLAG_READ_ONLY for flags in opened] == [2]
    lists = library().downcast_InvertedLists(library().extract_index_ivf(loaded.inner).invlists)
    assert lists.read_only
    assert lists.prefetch_nthread == 0  # else threads read on after a search
    assert loaded.search(QUERIES, 12)[1].shape == (40, 12)


def test_rows_to_train_on_must_fit_into_memory(tmp_path):
    says = r"IVF16,Flat, 1497 rows to train on: it takes .*lower index\.train_rows .*, or raise"
    with pytest.raises(UserError, match=says):
        parts.prepare(made("IVF16,Flat", memory_gib=1e-6), SOURCE, tmp_path)
    parts.prepare(made("IVF16,Flat", memory_gib=1e-6, train_rows=16), SOURCE, tmp_path)


def test_a_training_that_is_there_is_told_from_one_that_is_not(tmp_path):
    mine = made("IVF16,Flat")
    assert not parts.is_prepared(mine, SOURCE, tmp_path)
    parts.prepare(mine, SOURCE, tmp_path)
    assert parts.is_prepared(made("IVF16,Flat"), SOURCE, tmp_path)
    assert not parts.is_prepared(made("IVF8,Flat"), SOURCE, tmp_path)
    path = tmp_path / "trained" / "index.faiss"
    path.write_bytes(path.read_bytes()[:-1])
    assert not parts.is_prepared(made("IVF16,Flat"), SOURCE, tmp_path)


@pytest.mark.parametrize("count", [1, 3, 1500])
def test_parts_are_all_rows_once(count):
    rows = [row for part in range(count) for row in parts.span_of(part, count, 1500)]
    assert rows == list(range(1500))
    with pytest.raises(UserError, match=f"a part from 0 to {count - 1}, got {count}"):
        parts.span_of(count, count, 1500)


def test_an_absent_or_altered_part_is_refused(tmp_path):
    in_parts("Flat", tmp_path, 2)
    with pytest.raises(UserError, match=r"part_00000_of_00003.*got none"):
        parts.merge(made("Flat"), SOURCE, tmp_path, 3)
    path = tmp_path / "part_00001_of_00002" / "index.faiss"
    path.write_bytes(path.read_bytes()[:-4])
    with pytest.raises(UserError, match="is not what was written"):
        parts.merge(made("Flat"), SOURCE, tmp_path, 2)


def test_a_part_alone_is_no_index(tmp_path):
    in_parts("Flat", tmp_path, 2)
    with pytest.raises(UserError, match=r"expected an index of all 1497 rows, got 748"):
        made("Flat").load(tmp_path / "part_00000_of_00002", SOURCE)


def test_a_graph_is_refused(tmp_path):
    with pytest.raises(UserError, match="got a graph; set index=ivf_flat"):
        parts.prepare(made("HNSW16,Flat"), SOURCE, tmp_path)


def test_without_lists_there_is_nothing_to_keep_on_disk(tmp_path):
    with pytest.raises(UserError, match="index with inverted lists"):
        parts.build_on_disk(made("Flat"), SOURCE, tmp_path / "parts", 2, tmp_path / "index")


def altered_parts(harm, factory, folder):
    """Makes parts of which one is not what it should be, and returns what is said of it."""
    in_parts(factory, folder, 4)
    if harm == "another training":
        other = faiss(factory=factory, nprobe=4, drop_invalid=True, seed=1, train_rows=900)
        parts.prepare(other, SOURCE, folder)
        parts.build_part(made(factory), SOURCE, folder, 0, 4)
        return r"part_00001.*expected an index of trained \w{64}, got \w{64}.*build this part again"
    if harm == "twice":
        shutil.rmtree(folder / "part_00003_of_00004")
        shutil.copytree(folder / "part_00002_of_00004", folder / "part_00003_of_00004")
        return r"part_00003_of_00004: expected an index of part 3, got 2; build this part again"
    one, other = folder / "part_00000_of_00004", folder / "part_00000_of_00005"
    parts.build_part(made(factory), SOURCE, folder, 0, 5)
    shutil.rmtree(one)
    other.rename(one)
    return r"part_00000_of_00004: expected an index of parts 4, got 5"


@pytest.mark.parametrize("factory", ["IVF16,Flat", "PQ8x4"])
@pytest.mark.parametrize("harm", ["another training", "twice", "of another number"])
def test_parts_that_do_not_belong_together_are_refused(harm, factory, tmp_path):
    says = altered_parts(harm, factory, tmp_path / "parts")
    with pytest.raises(UserError, match=says):
        parts.merge(made(factory), SOURCE, tmp_path / "parts", 4)
    with pytest.raises(UserError, match=says):
        parts.merge_on_disk(made(factory), SOURCE, tmp_path / "parts", 4, tmp_path / "index")
    assert not (tmp_path / "index").exists()


def limited(gib, factory="IVF16,Flat"):
    return made(factory, memory_gib=gib, train_rows=300)


GIB = 1497 * (4 * 8 + 8) / 2**30
"""What the rows of IVF16,Flat take."""


def test_an_index_larger_than_memory_is_built_in_parts(tmp_path):
    with pytest.raises(UserError, match=r"index\.memory_gib allows; .*in parts.*alframe-index"):
        limited(GIB / 2).build(SOURCE)
    whole, on_disk = made("IVF16,Flat", train_rows=300), limited(GIB / 2)
    whole.build(SOURCE)
    parts.build_on_disk(on_disk, SOURCE, tmp_path / "parts", 3, tmp_path / "index")
    same(whole, on_disk)
    with pytest.raises(UserError, match=r"merge with the lists on disk \(on_disk=true\)"):
        parts.merge(limited(GIB / 2), SOURCE, tmp_path / "parts", 3)
    with pytest.raises(UserError, match=r"build more parts than 1, or raise index\.memory_gib"):
        parts.build_part(limited(GIB / 2), SOURCE, tmp_path / "parts", 0, 1)


def test_what_is_loaded_fits_into_memory(tmp_path, monkeypatch, caplog):
    index = made("IVF16,Flat")
    index.build(SOURCE)
    index.save(tmp_path)
    with pytest.raises(UserError, match=r"index\.faiss: it takes .*on_disk=true\), or raise"):
        limited(GIB / 2).load(tmp_path, SOURCE)
    monkeypatch.setattr("alframe.neighbors.memory.available_bytes", lambda: 10)
    again = made("IVF16,Flat")
    again.load(tmp_path, SOURCE)  # other estimates of what is free may be too low
    assert "that are free; searches may wait for the disk" in caplog.text
    same(index, again)


def test_parts_need_a_training(tmp_path):
    for needs in (parts.build_part, parts.merge):
        more = (0, 2) if needs is parts.build_part else (2,)
        with pytest.raises(UserError, match=r"a training that all parts share.*step=prepare"):
            needs(made("Flat"), SOURCE, tmp_path, *more)


def test_parts_are_counted(tmp_path):
    with pytest.raises(UserError, match="got none; build them"):
        parts.count_of(tmp_path / "parts")
    in_parts("Flat", tmp_path, 3)
    assert parts.count_of(tmp_path) == 3
    parts.build_part(made("Flat"), SOURCE, tmp_path, 0, 2)
    with pytest.raises(UserError, match="got parts of 2 and of 3"):
        parts.count_of(tmp_path)


def full(*_):
    raise RuntimeError("Error: 'ret == (nitems)' failed: write error: No space left on device")


def test_a_full_disk_leaves_no_half_of_an_index(tmp_path, monkeypatch):
    index = made("IVF16,Flat")
    index.build(SOURCE)
    index.save(tmp_path)
    monkeypatch.setattr("faiss.write_index", full)
    with pytest.raises(OSError, match=r"could not write the index.*No space left on device"):
        index.save(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["state.npz"]


def test_room_is_looked_for_first(tmp_path, monkeypatch):
    in_parts("IVF16,Flat", tmp_path / "parts", 2)
    monkeypatch.setattr("shutil.disk_usage", lambda _: SimpleNamespace(free=1497 * 40))
    index = made("IVF16,Flat")
    with pytest.raises(OSError, match=r"expected room for .* GiB, got .* GiB free"):
        parts.merge_on_disk(index, SOURCE, tmp_path / "parts", 2, tmp_path / "index")
    parts.merge(index, SOURCE, tmp_path / "parts", 2)
    with pytest.raises(OSError, match="expected room for"):
        index.save(tmp_path / "index")
    assert not list((tmp_path / "index").iterdir())
