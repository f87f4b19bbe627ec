"""What holds for every kind of index."""

import hashlib
import json
import os
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from twins import Chunked, brute, clusters

from alframe import noted
from alframe.errors import UserError
from alframe.neighbors.exact import ExactIndex
from alframe.neighbors.faiss import library
from alframe.neighbors.kinds import faiss
from alframe.neighbors.source import ArraySource

METRICS = ("euclidean", "cosine", "dot")
KINDS = {  # the least recall@10 on 2,000 clustered rows
    "exact": (lambda **o: ExactIndex(device="cpu", **o), 1.0),
    "flat": (lambda **o: faiss(factory="Flat", **o), 1.0),
    "flat_refined": (lambda **o: faiss(factory="Flat", refine=1, **o), 1.0),
    "lsh": (lambda **o: faiss(factory="RR{bits},LSHt", refine=30, **o), 0.9),
    "ivf_flat": (lambda **o: faiss(factory="IVF{lists},Flat", nprobe=12, **o), 0.9),
    "ivf_sq": (lambda **o: faiss(factory="IVF{lists},SQ8", nprobe=12, refine=2, **o), 0.9),
    "hnsw": (lambda **o: faiss(factory="HNSW16,Flat", **o), 0.9),
    "ivf_pq": (lambda **o: faiss(factory="IVF8,PQ4x4", refine=20, train_rows=300, **o), 0.8),
}
POINTS = clusters(2000, 8)
SOURCE = ArraySource(POINTS)
OTHERS = [name for name in KINDS if name != "exact"]


def made(name, **options):
    return KINDS[name][0](**options)


@pytest.fixture(scope="module")
def indexes():
    """One index of each kind, which tests must not change."""
    found = {name: made(name) for name in KINDS}
    for index in found.values():
        index.build(SOURCE)
    return found


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("name", KINDS)
def test_finds_what_there_is(name, metric):
    index = made(name, metric=metric)
    index.build(Chunked(SOURCE, 333))
    own = np.random.default_rng(0).integers(0, len(POINTS), 60)
    values, rows = index.search(POINTS[own], 10, own)
    expected, by_hand = brute(POINTS, POINTS[own], 10, metric, own)
    recall = np.mean([len({*a} & {*b}) / 10 for a, b in zip(rows, by_hand, strict=True)])
    least = KINDS[name][1]
    assert recall >= (least if metric != "dot" else min(least, 0.7))
    assert values.dtype == np.float32
    assert rows.dtype == np.int64
    assert not (rows == own[:, None]).any()
    worse = np.diff(values, axis=1) * (1 if metric == "euclidean" else -1)
    assert (worse >= -1e-4).all()
    if least == 1.0:
        np.testing.assert_allclose(values, expected, rtol=1e-4, atol=2e-3)


@pytest.mark.parametrize("name", KINDS)
def test_values_are_of_the_metric(indexes, name):
    values, rows = indexes[name].search(POINTS[:9], 5)
    true = np.sqrt(((POINTS[rows] - POINTS[:9, None]).astype(np.float64) ** 2).sum(axis=2))
    np.testing.assert_allclose(values, true, rtol=1e-3, atol=2e-3)


@pytest.mark.parametrize("name", KINDS)
def test_a_duplicate_of_a_query_is_found_and_the_query_is_not(name):
    points = POINTS.copy()
    points[5] = points[1900] = points[77]
    index = made(name)
    index.build(ArraySource(points))
    own = np.array([77, 5, 1900])
    rows = index.search(points[own], 2, own)[1]
    assert [set(line) for line in rows.tolist()] == [{5, 1900}, {77, 1900}, {5, 77}]


@pytest.mark.parametrize("name", KINDS)
def test_saved_and_loaded_it_finds_the_same(indexes, name, tmp_path):
    indexes[name].save(tmp_path)
    index = made(name)
    index.load(tmp_path, SOURCE)
    for mine, loaded in zip(
        indexes[name].search(POINTS[:50], 7), index.search(POINTS[:50], 7), strict=True
    ):
        np.testing.assert_array_equal(mine, loaded)
    assert index.describe() == indexes[name].describe()


