"""Cells as they are, and whether a job of a cluster is going to make them."""

from __future__ import annotations

import logging
import subprocess
import time
from collections.abc import Sequence
from dataclasses import replace

from alframe.errors import UserError
from alframe.sweeps.cells import Cell
from alframe.sweeps.folder import Look, SweepFolder

log = logging.getLogger(__name__)
WAITS = (1, 5, 20, 60, 120, 0)  # seconds, for a controller that is busy or restarted
OVER = ("done", "running")


def look_at(folder: SweepFolder, cells: Sequence[Cell]) -> dict[str, Look]:
    """Returns what is known of cells, by name.

    Raises:
        UserError: If there are jobs, and Slurm does not answer.
    """
    looks = {cell.name: folder.look(cell.name) for cell in cells}
    asked = [
        name
        for name, look in looks.items()
        if look.state not in OVER and folder.job(name).get("kind") == "slurm"
    ]
    alive = queued() if asked else set()
    for name in asked:
        if looks[name].job in alive:
            looks[name] = replace(looks[name], state="queued", error="")
        elif looks[name].state == "new":
            said = "its job ended before it began: see what it printed, in the sweep's jobs/"
            looks[name] = replace(looks[name], state="killed", error=said)
    return looks


def queued() -> set[str]:
    """Returns the ids of the user's jobs in Slurm's queue, those that run too.

    Raises:
        UserError: If Slurm does not answer for some minutes.
    """
    command = ["squeue", "--noheader", "--array", "--me", "--format=%i"]
    for wait in WAITS:
        try:
            done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
            return set(done.stdout.split())
        except FileNotFoundError:
            log.warning("squeue is not here: whether jobs of Slurm wait for cells is not known")
            return set()
        except (subprocess.CalledProcessError, subprocess.TimeoutExpired) as error:
            said = str(getattr(error, "stderr", "") or error).strip()
            log.warning("squeue: %s", said)
            time.sleep(wait)
    raise UserError(
        f"hydra/launcher=slurm: expected squeue to answer, got {said}; jobs that were submitted go "
        "on, and the same command finds them"
    )
