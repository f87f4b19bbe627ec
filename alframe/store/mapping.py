"""The shards of a store as arrays: mapped from their files, each when it is first asked for."""

from __future__ import annotations

import errno
import resource
from pathlib import Path

import numpy as np

from alframe.errors import UserError
from alframe.protocols import Array
from alframe.store.manifest import shard_path

SPARE = 256  # open files of everything else


class Shards:
    """The shards of a folder, by number; each keeps its file open.

    Args:
        folder: Of the store.
        count: How many there are.

    Raises:
        UserError: Where the system never lets a process open so many files.
    """

    def __init__(self, folder: Path, count: int) -> None:
        self._folder, self._count = folder, count
        self._maps: dict[int, Array] = {}
        _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        if hard != resource.RLIM_INFINITY and count + SPARE > hard:
            raise self._too_many(count + SPARE, hard)

    def __getitem__(self, shard: int) -> Array:
        """Returns the embeddings [rows, d] of a shard, as they are stored, read-only.

        Raises:
            UserError: Where the system lets this process open no more files.
        """
        if shard not in self._maps:
            try:
                self._maps[shard] = self._mapped(shard)
            except OSError as error:
                if error.errno != errno.EMFILE:
                    raise
                self._allow_more()
                self._maps[shard] = self._mapped(shard)
        return self._maps[shard]

    def _mapped(self, shard: int) -> Array:
        path = shard_path(self._folder, shard)
        return np.asarray(np.load(path, mmap_mode="r", allow_pickle=False))

    def _allow_more(self) -> None:
        """Raises this process's limit of open files, as far as the system lets it."""
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        more = soft + self._count + SPARE
        most = more if hard == resource.RLIM_INFINITY else min(more, hard)
        if most <= soft:
            raise self._too_many(more, hard)
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))
        except (ValueError, OSError) as error:  # macOS allows fewer than its limit says
            raise self._too_many(more, soft) from error

    def _too_many(self, needed: int, allowed: int) -> UserError:
        return UserError(
            f"{self._folder} has {self._count} files, which stay open while it is read: expected a "
            f"limit of {needed} open files, got {allowed}; raise the hard limit (ulimit -Hn), or "
            "fill the store again with a larger store.rows_per_shard"
        )
