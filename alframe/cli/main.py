"""The ``alframe`` command, and `run` for the same from Python."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf, open_dict
from omegaconf.errors import OmegaConfBaseException

from alframe.cli.mistakes import explain
from alframe.errors import UserError
from alframe.run_dir import is_harmless, new_run_dir, read_config

if TYPE_CHECKING:
    from alframe.cli.execute import Result

_INSTALLED = Path(__file__).parents[1] / "configs"
CONFIGS = _INSTALLED if _INSTALLED.is_dir() else Path(__file__).parents[2] / "configs"
"""The config folder: inside the package in a wheel, beside it in a checkout."""


def main() -> None:
    """Runs the command line; a user's mistake ends with exit code 2 and one sentence."""
    # Hydra would print a traceback or a message of its own and exit with 1.
    os.environ["HYDRA_FULL_ERROR"] = "1"
    mistakes: list[UserError] = []

    def job(config: DictConfig) -> None:
        # Caught here, because Hydra would print lines of its own, and a mistake in one cell of a
        # sweep must not keep the other cells from running.
        try:
            settings: Any = HydraConfig.get()
            _start(config, settings, settings.overrides.task)
        except (UserError, OmegaConfBaseException) as error:
            mistakes.append(_mistake(error))

    try:
        _check_sweep(sys.argv[1:])
        hydra.main(version_base="1.3", config_path=str(CONFIGS), config_name="run")(job)()
    except (UserError, HydraException, OmegaConfBaseException) as error:
        mistakes.append(_mistake(error))
    except KeyboardInterrupt:
        sys.exit(130)
    if mistakes:
        sys.exit(2)


def run(*overrides: str) -> Result:
    """Does what ``alframe OVERRIDES...`` does, from Python.

    Args:
        overrides: As on the command line, for example ``"experiment=lecture_1d", "seed=3"``.

    Raises:
        UserError: For a mistake in the overrides or the data.
    """
    try:
        config = _compose(list(overrides))
    except (HydraException, OmegaConfBaseException) as error:
        raise explain(error, _default_config(), [CONFIGS]) from error
    return _start(config, config.hydra, overrides)


def _start(config: DictConfig, settings: DictConfig, overrides: Any) -> Result:
    """Settles where the run goes, and starts it."""
    if config.resume is not None:
        other = [word for word in overrides if not is_harmless(word.split("=")[0])]
        if other:
            raise UserError(
                f"resume={config.resume} goes on with the stored config: expected no other keys, "
                f"got {' '.join(other)}; leave them out or start a new run"
            )
        path = Path(config.resume)
        plain = read_config(path)
    else:
        with open_dict(config):
            config.pop("hydra", None)
            path = _run_dir(config, settings)
            config.run_dir = str(path)
            chosen = settings.runtime.choices
            config.choices = {
                group.rpartition("@")[2]: None if chosen[group] == "null" else chosen[group]
                for group in chosen
                if not group.startswith("hydra/")
            }
        plain = _plain(config)
    from alframe.cli.execute import execute  # imports torch, which --help must not wait for

    return execute(plain, path)


def _run_dir(config: DictConfig, settings: DictConfig) -> Path:
    if settings.mode == RunMode.MULTIRUN:
        return Path(settings.runtime.output_dir)
    if config.run_dir is not None:
        return Path(config.run_dir)
    return new_run_dir(Path(config.paths.runs_dir), config.name)


def _plain(config: DictConfig) -> dict[str, Any]:
    plain = OmegaConf.to_container(config, resolve=True, throw_on_missing=True)
    assert isinstance(plain, dict)
    return {str(key): value for key, value in plain.items()}


def _compose(overrides: list[str], extra: list[Path] | None = None) -> DictConfig:
    folders = ",".join(f"file://{folder.absolute()}" for folder in extra or [])
    search = [f"hydra.searchpath=[{folders}]"] if folders else []
    with hydra.initialize_config_dir(str(CONFIGS), version_base="1.3", job_name="alframe"):
        return hydra.compose("run", [*overrides, *search], return_hydra_config=True)


def _default_config() -> dict[str, Any]:
    config = _compose([])
    with open_dict(config):
        config.pop("hydra")
    plain: Mapping[Any, Any] = OmegaConf.to_container(config, resolve=False)  # type: ignore[assignment]
    return {str(key): value for key, value in plain.items()}


def _config_dirs(arguments: list[str]) -> list[Path]:
    """Returns the folders given with --config-dir (or -cd)."""
    found = []
    for index, word in enumerate(arguments):
        flag, _, value = word.partition("=")
        if flag in ("--config-dir", "-cd"):
            found.append(Path(value or "".join(arguments[index + 1 : index + 2])))
    return found


def _check_sweep(arguments: list[str]) -> None:
    """Composes each value of a sweep once, before Hydra writes the sweep's folder."""
    if not {"-m", "--multirun"} & set(arguments):
        return
    from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
    from hydra.core.override_parser.overrides_parser import OverridesParser

    folders = _config_dirs(arguments)
    words = [word for word in arguments if not word.startswith("-") and "=" in word]
    parsed = OverridesParser.create().parse_overrides(words)
    cells = BasicSweeper.split_arguments(parsed, None)[0]
    seen: set[str] = set()
    for cell in cells:
        if not seen.issuperset(cell):
            seen.update(cell)
            _compose(cell, folders)


def _mistake(error: Exception) -> UserError:
    """Prints a user's mistake as one sentence and returns it."""
    mistake = error if isinstance(error, UserError) else None
    if mistake is None:
        folders = [CONFIGS, *_config_dirs(sys.argv[1:])]
        mistake = explain(error, _default_config(), folders)
    sys.stderr.write(f"alframe: {mistake}\n")
    return mistake