@pytest.mark.parametrize("name", OTHERS)
def test_a_loaded_index_is_not_read_into_memory(indexes, name, tmp_path):
    indexes[name].save(tmp_path)
    index = made(name)
    index.load(tmp_path, SOURCE)
    if sys.platform == "linux":  # elsewhere FAISS may read it
        assert str(tmp_path / "index.faiss") in Path("/proc/self/maps").read_text()
    rows = index.search(POINTS[:50], 7)[1]
    for path in tmp_path.iterdir():  # as a process does that builds it again
        path.unlink()
    np.testing.assert_array_equal(index.search(POINTS[:50], 7)[1], rows)


def files_of(folder):
    return sorted(path for path in folder.iterdir() if path.name != "meta.json")


@pytest.mark.parametrize("name", ["exact", "ivf_flat"])
@pytest.mark.parametrize("harm", ["truncated", "altered", "absent"])
def test_a_harmed_file_is_refused(indexes, name, harm, tmp_path):
    indexes[name].save(tmp_path)
    for path in files_of(tmp_path):
        before = path.read_bytes()
        if harm == "absent":
            path.unlink()
        elif harm == "truncated":
            path.write_bytes(before[:-1])
        else:
            at = len(before) // 2
            path.write_bytes(before[:at] + bytes([before[at] ^ 1]) + before[at + 1 :])
        with pytest.raises(UserError, match=f"{path.name}.*build the index again"):
            made(name).load(tmp_path, SOURCE)
        path.write_bytes(before)
    made(name).load(tmp_path, SOURCE)


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"sha256": 3}', '{"sha256": {}}'])
def test_a_broken_description_is_refused(text, tmp_path):
    (tmp_path / "meta.json").write_text(text)
    with pytest.raises(UserError, match="no description of an index"):
        made("exact").load(tmp_path, SOURCE)


def test_no_index_is_refused(tmp_path):
    with pytest.raises(UserError, match="got none"):
        made("flat").load(tmp_path, SOURCE)


def test_a_file_elsewhere_is_refused(indexes, tmp_path):
    indexes["exact"].save(tmp_path)
    meta = json.loads((tmp_path / "meta.json").read_text())
    meta["sha256"]["../other"] = "0"
    (tmp_path / "meta.json").write_text(json.dumps(meta))
    with pytest.raises(UserError, match="its own folder"):
        made("exact").load(tmp_path, SOURCE)


@pytest.mark.parametrize("name", ["exact", "flat"])
def test_an_index_of_something_else_is_refused(indexes, name, tmp_path):
    indexes[name].save(tmp_path)
    with pytest.raises(UserError, match="source_key changed, got"):
        made(name).load(tmp_path, ArraySource(POINTS, "changed"))
    with pytest.raises(UserError, match="width 7, got 8"):
        made(name).load(tmp_path, ArraySource(POINTS[:, :7], SOURCE.key))
    with pytest.raises(UserError, match="rows 1999, got 2000"):
        made(name).load(tmp_path, ArraySource(POINTS[1:], SOURCE.key))
    with pytest.raises(UserError, match=r"metric dot, got euclidean; set index\.metric"):
        made(name, metric="dot").load(tmp_path, SOURCE)
    with pytest.raises(UserError, match=r"kind .*, got .*index="):
        made("flat" if name == "exact" else "exact").load(tmp_path, SOURCE)


def test_an_index_of_another_factory_is_refused(indexes, tmp_path):
    indexes["flat"].save(tmp_path)
    with pytest.raises(UserError, match=r"index\.factory=HNSW16,Flat, got Flat"):
        made("hnsw").load(tmp_path, SOURCE)


