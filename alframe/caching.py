"""Files in the memory that the system keeps for them, from where mapped files are read at once."""

from __future__ import annotations

import contextlib
import logging
import mmap
from pathlib import Path

import numpy as np

log = logging.getLogger(__name__)
AT_ONCE = 2**28  # bytes: in between, a signal is heard
LARGE = 2**30  # bytes


def cache(path: Path) -> None:
    """Reads a file from its beginning to its end, so that it is in memory as far as there is room.

    A disk is several times as fast at that as at the pages that are asked for one by one later.
    """
    with path.open("rb") as file:
        pages = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    if len(pages) > LARGE:
        log.info("reading through %s (%.1f GiB)", path, len(pages) / 2**30)
    with contextlib.suppress(AttributeError, OSError):  # Linux, where it was built with this
        pages.madvise(mmap.MADV_HUGEPAGE)  # kept in pages of 2 MiB, of which there are few to find
    content = np.frombuffer(pages, np.uint8)
    for start in range(0, len(content), AT_ONCE):
        content[start : start + AT_ONCE : mmap.PAGESIZE].max()
