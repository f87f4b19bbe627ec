"""The shards of a store as arrays: mapped from their files, each when it is first asked for."""

from __future__ import annotations

import contextlib
import errno
import resource
from pathlib import Path

import numpy as np

from alframe.errors import UserError
from alframe.protocols import Array
from alframe.store.manifest import shard_path

SPARE = 256  # files that a process may want to open later


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
        if hard != resource.RLIM_INFINITY and count >= hard:
            raise self._too_many()

    def __getitem__(self, shard: int) -> Array:
        """Returns the embeddings [rows, d] of a shard, as they are stored, read-only.

        Raises:
            UserError: Where the system lets this process open no more files.
        """
        if shard not in self._maps:
            if not self._maps:
                _make_room(self._count + SPARE)
            self._maps[shard] = self._mapped(shard)
        return self._maps[shard]

    def _mapped(self, shard: int) -> Array:
        try:
            path = shard_path(self._folder, shard)
            return np.asarray(np.load(path, mmap_mode="r", allow_pickle=False))
        except OSError as error:
            if error.errno != errno.EMFILE:
                raise
            raise self._too_many() from error

    def _too_many(self) -> UserError:
        soft, hard = (
            "none" if limit == resource.RLIM_INFINITY else limit
            for limit in resource.getrlimit(resource.RLIMIT_NOFILE)
        )
        return UserError(
            f"{self._folder} has {self._count} files, which stay open while it is read: expected a "
            f"limit of open files above that, got {soft} (hard limit: {hard}); raise it (ulimit -n)"
            ", or fill the store again with a larger store.rows_per_shard"
        )


def _make_room(files: int) -> None:
    """Raises this process's limit of open files for so many more, as far as the system lets it."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with contextlib.suppress(ValueError, OSError):  # macOS allows fewer than its limit says
        wanted = sum(1 for _ in Path("/dev/fd").iterdir()) + files
        most = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        if soft != resource.RLIM_INFINITY and soft < most:
            resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))
