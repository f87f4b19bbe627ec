"""One cell of a sweep, in whichever process a launcher gives it."""

from __future__ import annotations

import sys
import time
import traceback
from contextlib import suppress
from pathlib import Path
from typing import IO, Any

from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException
from omegaconf import DictConfig
from omegaconf.errors import OmegaConfBaseException

from alframe import signals
from alframe.errors import UserError
from alframe.run_dir import HeldError
from alframe.sweeps.folder import SweepFolder
from alframe.sweeps.gpus import take_gpu
from alframe.sweeps.orphans import leave_with_parent


def run_cell(config: DictConfig) -> None:
    """Makes or resumes the cell's run; whatever becomes of it is noted in the sweep's folder.

    A cell that is done, or that another process works on, is left alone: launchers may have been
    given it twice. Only what asks the process to leave is raised.

    Args:
        config: The composed config, without Hydra's own part.
    """
    settings: Any = HydraConfig.get()
    words = list(settings.overrides.task)
    folder, name = SweepFolder(Path(settings.sweep.dir)), str(config.sweep.cell)
    lock = _hold(folder, name)
    if lock is None:
        return
    if "joblib" in settings.launcher._target_:
        leave_with_parent()
        take_gpu(folder.notes)
    with lock, signals.owned():
        if folder.look(name).state == "done":
            return
        folder.begins(name)
        try:
            _start(config, settings, words)
        except UserError as mistake:
            sys.stderr.write(f"alframe: {name}: {mistake}\n")
            folder.fails(name, str(mistake), mistake=True)
        except Exception as error:  # whatever it is, the other cells go on
            traceback.print_exc()
            folder.fails(name, f"{type(error).__name__}: {error}", mistake=False)


def _hold(folder: SweepFolder, name: str) -> IO[str] | None:
    """Locks a cell, or returns None where another process works on it, and not only looks at it."""
    for _ in range(20):
        with suppress(HeldError):
            return folder.hold(name)
        time.sleep(0.1)
    return None


def _start(config: DictConfig, settings: Any, words: list[str]) -> None:
    from alframe.cli.mistakes import explain
    from alframe.cli.start import start

    try:
        start(config, settings, words)
    except (OmegaConfBaseException, HydraException) as error:
        folders = [
            Path(one.path) for one in settings.runtime.config_sources if one.schema == "file"
        ]
        raise explain(error, words, folders) from error
