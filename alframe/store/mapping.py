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
    """

    def __init__(self, folder: Path, count: int) -> None:
        self._folder, self._count = folder, count
        self._maps: dict[int, Array] = {}

    def __getitem__(self, shard: int) -> Array:
        """Returns the embeddings [rows, d] of a shard, as they are stored, read-only.

        Raises:
            UserError: Where the system allows fewer open files than there are shards.
        """
        if shard not in self._maps:
            if not self._maps:
                _allow_files(self._count + SPARE)
            self._maps[shard] = self._mapped(shard)
        return self._maps[shard]

    def _mapped(self, shard: int) -> Array:
        path = shard_path(self._folder, shard)
        try:
            return np.asarray(np.load(path, mmap_mode="r", allow_pickle=False))
        except OSError as error:
            if error.errno != errno.EMFILE:
                raise
            allowed, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
            raise UserError(
                f"{self._folder} has {self._count} files, which are open while it is read: expected"
                f" a limit of {self._count + SPARE} open files or more, got {allowed}; raise it "
                "(ulimit -n, or its hard limit), or fill the store again with a larger "
                "store.rows_per_shard"
            ) from error


def _allow_files(number: int) -> None:
    """Raises the limit of open files to a number, as far as the system lets this process."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = number if hard == resource.RLIM_INFINITY else min(number, hard)
    if soft != resource.RLIM_INFINITY and soft < most:
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))
