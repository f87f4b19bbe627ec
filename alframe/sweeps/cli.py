"""``alframe-sweep FOLDER...``: what became of the cells of sweeps, also while they run."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from alframe.sweeps.folder import RECORD, SweepFolder
from alframe.sweeps.queue import look_at
from alframe.sweeps.table import show


def main(argv: Sequence[str] | None = None) -> int:
    """Prints the tables; returns the exit code, 2 where a folder holds no sweep."""
    parser = argparse.ArgumentParser(prog="alframe-sweep", description=(__doc__ or "").strip())
    parser.add_argument("folders", nargs="+", type=Path, metavar="FOLDER", help="hydra.sweep.dir")
    for path in parser.parse_args(argv).folders:
        folder = SweepFolder(path)
        cells = folder.known()
        if not cells:
            sys.stderr.write(
                f"alframe-sweep: expected the folder of a sweep, with a {RECORD}, got {path}\n"
            )
            return 2
        show(folder, cells, look_at(folder, cells))
    return 0
