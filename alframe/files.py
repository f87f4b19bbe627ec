"""Writing files so that a kill at any moment leaves the old content or the new one, never half."""

from __future__ import annotations

import hashlib
import io
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from alframe.protocols import State

JSON_ENTRY = "__json__"
DIGEST_BYTES = hashlib.sha256().digest_size


class CorruptFileError(Exception):
    """A stage file that is not what was written: truncated, or with a flipped bit."""


def write_atomic(path: Path, content: bytes) -> None:
    """Writes ``content`` elsewhere in the same folder, syncs it, and moves it to ``path``."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        with partial.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)
    sync_folder(path.parent)


def write_if_new(path: Path, content: bytes) -> None:
    """Writes ``content`` to ``path`` atomically, unless that is what the file holds."""
    if not path.is_file() or path.read_bytes() != content:
        write_atomic(path, content)


def sync_folder(folder: Path) -> None:
    """Makes a rename in ``folder`` survive a power cut."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    """Writes a mapping as indented JSON, atomically."""
    write_atomic(path, (json.dumps(content, indent=2) + "\n").encode())


def encode_state(state: State) -> bytes:
    """Packs arrays and JSON values into one npz without pickles, followed by its sha256.

    numpy reads the file as it is: what follows a zip archive does not matter to it.

    Raises:
        TypeError: For a value that is neither a plain array nor JSON.
    """
    arrays = {key: value for key, value in state.items() if isinstance(value, np.ndarray)}
    plain = {key: value for key, value in state.items() if key not in arrays}
    objects = [key for key, value in arrays.items() if value.dtype.hasobject]
    if objects:
        raise TypeError(f"arrays of Python objects cannot be saved: {objects}")
    text = np.frombuffer(json.dumps(plain).encode(), dtype=np.uint8)
    buffer = io.BytesIO()
    np.savez(buffer, allow_pickle=False, **{JSON_ENTRY: text}, **arrays)
    content = buffer.getvalue()
    return content + hashlib.sha256(content).digest()


def decode_state(path: Path) -> State:
    """Reads what `encode_state` packed.

    Raises:
        CorruptFileError: If the file is truncated or altered.
    """
    raw = path.read_bytes()
    content, digest = raw[:-DIGEST_BYTES], raw[-DIGEST_BYTES:]
    if hashlib.sha256(content).digest() != digest:
        raise CorruptFileError(f"{path} cannot be read back: its sha256 does not match")
    with np.load(io.BytesIO(content), allow_pickle=False) as archive:
        state: State = {key: archive[key] for key in archive.files if key != JSON_ENTRY}
        state.update(json.loads(archive[JSON_ENTRY].tobytes()))
    return state