@pytest.mark.parametrize("name", KINDS)
def test_bad_rows_are_refused_or_dropped(name):
    points = POINTS.copy()
    bad = [0, 3, 1000, 1001, 1999]
    points[bad] = [[np.nan], [np.inf], [-np.inf], [np.nan], [np.nan]]
    with pytest.raises(UserError, match=r"5 bad rows of 2000: 0, 3, 1000.*index\.drop_invalid"):
        made(name).build(ArraySource(points, "a"))
    index = made(name, drop_invalid=True)
    index.build(Chunked(ArraySource(points, "a"), 300))
    assert index.describe()["indexed"] == 1995
    own = np.array([1, 2, 4, 999, 1002, 1500, 1998])
    rows = index.search(points[own], 10, own)[1]
    by_hand = brute(
        np.nan_to_num(points, posinf=0, neginf=0), points[own], 10, "euclidean", own, bad
    )[1]
    recall = np.mean([len({*a} & {*b}) / 10 for a, b in zip(rows, by_hand, strict=True)])
    assert recall >= KINDS[name][1]
    with pytest.raises(UserError, match="expected k from 1 to 1995"):
        index.search(points[own], 1996)


@pytest.mark.parametrize("name", KINDS)
def test_zero_rows_are_bad_under_cosine_only(name):
    points = POINTS.copy()
    points[[4, 9]] = 0
    with pytest.raises(UserError, match=r"2 bad rows of 2000: 4, 9.*index\.drop_invalid"):
        made(name, metric="cosine").build(ArraySource(points, "a"))
    index = made(name, metric="cosine", drop_invalid=True)
    index.build(ArraySource(points, "a"))
    assert not np.isin(index.search(points[20:40], 50)[1], [4, 9]).any()
    with pytest.raises(UserError, match="queries to be nonzero"):
        index.search(points[3:5], 2)


@pytest.mark.parametrize("name", ["exact", "flat"])
def test_nothing_but_bad_rows_is_refused(name):
    with pytest.raises(UserError, match="nothing to index"):
        made(name, drop_invalid=True).build(ArraySource(np.full((9, 4), np.nan, np.float32)))


@pytest.mark.parametrize("name", ["exact", "flat"])
def test_bad_queries_are_refused(indexes, name):
    index, queries = indexes[name], POINTS[:6].copy()
    for k in (0, -1, 2001):
        with pytest.raises(UserError, match=f"expected k from 1 to 2000.*got {k}"):
            index.search(queries, k)
    with pytest.raises(UserError, match="expected k from 1 to 1999"):
        index.search(queries, 2000, np.arange(6))
    with pytest.raises(UserError, match=r"queries \[m, 8\].*got \[6, 7\]"):
        index.search(queries[:, :7], 3)
    with pytest.raises(UserError, match="row number of each of 6 queries"):
        index.search(queries, 3, np.arange(5))
    queries[[1, 4], 2] = np.nan, np.inf
    with pytest.raises(UserError, match="finite, got 2 bad ones of 6: 1, 4"):
        index.search(queries, 3)
    with pytest.raises(UserError, match="finite"):
        index.search(np.full((1, 8), 1e300), 3)


@pytest.mark.parametrize("name", KINDS)
def test_as_many_as_there_are(indexes, name):
    rows = indexes[name].search(POINTS[:2], 2000)[1]
    np.testing.assert_array_equal(np.sort(rows), np.tile(np.arange(2000), (2, 1)))


@pytest.mark.parametrize("name", ["exact", "flat"])
def test_an_unbuilt_index_says_so(name):
    with pytest.raises(RuntimeError, match="neither built nor loaded"):
        made(name).search(POINTS[:2], 2)


@pytest.mark.parametrize("name", ["exact", "flat"])
def test_another_metric_is_refused(name):
    with pytest.raises(UserError, match=r"index\.metric=hamming.*euclidean, cosine, dot"):
        made(name, metric="hamming")


