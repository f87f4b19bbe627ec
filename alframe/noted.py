"""A note of how files were when their checksums were compared: that is done once, not in each run.

A file that nobody wrote to since then has the same size and the same time of change.
"""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Iterable, Mapping
from pathlib import Path

from alframe.files import write_json

log = logging.getLogger(__name__)
MOMENT = 10**8  # ns: clocks of file systems may stand still for 0.01 s

Stamps = Mapping[str, list[int]]
"""The size (bytes) and the time of change (ns) of files, by name."""


def stamps_of(paths: Iterable[Path]) -> dict[str, list[int]]:
    """Returns the stamps of files that are there."""
    seen = {path.name: path.stat() for path in paths}
    return {name: [there.st_size, there.st_mtime_ns] for name, there in seen.items()}


def is_noted(note: Path, stamps: Stamps) -> bool:
    """Tells whether files are as a note says that they were."""
    try:
        return bool(json.loads(note.read_text()) == stamps)
    except (OSError, ValueError):
        return False


def write_note(note: Path, stamps: Stamps) -> None:
    """Notes how files were before their checksums were compared, where that can be kept.

    Not for a file that was written a moment ago: another write in the same tick of the clock would
    leave no trace.
    """
    newest = max((changed for _, changed in stamps.values()), default=0)
    if time.time_ns() - newest < MOMENT:
        return
    try:
        write_json(note, stamps)
    except OSError as error:  # may only be read
        log.info("%s cannot be written (%s): every run compares the files", note, error)
