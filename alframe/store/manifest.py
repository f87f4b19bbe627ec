"""What a store says of itself: where its rows lie, and of what they are; see `alframe.store`."""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

import numpy as np

from alframe.errors import UserError
from alframe.store.keys import EMBED, Keys

FORMAT = 1
MANIFEST = "store.json"
DTYPES = ("float16", "float32")
HASHED_AT_ONCE = 2**22  # bytes
SHOWN = 5  # rows in an error


@dataclass(frozen=True)
class Layout:
    """Where the rows of a store lie.

    Attributes:
        rows: Of all shards together.
        width: Values of a row.
        dtype: ``float16`` or ``float32``, as it is stored.
        rows_per_shard: Of every shard but the last, which may have fewer.
    """

    rows: int
    width: int
    dtype: str
    rows_per_shard: int

    @property
    def shards(self) -> int:
        """The number of shards."""
        return -(-self.rows // self.rows_per_shard)

    @property
    def bytes_per_row(self) -> int:
        """Bytes of a row on disk."""
        return self.width * np.dtype(self.dtype).itemsize

    @property
    def stored(self) -> np.dtype[Any]:
        """The type of the values in the files: little-endian, whatever wrote them."""
        return np.dtype(self.dtype).newbyteorder("<")

    def span(self, shard: int) -> range:
        """Returns the rows of a shard."""
        start = shard * self.rows_per_shard
        return range(start, min(start + self.rows_per_shard, self.rows))

    def header(self, shard: int) -> bytes:
        """Returns what a shard's file begins with, which tells numpy its type and shape."""
        buffer = io.BytesIO()
        shape = (len(self.span(shard)), self.width)
        about = {"descr": self.stored.str, "fortran_order": False, "shape": shape}
        np.lib.format.write_array_header_1_0(buffer, about)
        return buffer.getvalue()

    def bytes(self, shard: int) -> int:
        """Returns the size of a shard's file."""
        return len(self.header(shard)) + len(self.span(shard)) * self.bytes_per_row


@dataclass
class Manifest:
    """What ``store.json`` says.

    Attributes:
        parts: Of the key, by name.
        layout: Where the rows lie.
        state: ``filling``, ``complete``, or ``invalid``: all rows are written, but some cannot be
            searched and nobody said that they may be left out.
        shards: Of each finished shard, by number: its ``sha256``, and its invalid rows by reason
            (``not_finite``, ``overflow``, ``underflow``, ``zero``).
        about: When and with what it was made; decides nothing.
    """

    parts: dict[str, str]
    layout: Layout
    state: str = "filling"
    shards: dict[int, dict[str, Any]] = field(default_factory=dict)
    about: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def read(cls, folder: Path, key: str) -> Self:
        """Reads a store's manifest.

        Args:
            folder: Of the store.
            key: The config key of the folder, for errors.

        Raises:
            UserError: If there is none, or it is damaged.
        """
        path = folder / MANIFEST
        if not path.is_file():
            raise UserError(
                f"{key}={folder} holds no store: expected a folder with a {MANIFEST}, as "
                f"alframe-embed writes it; change {key}"
            )
        try:
            return cls._parsed(json.loads(path.read_text()))
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise UserError(
                f"{path} is damaged or of another version of alframe: expected what alframe-embed "
                f"wrote ({type(error).__name__}: {error}); make the store again in another folder"
            ) from error

    @classmethod
    def _parsed(cls, content: Mapping[str, Any]) -> Self:
        parts = {str(name): str(part) for name, part in content["key"].items()}
        sizes = [int(content[name]) for name in ("rows", "width", "rows_per_shard")]
        layout = Layout(sizes[0], sizes[1], parts["dtype"], sizes[2])
        if content["format"] != FORMAT or layout.dtype not in DTYPES or min(sizes) < 1:
            raise ValueError(f"format {content['format']}, {layout}")
        shards = {int(shard): dict(record) for shard, record in content["shards"].items()}
        missing = set(range(layout.shards)) - set(shards)
        if not all(isinstance(record["sha256"], str) for record in shards.values()):
            raise ValueError("a checksum is no text")
        if not set(shards) <= set(range(layout.shards)):
            raise ValueError(f"{len(shards)} shards of {layout.shards}")
        if content["state"] != "filling" and missing:
            raise ValueError(f"shard {min(missing)} is not recorded")
        return cls(parts, layout, content["state"], shards, dict(content["about"]))

    def content(self) -> dict[str, Any]:
        """Returns what is written to ``store.json``."""
        layout = self.layout
        return {
            "format": FORMAT,
            "state": self.state,
            "key": self.parts,
            "rows": layout.rows,
            "width": layout.width,
            "rows_per_shard": layout.rows_per_shard,
            "about": self.about,
            "shards": {str(shard): self.shards[shard] for shard in sorted(self.shards)},
        }

    def invalid(self) -> dict[str, list[int]]:
        """Returns the rows that cannot be searched, by reason, ascending."""
        found: dict[str, list[int]] = {}
        for shard in sorted(self.shards):
            for reason, rows in self.shards[shard].items():
                if reason != "sha256":
                    found.setdefault(reason, []).extend(rows)
        return found


def key_of(parts: Mapping[str, str]) -> str:
    """Returns the sha256 (hex) of the parts of a key."""
    return hashlib.sha256(json.dumps(dict(parts), sort_keys=True).encode()).hexdigest()


def shard_path(folder: Path, shard: int) -> Path:
    """Returns the file of a shard."""
    return folder / f"shard_{shard:05d}.npy"


def partial_path(folder: Path, shard: int) -> Path:
    """Returns the file that a shard is written to."""
    path = shard_path(folder, shard)
    return path.with_name(f"{path.name}.partial")


def progress_path(folder: Path, shard: int) -> Path:
    """Returns the file that says how much of a shard is surely on disk."""
    return shard_path(folder, shard).with_suffix(".progress.json")


def lock_path(folder: Path, shard: int) -> Path:
    """Returns the file that a process locks while it writes a shard."""
    return shard_path(folder, shard).with_suffix(".lock")


def check_size(folder: Path, layout: Layout, shard: int) -> None:
    """Raises `UserError` unless a shard's file has its size, and begins as it should."""
    path, header, expected = shard_path(folder, shard), layout.header(shard), layout.bytes(shard)
    try:
        size = path.stat().st_size
        with path.open("rb") as file:
            begins = file.read(len(header))
    except OSError as error:
        raise UserError(f"{path} cannot be read ({error.strerror}): {_again(path)}") from error
    if size != expected:
        word = "truncated" if size < expected else "altered"
        raise UserError(f"{path} is {word}: expected {expected} bytes, got {size}; {_again(path)}")
    if begins != header:
        raise UserError(
            f"{path} is altered: expected {layout.dtype} [{len(layout.span(shard))}, "
            f"{layout.width}], but its header says something else; {_again(path)}"
        )


def check_sum(folder: Path, shard: int, expected: str) -> None:
    """Raises `UserError` unless a shard's file has the sha256 that it was written with."""
    path, digest = shard_path(folder, shard), hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(HASHED_AT_ONCE):
            digest.update(block)
    if digest.hexdigest() != expected:
        raise UserError(
            f"{path} is altered: expected sha256 {expected}, got {digest.hexdigest()}; "
            f"{_again(path)}"
        )


def invalid_words(manifest: Manifest, keys: Keys = EMBED) -> str:
    """Says how many rows cannot be searched, which are the first, and what to do."""
    dtype = manifest.layout.dtype
    reasons = {
        "not_finite": "hold NaN or infinity",
        "overflow": f"are too large for {dtype}",
        "underflow": f"are too small for {dtype}",
        "zero": "are zero throughout",
    }
    invalid = manifest.invalid()
    said = [
        f"{len(rows)} {reasons[reason]} (rows {', '.join(map(str, rows[:SHOWN]))}"
        f"{', ...' if len(rows) > SHOWN else ''})"
        for reason, rows in invalid.items()
    ]
    wider = dtype == "float16" and not invalid.keys().isdisjoint(("overflow", "underflow"))
    remedy = f"use {keys.dtype}=float32 and another {keys.folder}, " if wider else ""
    return (
        f"expected {manifest.layout.rows} embeddings that can be searched, but {', '.join(said)}; "
        f"all are kept: {remedy}{keys.drop}, or change the encoder"
    )


def _again(path: Path) -> str:
    return f"remove {path.name} and run the command again that filled the store"
