"""``alframe -m``: finds the cells of a sweep that are missing, and has a launcher start them."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from hydra._internal.callbacks import Callbacks
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.plugins import Plugins
from hydra.initialize import initialize_config_dir
from hydra.types import HydraContext, RunMode
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf, open_dict

from alframe.cli.console import set_up_logging
from alframe.errors import UserError
from alframe.sweeps.cell import run_cell
from alframe.sweeps.cells import Cell, cells_of, quoted
from alframe.sweeps.check import check, histories
from alframe.sweeps.folder import Look, SweepFolder
from alframe.sweeps.queue import look_at
from alframe.sweeps.table import show

log = logging.getLogger(__name__)
BASIC = "hydra._internal.core_plugins.basic_sweeper.BasicSweeper"
ELSEWHERE = ("running", "queued")
POLL = 1.0  # seconds between two looks at cells that other processes work on
TO_DO = ("new", "killed", "interrupted", "waiting")
MOST_BREAKS = 3
"""How often a pool of processes is started again where one was killed, by want of memory, say."""


def sweep(overrides: Sequence[str], folders: Sequence[Path], configs: Path) -> int | None:
    """Makes all cells that are missing, and shows what became of them.

    Args:
        overrides: Of the command line, the swept ones too.
        folders: Config folders of others.
        configs: alframe's own.

    Returns:
        The exit code: 0, or 1 if a cell failed, or 2 if users' mistakes were all that failed; None
        where another sweeper than Hydra's basic one was chosen, whose cells are not ours.

    Raises:
        UserError: For a mistake in the command, or a folder that cannot be used.
    """
    search = [f"file://{folder.absolute()}" for folder in folders]
    more = [f"hydra.searchpath=[{','.join(search)}]"] if search else []
    with initialize_config_dir(str(configs), version_base="1.3", job_name="alframe"):
        hydra: Any = GlobalHydra.instance().hydra
        config = hydra.compose_config(
            config_name="run",
            overrides=[*overrides, "hydra.mode=MULTIRUN", *more],
            run_mode=RunMode.MULTIRUN,
            with_log_configuration=False,
        )
        if config.hydra.sweeper._target_ != BASIC:
            return None
        set_up_logging()
        folder = _settle_folder(config)
        driver = Driver(config, HydraContext(hydra.config_loader, Callbacks(config)), folder)
        return driver.run(list(config.hydra.overrides.task))


class Driver:
    """Drives one sweep.

    Args:
        config: Composed of what all cells have in common, with Hydra's own part.
        context: Composes the cells.
        folder: Of the sweep.
    """

    def __init__(self, config: DictConfig, context: HydraContext, folder: SweepFolder) -> None:
        self._config, self._context, self._folder = config, context, folder
        self._again = config.sweep.failed == "again"
        self._tried: set[str] = set()  # cells that a launcher was given
        self._breaks = 0
        if config.sweep.failed not in ("skip", "again"):
            raise UserError(f"sweep.failed={config.sweep.failed}: expected skip or again")
        if config.trainer.get("parallel") == "ddp":
            raise UserError(
                "trainer=ddp: expected another trainer in a sweep, each of whose cells is one "
                "process; start each run with torchrun or srun instead"
            )
        if config.run_dir is not None:
            raise UserError(
                f"run_dir={config.run_dir}: expected none in a sweep, whose cells have a folder "
                "each; use hydra.sweep.dir"
            )

    def run(self, overrides: Sequence[str]) -> int:
        """Makes the cells of these overrides; see `sweep`."""
        cells = cells_of(overrides)
        looks = look_at(self._folder, cells)
        todo = [cell for cell in cells if self._is_to_do(cell, looks)]
        if todo:  # composing takes longer than all the rest where everything is done
            check(self._context, self._config, todo)
        more = self._common(cells) if todo else []
        self._folder.open(*self._identity(overrides), cells)
        try:
            if len(todo) < len(cells):
                show(self._folder, cells, looks)
            self._make(cells, more)
        finally:
            looks = look_at(self._folder, cells)
            show(self._folder, cells, looks)
        return self._code(looks)

    def _make(self, cells: Sequence[Cell], more: Sequence[str]) -> None:
        """Starts what is to be done until there is nothing left, here or elsewhere."""
        launcher = make_launcher(self._config, self._context)
        launched = 0
        while True:
            looks = look_at(self._folder, cells)
            ready = [cell for cell in cells if self._is_to_do(cell, looks)]
            if ready:
                self._tried.update(cell.name for cell in ready)
                words = [
                    [*cell.overrides, f"sweep.cell={quoted(cell.name)}", *more] for cell in ready
                ]
                self._launch(launcher, words, launched)
                launched += len(ready)
            elif any(look.state in ELSEWHERE for look in looks.values()):
                time.sleep(POLL)
            else:
                return

    def _launch(self, launcher: Any, words: list[list[str]], first: int) -> None:
        try:
            launcher.launch(words, initial_job_idx=first)
        except Exception as error:
            if "Worker" not in type(error).__name__ or self._breaks == MOST_BREAKS:
                raise
            log.warning("a process was killed, and its neighbors with it: %s", error)
            self._breaks += 1
            self._tried.clear()

    def _is_to_do(self, cell: Cell, looks: Mapping[str, Look]) -> bool:
        state = looks[cell.name].state
        todo = state in TO_DO or (state == "failed" and self._again)
        return todo and cell.name not in self._tried

    def _identity(self, overrides: Sequence[str]) -> tuple[dict[str, Any], list[str]]:
        """Returns the plain config that all cells have in common, and what is swept."""
        parsed = OverridesParser.create().parse_overrides(list(overrides))
        keys = [str(one.get_key_element()) for one in parsed if one.is_sweep_override()]
        config = OmegaConf.masked_copy(self._config, [str(k) for k in self._config if k != "hydra"])
        plain = OmegaConf.to_container(config, resolve=False)
        assert isinstance(plain, dict)
        return {str(k): v for k, v in plain.items()}, [k.rpartition("@")[2] for k in keys]

    def _common(self, cells: Sequence[Cell]) -> list[str]:
        """Returns overrides for all cells: what shared fits record for all of their strategies."""
        share = self._config.share
        if share.dir != "auto" or share.records is not None:
            return []
        return [f"share.records=[{','.join(histories(self._context, self._config, cells))}]"]

    def _code(self, looks: Mapping[str, Look]) -> int:
        bad = [name for name, look in looks.items() if look.state not in ("done", "waiting")]
        if not bad:
            return 0
        mistakes = all(self._folder.is_mistake(name) for name in bad)
        if mistakes and len(bad) == len(looks):
            self._folder.tidy()
        return 2 if mistakes else 1


def make_launcher(config: DictConfig, context: HydraContext) -> Any:
    """Returns the chosen launcher, ready to start cells."""
    parts: dict[str, Any] = {"hydra_context": context, "task_function": run_cell, "config": config}
    if not config.hydra.launcher._target_.startswith("alframe."):
        return Plugins.instance().instantiate_launcher(**parts)
    launcher = instantiate(config.hydra.launcher)  # Hydra's registry takes no plug-ins of others
    launcher.setup(**parts)
    return launcher


def _settle_folder(config: DictConfig) -> SweepFolder:
    """Fixes the sweep's folder for all processes: its name may hold the time."""
    path = Path(config.hydra.sweep.dir).absolute()
    with open_dict(config):
        config.hydra.sweep.dir = str(path)
        others = [w for w in config.hydra.overrides.hydra if not w.startswith("hydra.sweep.dir=")]
        config.hydra.overrides.hydra = [*others, f"hydra.sweep.dir={quoted(str(path))}"]
    return SweepFolder(path)
