"""An index that is built in parts, each in a process of its own, and merged into one.

`prepare` trains once; then `build_part` runs for every part, on any machine that sees the folder;
then `merge` makes the index. Each step can be run again; what it wrote is checked by the next: a
part says of which training it is, and of which rows. ``alframe-index`` does it all as a command.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from alframe.errors import UserError
from alframe.neighbors import faiss
from alframe.neighbors.approximate import INDEX, LISTS, FaissIndex
from alframe.neighbors.saving import META, clear
from alframe.neighbors.source import EmbeddingSource

_TRAINED = "trained"
_PART = re.compile(r"part_\d+_of_(\d+)")


def span_of(part: int, parts: int, rows: int) -> range:
    """Returns the rows of one of several parts of nearly equal size.

    Raises:
        UserError: For a part that is none of 0 .. parts - 1.
    """
    if not 0 <= part < parts:
        raise UserError(f"expected a part from 0 to {parts - 1}, got {part}")
    return range(part * rows // parts, (part + 1) * rows // parts)


def prepare(index: FaissIndex, source: EmbeddingSource, folder: Path) -> None:
    """Trains an index, whose training all parts share, and writes it without rows.

    Args:
        index: What is to be built.
        source: The embeddings.
        folder: Where the training and the parts are written.

    Raises:
        UserError: For bad rows, and for a graph, which cannot be merged.
    """
    index.train(source)
    if faiss.is_graph(index.inner):
        raise UserError(
            f"index.factory={index.factory}: expected an index that can be built in parts, got a "
            "graph; set index=ivf_flat or index=ivf_pq, or build it whole"
        )
    index.save(folder / _TRAINED)


def is_prepared(index: FaissIndex, source: EmbeddingSource, folder: Path) -> bool:
    """Tells whether the training is there, unaltered: made again, it might be another one."""
    try:
        _trained(index, source, folder)
    except UserError:
        return False
    return True


def is_built(
    index: FaissIndex, source: EmbeddingSource, folder: Path, part: int, parts: int
) -> bool:
    """Tells whether a part of the training that is there was built already, and is unaltered."""
    try:
        about = _about(_trained(index, source, folder), part, parts, source.num_rows)
        index.check_part(_folder(folder, part, parts), source, about)
    except UserError:
        return False
    return True


def build_part(
    index: FaissIndex, source: EmbeddingSource, folder: Path, part: int, parts: int
) -> None:
    """Builds and writes one part of a prepared index; see `prepare`.

    Args:
        index: With the same settings; it holds the part afterwards.
        source: The same embeddings.
        folder: That was prepared.
        part: Which, in 0 .. parts - 1.
        parts: How many there will be.

    Raises:
        UserError: Where nothing was prepared, or the part takes more memory than there may be.
        OSError: Where there is no room for it.
    """
    span = span_of(part, parts, source.num_rows)
    trained = _trained(index, source, folder)
    index.check_memory(len(span), f"build more parts than {parts}")
    target = _folder(folder, part, parts)
    clear(target, [INDEX], faiss.bytes_of(index.inner, len(span)))  # room, before time is spent
    index.add(span)
    index.save(target, _about(trained, part, parts, source.num_rows))


def count_of(folder: Path) -> int:
    """Returns of how many parts the ones in a folder are.

    Raises:
        UserError: Where there are none, or some of other numbers of parts.
    """
    names = [path.name for path in folder.iterdir()] if folder.is_dir() else []
    counts = sorted({int(match[1]) for match in map(_PART.fullmatch, names) if match})
    if len(counts) != 1:
        found = "none" if not counts else f"parts of {' and of '.join(map(str, counts))}"
        remedy = "build them: part=1/N, ..., part=N/N" if not counts else "remove all but one kind"
        raise UserError(f"{folder}: expected the parts of an index, got {found}; {remedy}")
    return counts[0]


def merge(index: FaissIndex, source: EmbeddingSource, folder: Path, parts: int) -> None:
    """Makes one index, in memory, of all parts; see `prepare`.

    Raises:
        UserError: If a part is absent, altered, or of something else.
    """
    merged = index.empty_like()
    trained = _trained(index, source, folder)
    rows = source.num_rows
    remedy = "merge with the lists on disk (on_disk=true)"
    index.check_memory(rows + -(-rows // parts), remedy)  # the last part is there twice
    for part in range(parts):
        about = _about(trained, part, parts, rows)
        merged.load_part(_folder(folder, part, parts), source, about)
        faiss.merge(index.inner, merged.inner)
    index.ready()


def merge_on_disk(
    index: FaissIndex, source: EmbeddingSource, folder: Path, parts: int, target: Path
) -> None:
    """Makes one index of all parts whose inverted lists stay in a file, and saves it.

    Args:
        index: With the same settings; it is ready to search afterwards.
        source: The same embeddings.
        folder: Of the parts.
        parts: How many there are.
        target: Folder of the index, which `NeighborIndex.load` reads.

    Raises:
        UserError: As `merge`, and for an index without inverted lists.
        OSError: Where there is no room for it.
    """
    checked, trained = index.empty_like(), _trained(index, source, folder)
    for part in range(parts):
        about = _about(trained, part, parts, source.num_rows)
        checked.check_part(_folder(folder, part, parts), source, about)
    if faiss.lists_of(index.inner) is None:
        raise UserError(
            f"index.factory={index.factory}: expected an index with inverted lists to keep on "
            "disk; set index=ivf_flat or index=ivf_pq"
        )
    # FAISS maps the file of the lists: without room the process would be killed by SIGBUS.
    clear(target, [INDEX, LISTS], faiss.bytes_of(index.inner, source.num_rows))
    files = [_folder(folder, part, parts) / INDEX for part in range(parts)]
    faiss.merge_on_disk(index.inner, files, target / LISTS)
    faiss.write(index.inner, target / INDEX)
    index.save_state(target, [INDEX, LISTS])
    index.load(target, source)


def build_on_disk(
    index: FaissIndex, source: EmbeddingSource, folder: Path, parts: int, target: Path
) -> None:
    """Builds an index of inverted lists that need not fit into memory: one part at a time does.

    Args:
        index: To be built; it is ready to search afterwards.
        source: The embeddings.
        folder: For the parts, which may be removed afterwards.
        parts: How many.
        target: Folder of the index.
    """
    prepare(index, source, folder)
    for part in range(parts):
        build_part(index, source, folder, part, parts)
    merge_on_disk(index, source, folder, parts, target)


def _trained(index: FaissIndex, source: EmbeddingSource, folder: Path) -> str:
    """Loads the training that parts share; returns its sha256."""
    if not (folder / _TRAINED / META).is_file():
        raise UserError(
            f"{folder}: expected a training that all parts share, got none; make it first: "
            "step=prepare, with the same index"
        )
    meta = index.load_part(folder / _TRAINED, source)
    return str(meta["sha256"][INDEX])


def _about(trained: str, part: int, parts: int, rows: int) -> dict[str, Any]:
    """Returns what the description of a part says of it."""
    span = span_of(part, parts, rows)
    return {"trained": trained, "part": part, "parts": parts, "span": [span.start, span.stop]}


def _folder(folder: Path, part: int, parts: int) -> Path:
    return folder / f"part_{part:05d}_of_{parts:05d}"
