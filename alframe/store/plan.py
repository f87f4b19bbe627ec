"""What a store is to hold, and whether its folder and its disk allow that; nothing is written."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from alframe.errors import UserError
from alframe.options import check_whole
from alframe.run_dir import now
from alframe.store.keys import EMBED, Keys
from alframe.store.manifest import (
    DTYPES,
    MANIFEST,
    Layout,
    Manifest,
    check_size,
    partial_path,
    shard_path,
)

SHARD_BYTES = 2**28
"""About the size of a shard where its rows are not given."""


@dataclass(frozen=True)
class Plan:
    """What a store is to hold.

    Attributes:
        parts: Of its key but ``dtype``, by name: see `alframe.store`.
        rows: How many.
        width: Values of an embedding.
        dtype: ``float16`` or ``float32``.
        rows_per_shard: None = those of the store that is there, or of about 256 MiB.
        about: Kept in ``store.json`` for people.
        keys: For errors.

    Raises:
        UserError: For another type or no whole number of rows.
    """

    parts: Mapping[str, str]
    rows: int
    width: int
    dtype: str = "float16"
    rows_per_shard: int | None = None
    about: Mapping[str, Any] = field(default_factory=dict)
    keys: Keys = EMBED

    def __post_init__(self) -> None:
        if self.dtype not in DTYPES:
            raise UserError(f"{self.keys.dtype}={self.dtype}: expected {' or '.join(DTYPES)}")
        if self.rows_per_shard is not None:
            check_whole("store.rows_per_shard", self.rows_per_shard, at_least=1)

    def manifest(self, folder: Path) -> Manifest:
        """Returns what the store says that is in the folder, or that is to be made there.

        Raises:
            UserError: If it holds something else, or a shard is not as long as it should be.
        """
        if (folder / MANIFEST).is_file():
            there = Manifest.read(folder, self.keys.folder)
            self._check_same(folder, there)
            for shard in finished(folder, there):
                check_size(folder, there.layout, shard)
            return there
        if folder.exists() and not _is_free(folder):
            raise UserError(
                f"{self.keys.folder}={folder} is not empty and holds no store: expected a new or "
                f"empty folder, or a store to go on with; change {self.keys.folder}"
            )
        return self._new()

    def is_complete(self, folder: Path) -> bool:
        """Tells whether the folder holds the whole store; it is only read.

        Raises:
            UserError: As `manifest`.
        """
        if not (folder / MANIFEST).is_file():
            return False
        there = self.manifest(folder)
        return there.state == "complete" and len(finished(folder, there)) == there.layout.shards

    def _new(self) -> Manifest:
        row = Layout(1, self.width, self.dtype, 1).bytes_per_row
        usual = min(self.rows, max(1, SHARD_BYTES // row))
        layout = Layout(self.rows, self.width, self.dtype, self.rows_per_shard or usual)
        parts = {**self.parts, "dtype": self.dtype}
        return Manifest(parts, layout, about={"created": now(), **self.about})

    def _check_same(self, folder: Path, there: Manifest) -> None:
        """Refuses to go on with a store that holds, or is laid out as, something else."""
        before, after = _decisive(there), _decisive(self._new())
        if self.rows_per_shard is None:
            del before["rows_per_shard"], after["rows_per_shard"]
        changes = [
            f"{name} {before.get(name)} -> {after.get(name)}"
            for name in sorted(before.keys() | after.keys())
            if before.get(name) != after.get(name)
        ]
        if changes:
            raise UserError(
                f"{self.keys.folder}={folder} holds a store of something else: expected the same, "
                f"changed are {'; '.join(changes)}; use another {self.keys.folder}, or what it was "
                "begun with"
            )


def finished(folder: Path, manifest: Manifest) -> list[int]:
    """Returns the shards that are recorded and there: one that was removed is written again."""
    return [shard for shard in manifest.shards if shard_path(folder, shard).is_file()]


def check_room(folder: Path, manifest: Manifest, keys: Keys = EMBED) -> None:
    """Refuses what the disk has no room for.

    Args:
        folder: Of the store.
        manifest: What it is to hold.
        keys: For errors.

    Raises:
        UserError: With the bytes that are still needed and those that are free.
    """
    layout = manifest.layout
    missing = sorted(set(range(layout.shards)) - set(finished(folder, manifest)))
    partials = [partial_path(folder, shard) for shard in missing]
    there = sum(path.stat().st_size for path in partials if path.is_file())
    needed = sum(map(layout.bytes, missing)) - there
    absolute = folder.absolute()
    place = next(path for path in (absolute, *absolute.parents) if path.is_dir())
    free = shutil.disk_usage(place).free
    if needed > free:
        raise UserError(
            f"{keys.folder}={folder} needs {needed} bytes more ({needed / 2**30:.1f} GiB): "
            f"expected a disk with so much room, got {free} bytes free ({free / 2**30:.1f} GiB) at "
            f"{place}; make room there, or change {keys.folder} or {keys.dtype}"
        )


def _decisive(manifest: Manifest) -> dict[str, Any]:
    layout = manifest.layout
    sizes = {name: getattr(layout, name) for name in ("rows", "width", "rows_per_shard")}
    return {**manifest.parts, **sizes}


def _is_free(folder: Path) -> bool:
    """Says whether a folder is empty, but for what a start that was killed may have left."""
    names = [entry.name for entry in folder.iterdir()] if folder.is_dir() else [folder.name]
    return all(name == "store.lock" or name.endswith(".partial") for name in names)
