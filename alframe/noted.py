"""A note of how files were when their checksums were compared: that is done once, not in each run.

A file is as it was where its size, its inode and its times of change are: a copy is another file,
also one that kept the time of the first.
"""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from alframe.files import write_json

log = logging.getLogger(__name__)
MOMENT = 2 * 10**9  # ns: of the clocks of some file systems


@dataclass(frozen=True)
class Seen:
    """How files were at one moment.

    Attributes:
        files: By name: size (bytes), inode, and times of change of content and of all (ns).
        settled: None was touched a moment before: another write may leave the same times.
    """

    files: dict[str, list[int]]
    settled: bool


def look_at(paths: Iterable[Path]) -> Seen:
    """Returns how files are that are there."""
    now, found = time.time_ns(), {path.name: path.stat() for path in paths}
    files = {
        name: [there.st_size, there.st_ino, there.st_mtime_ns, there.st_ctime_ns]
        for name, there in found.items()
    }
    newest = max((max(about[2:]) for about in files.values()), default=0)
    return Seen(files, now - newest > MOMENT)


def is_noted(note: Path, seen: Seen) -> bool:
    """Tells whether files are as a note says that they were."""
    try:
        return bool(json.loads(note.read_text()) == seen.files)
    except (OSError, ValueError):
        return False


def write_note(note: Path, seen: Seen) -> None:
    """Notes how files were before their checksums were compared, where that can be kept."""
    if not seen.settled:
        return
    try:
        write_json(note, seen.files)
    except OSError as error:  # may only be read
        log.info("%s cannot be written (%s): every run compares the files", note, error)