@pytest.mark.slow
def test_compressed_rows_may_be_rotated_first():
    index = faiss(factory="OPQ2_8,IVF8,PQ2x4", refine=20, train_rows=300)
    index.build(SOURCE)
    rows = index.search(POINTS[:60], 10)[1]
    by_hand = brute(POINTS, POINTS[:60], 10, "euclidean")[1]
    recall = np.mean([len({*a} & {*b}) / 10 for a, b in zip(rows, by_hand, strict=True)])
    assert recall >= 0.7


def test_too_few_lists_are_searched_again(caplog):
    index = faiss(factory="IVF64,Flat", nprobe=1)
    index.build(SOURCE)
    with caplog.at_level("INFO", "alframe"):
        rows = index.search(POINTS[:20], 300)[1]
    assert (rows >= 0).all()
    assert "searched again with nprobe" in caplog.text
    assert index.describe()["nprobe"] == 1
    caplog.clear()
    assert len(index.search(POINTS[:20], 1)[1]) == 20
    assert "again" not in caplog.text  # the effort of one search is not that of the next


def test_what_faiss_cannot_do_is_said():
    with pytest.raises(UserError, match=r"index\.factory=nonsense.*could not parse"):
        faiss(factory="nonsense").build(SOURCE)
    with pytest.raises(UserError, match="multiple of the number of subquantizers"):
        faiss(factory="IVF4,PQ3").build(SOURCE)
    with pytest.raises(UserError, match=r"train IVF4000,Flat on 2000 rows.*index\.train_rows"):
        faiss(factory="IVF4000,Flat").build(SOURCE)
    with pytest.raises(UserError, match="in braces but lists"):
        faiss(factory="IVF{list},Flat").build(SOURCE)
    with pytest.raises(UserError, match=r"index\.refine=0.*1 or more"):
        faiss(factory="LSH").build(SOURCE)
    with pytest.raises(UserError, match=r"index\.memory_gib"):
        faiss(factory="Flat", memory_gib=1e-6).build(SOURCE)


def test_without_faiss_the_way_to_install_it_is_said(monkeypatch):
    monkeypatch.setitem(sys.modules, "faiss", None)
    with pytest.raises(UserError, match=r"pip install faiss-cpu.*index=exact"):
        faiss(factory="Flat").build(SOURCE)


def test_the_same_seed_gives_the_same_index():
    found = []
    for seed in (1, 1, 2):
        index = faiss(factory="IVF16,Flat", nprobe=1, seed=seed, train_rows=700)
        index.build(SOURCE)
        found.append(index.search(POINTS[:200], 20)[1])
    np.testing.assert_array_equal(found[0], found[1])
    assert (found[0] != found[2]).any()


class Elsewhere:
    """A copy on a GPU that finds a part of what was asked for, or fails."""

    def __init__(self, index, keeps):
        self.index, self.keeps, self.asked = index, keeps, 0

    def search(self, queries, k):
        self.asked += 1
        if self.keeps is None:
            raise RuntimeError("Error: k is too large")
        values, places = self.index.search(queries, k)
        places[:, int(self.keeps * k) :] = -1
        return values, places


@pytest.mark.parametrize("keeps", [None, 0.5, 1])
def test_what_a_gpu_cannot_find_the_cpu_finds(monkeypatch, keeps, indexes):
    copies = []

    def copied(index):
        copies.append(Elsewhere(index, keeps))
        return copies[-1]

    monkeypatch.setattr("alframe.neighbors.faiss.on_gpu", copied)
    index = made("flat")
    index.build(SOURCE)
    rows = index.search(POINTS[:20], 9)[1]
    assert copies[0].asked == 1
    np.testing.assert_array_equal(rows, indexes["flat"].search(POINTS[:20], 9)[1])
    off = made("flat", gpu=False)
    off.build(SOURCE)
    assert len(copies) == 1


@pytest.fixture
def later(monkeypatch):
    """Files were touched long ago: of others, another write may leave all times as they are."""
    monkeypatch.setattr(noted, "MOMENT", -(10**12))


