"""Whether an index fits into memory, before it is built or read."""

from __future__ import annotations

import logging
from pathlib import Path

from alframe.errors import UserError
from alframe.limits import available_bytes

log = logging.getLogger(__name__)


def check_rows(what: str, needed: int, limit: float | None, remedy: str) -> None:
    """Raises `UserError` where rows of an index take more memory than there may be.

    Args:
        what: The index and its rows, in words.
        needed: Bytes.
        limit: ``index.memory_gib``; None = what is free.
        remedy: What to do, in words.
    """
    if words := _too_large(needed, limit):
        raise UserError(f"{what}: {words}; {remedy}, or raise index.memory_gib")


def check_file(file: Path, limit: float | None) -> bool:
    """Tells whether memory has room for a file that is to be searched, and warns where it has not.

    Args:
        file: Of the index, which is mapped.
        limit: ``index.memory_gib``; None = none.

    Raises:
        UserError: Where it takes more than the limit.
    """
    size = file.stat().st_size
    if limit is not None and (words := _too_large(size, limit)):
        remedy = "keep its lists on disk (alframe-index ... step=merge on_disk=true)"
        raise UserError(f"{file}: {words}; {remedy}, or raise index.memory_gib")
    if words := _too_large(size, None):
        log.warning("%s: %s; searches may wait for the disk: index=ivf_pq takes less", file, words)
    return not words


def _too_large(needed: int, limit: float | None) -> str:
    """Says that something takes more bytes than there may be, or nothing."""
    free = available_bytes() if limit is None else limit * 2**30
    most = "are free" if limit is None else "index.memory_gib allows"
    gib = f"{needed / 2**30:.3g} GiB: expected at most the {free / 2**30:.3g} that {most}"
    return f"it takes {gib}" if needed > free else ""
