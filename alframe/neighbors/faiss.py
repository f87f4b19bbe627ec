"""FAISS, which only this file imports, late; its failures become sentences."""

from __future__ import annotations

import errno
import logging
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from alframe.caching import cache
from alframe.errors import UserError
from alframe.protocols import Array, Rows

log = logging.getLogger(__name__)
INSTALL = "pip install faiss-cpu (or faiss-gpu, on Linux with a GPU)"
FAILURES = (RuntimeError, AssertionError, MemoryError)


@dataclass(frozen=True)
class Effort:
    """How hard a search looks.

    Attributes:
        name: Of the setting, nprobe or efSearch.
        value: What it is.
        most: Where it finds all there is to find.
    """

    name: str
    value: int
    most: int

    def doubled(self) -> Effort:
        """Returns twice the effort, or the most."""
        return replace(self, value=min(2 * self.value, self.most))


def library() -> Any:
    """Returns the module faiss.

    Raises:
        UserError: If it is not installed.
    """
    try:
        import faiss
    except ImportError as error:
        raise UserError(
            f"index: expected FAISS, which cannot be imported ({error}): {INSTALL}, or set "
            "index=exact"
        ) from error
    return faiss


@contextmanager
def said(what: str, remedy: str) -> Iterator[None]:
    """Turns FAISS's exceptions, which name a line of C++ or nothing at all, into `UserError`."""
    try:
        yield
    except FAILURES as error:
        raise UserError(f"FAISS could not {what} ({_reason(error)}); {remedy}") from error


def _reason(error: BaseException) -> str:
    text = str(error).split("Error: ")[-1]
    explained = re.sub(r"^'.*?' failed:?\s*", "", text)
    return " ".join((explained or text).split()) or "it gives no reason"


def made(width: int, factory: str, metric: str) -> Any:
    """Returns an empty index of a factory string.

    Args:
        width: Of the embeddings.
        factory: Such as ``IVF4096,Flat``.
        metric: euclidean, or cosine and dot, which are both inner products.
    """
    faiss = library()
    inner = metric != "euclidean" and "LSH" not in factory  # its codes have a distance of their own
    kind = faiss.METRIC_INNER_PRODUCT if inner else faiss.METRIC_L2
    with said(
        f"make index.factory={factory} for embeddings of {width} values",
        "expected a factory string such as IVF4096,Flat; change index.factory",
    ):
        return faiss.index_factory(width, factory, kind)


def lists_of(index: Any) -> Any | None:
    """Returns the part of an index that holds inverted lists, or None."""
    return library().try_extract_index_ivf(index)


def seed_training(index: Any, seed: int) -> None:
    """Sets where the k-means of inverted lists starts."""
    lists = lists_of(index)
    if lists is not None:
        lists.cp.seed = seed % 2**31


def _graph_of(index: Any) -> Any | None:
    inner = library().downcast_index(index)
    while hasattr(inner, "chain"):  # transforms of the embeddings before the graph
        inner = library().downcast_index(inner.index)
    return getattr(inner, "hnsw", None)


def effort_of(index: Any) -> Effort | None:
    """Returns how hard an index looks, or None where it always looks at all rows."""
    lists, graph = lists_of(index), _graph_of(index)
    if lists is not None:
        return Effort("nprobe", lists.nprobe, lists.nlist)
    return None if graph is None else Effort("efSearch", graph.efSearch, index.ntotal)


def set_effort(index: Any, name: str, value: int) -> None:
    """Sets nprobe or efSearch, where an index has it; more than all is all."""
    lists, graph = lists_of(index), _graph_of(index)
    if name == "nprobe" and lists is not None:
        lists.nprobe = min(value, lists.nlist)
    if name == "efSearch" and graph is not None:
        graph.efSearch = value


@contextmanager
def trying(index: Any, effort: Effort) -> Iterator[None]:
    """Sets another effort for a while."""
    before = effort_of(index)
    assert before is not None
    set_effort(index, effort.name, effort.value)
    try:
        yield
    finally:
        set_effort(index, before.name, before.value)


def bytes_per_row(index: Any) -> int:
    """Returns what one row takes in memory, with its number and its links."""
    graph = _graph_of(index)
    links = 0 if graph is None else 4 * graph.nb_neighbors(0)
    return _code_bytes(index) + int(links) + 8


def bytes_of(index: Any, rows: int) -> int:
    """Returns what so many rows of a kind of index take, in memory or on disk, with its centers."""
    lists = lists_of(index)
    return rows * bytes_per_row(index) + (0 if lists is None else 4 * lists.nlist * lists.d)


def compresses(index: Any) -> bool:
    """Tells whether rows are stored in fewer bytes than as float32."""
    return _code_bytes(index) < 4 * int(index.d)


