"""An index that is built in parts is the one that is built whole."""

import numpy as np
import pytest
from twins import Chunked, clusters

from alframe.errors import UserError
from alframe.neighbors import parts
from alframe.neighbors.kinds import faiss
from alframe.neighbors.source import ArraySource

POINTS = clusters(1500, 8)
POINTS[[3, 700, 1499]] = np.nan
SOURCE = Chunked(ArraySource(POINTS), 230)
QUERIES = clusters(40, 8, seed=5)
FACTORIES = ["Flat", "IVF16,Flat", "IVF16,PQ4x4", "PCA4,IVF8,Flat", "RR32,LSHt"]


def made(factory, metric="euclidean"):
    refine = 4 if "LSH" in factory else 0
    return faiss(factory=factory, metric=metric, nprobe=4, refine=refine, drop_invalid=True)


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
    lists.write_bytes(lists.read_bytes()[:-1])
    with pytest.raises(UserError, match=r"lists\.ivfdata is not what was written"):
        loaded.load(moved, SOURCE)


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