def altered(path):
    """Alters a file, which keeps its size and its time."""
    before, then = path.read_bytes(), path.stat().st_mtime_ns
    time.sleep(0.02)  # longer than clocks of file systems stand still
    path.write_bytes(before[:-1] + bytes([before[-1] ^ 1]))
    os.utime(path, ns=(then, then))


@pytest.mark.usefixtures("later")
@pytest.mark.parametrize("name", ["exact", "ivf_flat"])
def test_checksums_are_compared_once_and_again_where_a_file_changed(
    indexes, name, tmp_path, monkeypatch
):
    seen, digest = [], hashlib.file_digest

    def counted(file, how):
        seen.append(Path(file.name).name)
        return digest(file, how)

    indexes[name].save(tmp_path)
    names = sorted(path.name for path in files_of(tmp_path))
    monkeypatch.setattr(hashlib, "file_digest", counted)
    made(name).load(tmp_path, SOURCE)
    assert sorted(seen) == names
    made(name).load(tmp_path, SOURCE)
    assert sorted(seen) == names
    altered(tmp_path / names[-1])
    with pytest.raises(UserError, match="not what was written"):
        made(name).load(tmp_path, SOURCE)


def test_a_file_that_was_written_a_moment_ago_is_compared_again(indexes, tmp_path, monkeypatch):
    monkeypatch.setattr(noted, "MOMENT", 10**12)
    indexes["flat"].save(tmp_path)
    made("flat").load(tmp_path, SOURCE)
    assert not (tmp_path / "files.json").exists()
    altered(tmp_path / "index.faiss")
    with pytest.raises(UserError, match="not what was written"):
        made("flat").load(tmp_path, SOURCE)


@pytest.mark.usefixtures("later")
def test_files_are_looked_at_before_they_are_compared(indexes, tmp_path, monkeypatch):
    """What is written while checksums are computed is not taken for what was compared."""
    indexes["flat"].save(tmp_path)
    digest, path = hashlib.file_digest, tmp_path / "index.faiss"

    def slow(file, how):
        found = digest(file, how)
        if file.name == str(path):
            altered(path)
        return found

    with monkeypatch.context() as patched:
        patched.setattr(hashlib, "file_digest", slow)
        made("flat").load(tmp_path, SOURCE)
    with pytest.raises(UserError, match="not what was written"):
        made("flat").load(tmp_path, SOURCE)


@pytest.mark.parametrize("free", [10**12, 10])
def test_an_index_is_read_through_where_there_is_room_for_it(indexes, free, tmp_path, monkeypatch):
    read = []
    monkeypatch.setattr("alframe.neighbors.faiss.cache", read.append)
    monkeypatch.setattr("alframe.neighbors.memory.available_bytes", lambda: free)
    indexes["flat"].save(tmp_path)
    index = made("flat", memory_gib=1.0)
    index.load(tmp_path, SOURCE)
    assert read == ([tmp_path / "index.faiss"] if free > 10 else [])
    expected = indexes["flat"].search(POINTS[:50], 7)[1]
    np.testing.assert_array_equal(index.search(POINTS[:50], 7)[1], expected)


def test_where_faiss_maps_nothing_an_index_is_read(indexes, tmp_path, monkeypatch):
    indexes["ivf_flat"].save(tmp_path)
    read = library().read_index

    def unmapped(path, flags):
        if flags & library().IO_FLAG_MMAP_IFC == library().IO_FLAG_MMAP_IFC:
            raise RuntimeError("Error: Not implemented")
        return read(path, flags)

    monkeypatch.setattr("faiss.read_index", unmapped)
    index = made("ivf_flat")
    index.load(tmp_path, SOURCE)
    expected = indexes["ivf_flat"].search(POINTS[:50], 7)[1]
    np.testing.assert_array_equal(index.search(POINTS[:50], 7)[1], expected)