def _code_bytes(index: Any) -> int:
    lists = lists_of(index)
    try:
        return int(index.sa_code_size() if lists is None else lists.code_size)
    except RuntimeError:  # a kind that does not say: as it is given, which is the most
        return int(4 * index.d)


def search(index: Any, queries: Array, k: int) -> tuple[Array, Rows]:
    """Returns FAISS's values [m, k] and positions [m, k], -1 where it found fewer."""
    with said(f"search {len(queries)} queries for k={k}", "lower k, or set index=exact"):
        values, positions = index.search(queries, k)
    return values, positions


def is_graph(index: Any) -> bool:
    """Tells whether an index is a graph, which cannot be merged."""
    return _graph_of(index) is not None


def write(index: Any, path: Path) -> None:
    """Writes an index to a file, of which nothing is left where that fails.

    Raises:
        OSError: Where it cannot be written, such as on a full disk.
    """
    try:
        library().write_index(index, str(path))
        _on_disk(path)
    except FAILURES as error:
        path.unlink(missing_ok=True)
        reason = f"FAISS could not write the index ({_reason(error)})"
        raise OSError(errno.EIO, reason, str(path)) from error


def _on_disk(path: Path) -> None:
    """Waits until a file is on the disk: its description must not be there before it."""
    with path.open("rb") as file:
        os.fsync(file.fileno())


def read(path: Path) -> Any:
    """Reads an index whose bytes were checked; inverted lists on disk stay there, unchanged."""
    faiss = library()
    flags = faiss.IO_FLAG_ONDISK_SAME_DIR | faiss.IO_FLAG_READ_ONLY
    with said(f"read {path}", "build the index again"):
        index = faiss.read_index(str(path), flags)
    if (lists := lists_of(index)) is not None:
        stored = faiss.downcast_InvertedLists(lists.invlists)
        if isinstance(stored, faiss.OnDiskInvertedLists):
            # Its threads go on reading the file after a search, whatever happens to it meanwhile.
            stored.prefetch_nthread = 0
    return index


def mapped(path: Path, cached: bool) -> Any:
    """Maps an index whose bytes were checked, or reads it where FAISS maps none, as on macOS.

    A mapped one cannot be changed. One with inverted lists in another file cannot be mapped.

    Args:
        path: Its file.
        cached: Whether memory has room for all of it.
    """
    if cached:
        cache(path)  # FAISS asks for single pages, which takes a disk many times as long
    faiss = library()
    with said(f"map {path}", "build the index again"):
        try:
            return faiss.read_index(str(path), faiss.IO_FLAG_MMAP_IFC)
        except RuntimeError as error:
            if "not implemented" not in str(error).lower():
                raise
    log.info("%s is read into memory: FAISS maps no files here", path)
    return read(path)


def merge(into: Any, part: Any) -> None:
    """Moves all rows of a part to the end of another index with the same training."""
    with said("merge parts of an index", "train once, and build all parts from that training"):
        into.check_compatible_for_merge(part)
        into.merge_from(part, 0)


def merge_on_disk(empty: Any, parts: list[Path], path: Path) -> None:
    """Fills a trained, empty index of inverted lists from parts, its lists staying in a file.

    Args:
        empty: Trained, without rows.
        parts: Files of indexes with the same training, whose rows have their final numbers.
        path: Where the lists are written.
    """
    faiss = library()
    lists = lists_of(empty)
    assert lists is not None
    with said(f"merge parts into {path}", "make room there, or merge in memory: on_disk=false"):
        opened = [faiss.read_index(str(part), faiss.IO_FLAG_MMAP) for part in parts]
        vector = faiss.InvertedListsPtrVector()
        for index in opened:
            vector.push_back(faiss.extract_index_ivf(index).invlists)
        merged = faiss.OnDiskInvertedLists(lists.nlist, lists.code_size, str(path))
        rows = merged.merge_from_multiple(vector.data(), vector.size(), False)
        lists.ntotal = empty.ntotal = rows
        lists.replace_invlists(merged, True)
        merged.this.disown()
    _on_disk(path)


def on_gpu(index: Any) -> Any | None:
    """Returns a copy of an index on all GPUs that FAISS sees, or None where that is not possible.

    Not for graphs and hashes, which FAISS has for CPUs only.
    """
    faiss = library()
    if not hasattr(faiss, "index_cpu_to_all_gpus") or faiss.get_num_gpus() == 0:
        return None
    try:
        return faiss.index_cpu_to_all_gpus(index)
    except (RuntimeError, AssertionError) as error:
        log.info("the index is searched on CPUs: FAISS has it on no GPU (%s)", _reason(error))
        return None
