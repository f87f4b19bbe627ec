"""The ``alframe`` command, and `run` for the same from Python."""

from __future__ import annotations

import logging
import os
import sys
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import hydra
from hydra._internal.utils import get_args_parser
from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException
from omegaconf import DictConfig, open_dict
from omegaconf.errors import OmegaConfBaseException

from alframe.cli.choices import config_dirs
from alframe.cli.compose import CONFIGS, compose, settle, with_aliases
from alframe.cli.mistakes import explain
from alframe.errors import UserError
from alframe.run_dir import read_config

if TYPE_CHECKING:
    from alframe.cli.execute import Result


def main() -> None:
    """Runs the command line; a user's mistake ends with exit code 2 and one sentence."""
    # Hydra would print a traceback or a message of its own and exit with 1.
    os.environ["HYDRA_FULL_ERROR"] = "1"
    logging.getLogger("hydra.utils").disabled = True
    words = sys.argv[1:]
    try:
        sys.argv[1:] = words = with_aliases(words)
    except UserError as error:
        _said(error, words)
        sys.exit(2)
    mistakes: list[UserError] = []
    started: list[Path] = []

    def job(config: DictConfig) -> None:
        # Caught here, because Hydra would print lines of its own, and a mistake in one cell of a
        # sweep must not keep the other cells from running.
        settings: Any = HydraConfig.get()
        started.append(Path(settings.sweep.dir))
        try:
            _start(config, settings, settings.overrides.task)
        except (UserError, OmegaConfBaseException) as error:
            mistakes.append(_said(error, words))

    try:
        _check_flags(words)
        _check_sweep(words)
        hydra.main(version_base="1.3", config_path=str(CONFIGS), config_name="run")(job)()
    except (UserError, HydraException, OmegaConfBaseException) as error:
        mistakes.append(_said(error, words))
    except ValueError as error:  # what Hydra raises for strategy=null and the like
        if started:
            raise
        mistakes.append(_said(error, words))
    except KeyboardInterrupt:
        sys.exit(130)
    if mistakes:
        if len(started) == len(mistakes):
            _tidy(started)
        sys.exit(2)


def run(*overrides: str) -> Result:
    """Does what ``alframe OVERRIDES...`` does, from Python.

    Args:
        overrides: As on the command line, for example ``"experiment=lecture_1d", "seed=3"``.

    Raises:
        UserError: For a mistake in the overrides or the data.
    """
    words = with_aliases(overrides)
    try:
        config = compose(words)
    except (HydraException, OmegaConfBaseException, ValueError) as error:
        raise explain(error, words, [CONFIGS]) from error
    settings = config.hydra
    with open_dict(config):
        del config["hydra"]
    try:
        return _start(config, settings, words)
    except OmegaConfBaseException as error:
        raise explain(error, words, [CONFIGS]) from error


def _start(config: DictConfig, settings: DictConfig, overrides: Any) -> Result:
    """Settles where the run goes, and starts it."""
    if config.resume is not None:
        other = [word for word in overrides if not word.startswith("resume=")]
        if other:
            raise UserError(
                f"resume={config.resume} goes on with the stored config: expected no other keys, "
                f"got {' '.join(other)}; leave them out, or give the run's own command with "
                f"run_dir={config.resume} to change paths or logger"
            )
        plain = read_config(Path(config.resume)) | {"run_dir": str(config.resume)}
    else:
        plain = settle(config, settings)
    from alframe.cli.execute import execute  # imports torch, which --help must not wait for

    return execute(plain, Path(plain["run_dir"]))


def _check_flags(words: list[str]) -> None:
    """Refuses unknown flags in one sentence, where argparse would print its usage."""
    unknown = [word for word in get_args_parser().parse_known_args(words)[1] if word[:1] == "-"]
    if unknown:
        raise UserError(f"{unknown[0]}: expected a flag that alframe --hydra-help lists")


def _check_sweep(words: list[str]) -> None:
    """Composes each value of a sweep once, before Hydra writes the sweep's folder."""
    if not {"-m", "--multirun"} & set(words):
        return
    from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
    from hydra.core.override_parser.overrides_parser import OverridesParser

    parsed = OverridesParser.create().parse_overrides(_overrides(words))
    cells = BasicSweeper.split_arguments(parsed, None)[0]
    seen: set[str] = set()
    for cell in cells:
        if not seen.issuperset(cell):
            seen.update(cell)
            compose(cell, config_dirs(words))


def _tidy(sweeps: list[Path]) -> None:
    """Removes what Hydra wrote for sweeps of which no cell could start."""
    for folder in set(sweeps):
        if folder.is_dir() and [entry.name for entry in folder.iterdir()] == ["multirun.yaml"]:
            (folder / "multirun.yaml").unlink()
            with suppress(OSError):
                folder.rmdir()
                folder.parent.rmdir()  # where Hydra made that, too


def _overrides(words: list[str]) -> list[str]:
    return [word for word in words if not word.startswith("-") and "=" in word]


def _said(error: Exception, words: list[str]) -> UserError:
    """Prints a user's mistake as one sentence and returns it."""
    folders = [CONFIGS, *config_dirs(words)]
    explained = explain(error, _overrides(words), folders)
    sys.stderr.write(f"alframe: {explained}\n")
    return explained
