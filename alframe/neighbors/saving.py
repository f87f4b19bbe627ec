"""An index on disk: a folder with ``meta.json``, which says what it is, and its files."""

from __future__ import annotations

import errno
import hashlib
import json
import shutil
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

from alframe.errors import UserError
from alframe.files import write_json
from alframe.neighbors.source import EmbeddingSource
from alframe.noted import is_noted, look_at, write_note

META, FILES_NOTE = "meta.json", "files.json"
BOUND = ("kind", "metric", "width", "rows", "source_key")
_SAME = {
    "kind": "choose the kind that was built (index=...)",
    "metric": "set index.metric to it",
    "width": "search with the encoder that the index was built on",
    "rows": "build the index again",
    "factory": "set index.factory to it, or build the index again",
    "source_key": "these are other embeddings: build the index again",
    "trained": "it was begun from another training: build this part again",
    "part": "build this part again",
    "parts": "build this part again",
    "span": "build this part again",
}


def clear(folder: Path, files: Sequence[str], needed: int) -> None:
    """Makes a folder ready to be written to: without these files, and what describes them.

    Args:
        folder: Of the index; it is made.
        files: Names of what is to be written.
        needed: Bytes that this takes.

    Raises:
        OSError: Where the folder cannot be written, or its disk has less room.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for name in (META, FILES_NOTE, *files):  # not changed in place: others may search them
        (folder / name).unlink(missing_ok=True)
    free = shutil.disk_usage(folder).free
    if needed > free:
        raise OSError(
            errno.ENOSPC,
            f"expected room for {needed / 2**30:.2f} GiB, got {free / 2**30:.2f} GiB free",
            str(folder),
        )


def write_meta(folder: Path, meta: Mapping[str, Any], files: Sequence[str]) -> None:
    """Writes ``meta.json`` after the files [names] of an index, with the sha256 of each."""
    sums = {name: _sha256(folder / name) for name in files}
    versions = {"alframe": version("alframe"), "torch": version("torch")}
    write_json(folder / META, {**meta, "versions": versions, "sha256": sums})


def read_meta(folder: Path, source: EmbeddingSource, wanted: Mapping[str, Any]) -> dict[str, Any]:
    """Reads ``meta.json`` and checks it and all files, whose checksums are compared once.

    Args:
        folder: Of the index.
        source: What is to be searched.
        wanted: What the index must be: kind and metric, and whatever else ``meta.json`` holds.

    Raises:
        UserError: If the index is another one, or a file is not what was written.
    """
    path = folder / META
    if not path.is_file():
        raise UserError(f"{folder}: expected an index with a {META}, got none; build it again")
    try:
        meta = dict(json.loads(path.read_text()))
        sums = {str(name): str(digest) for name, digest in meta["sha256"].items()}
        found = {name: meta[name] for name in (*BOUND, *wanted)}
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise UserError(f"{path} is no description of an index; {_again(folder)}") from error
    of_source = {"width": source.width, "rows": source.num_rows, "source_key": source.key}
    for name, expected in {**wanted, **of_source}.items():
        if found[name] != expected:
            raise UserError(
                f"{folder}: expected an index of {name} {expected}, got {found[name]}; "
                f"{_SAME[name]}"
            )
    _check_files(folder, sums)
    return meta


def _check_files(folder: Path, sums: Mapping[str, str]) -> None:
    for name in sums:
        if Path(name).name != name:
            raise UserError(f"{folder / META} names {name!r}: expected a file in its own folder")
        if not (folder / name).is_file():
            raise UserError(
                f"{folder / name}: expected a file of the index, got none; {_again(folder)}"
            )
    seen, note = look_at(folder / name for name in (META, *sums)), folder / FILES_NOTE
    if is_noted(note, seen):
        return
    for name, digest in sums.items():
        if _sha256(folder / name) != digest:
            raise UserError(
                f"{folder / name} is not what was written (its sha256 differs): truncated or "
                f"altered; {_again(folder)}"
            )
    write_note(note, seen)


def _again(folder: Path) -> str:
    return f"remove {folder} and build the index again"


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
