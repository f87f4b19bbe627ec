"""The ``alframe`` command, and `run` for the same from Python."""

from __future__ import annotations

import logging
import os
import sys
from typing import TYPE_CHECKING, Any

import hydra
from hydra._internal.utils import get_args_parser
from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException
from omegaconf import DictConfig, open_dict
from omegaconf.errors import OmegaConfBaseException

from alframe import signals
from alframe.cli.choices import config_dirs
from alframe.cli.compose import CONFIGS, compose, with_aliases
from alframe.cli.mistakes import explain
from alframe.cli.start import start
from alframe.errors import UserError
from alframe.starters import check_one_run
from alframe.world import repeats_others

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
    try:
        with signals.owned():
            code = _do(words)
    except signals.Left as left:
        sys.exit(left.exit_code)
    except KeyboardInterrupt:
        sys.exit(130)
    if code:
        sys.exit(code)


def _do(words: list[str]) -> int:
    """Does what the words say; returns the exit code."""
    mistakes: list[UserError] = []
    started: list[DictConfig] = []

    def job(config: DictConfig) -> None:
        # Caught here, because Hydra would print lines of its own, and a mistake in one cell of
        # another sweeper's sweep must not keep the other cells from running.
        started.append(config)
        settings: Any = HydraConfig.get()
        try:
            start(config, settings, settings.overrides.task)
        except (UserError, OmegaConfBaseException) as error:
            mistakes.append(_said(error, words))

    try:
        _check_flags(words)
        if (code := _sweep(words)) is not None:
            return code
        hydra.main(version_base="1.3", config_path=str(CONFIGS), config_name="run")(job)()
    except (UserError, HydraException, OmegaConfBaseException) as error:
        mistakes.append(_said(error, words))
    except ValueError as error:  # what Hydra raises for strategy=null and the like
        if started:
            raise
        mistakes.append(_said(error, words))
    return 2 if mistakes else 0


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
        return start(config, settings, words)
    except OmegaConfBaseException as error:
        raise explain(error, words, [CONFIGS]) from error


def _check_flags(words: list[str]) -> None:
    """Refuses unknown flags in one sentence, where argparse would print its usage."""
    unknown = [word for word in get_args_parser().parse_known_args(words)[1] if word[:1] == "-"]
    if unknown:
        raise UserError(f"{unknown[0]}: expected a flag that alframe --hydra-help lists")


def _sweep(words: list[str]) -> int | None:
    """Runs a sweep, unless Hydra is only asked to show something of it, or to do it its own way."""
    args = get_args_parser().parse_args(words)
    if not args.multirun or any((args.cfg, args.info, args.help, args.hydra_help)):
        return None
    check_one_run()
    from alframe.sweeps.drive import sweep

    return sweep(args.overrides, config_dirs(words), CONFIGS)


def _overrides(words: list[str]) -> list[str]:
    return [word for word in words if not word.startswith("-") and "=" in word]


def _said(error: Exception, words: list[str]) -> UserError:
    """Prints a user's mistake as one sentence and returns it."""
    folders = [CONFIGS, *config_dirs(words)]
    explained = explain(error, _overrides(words), folders)
    if not repeats_others():
        sys.stderr.write(f"alframe: {explained}\n")
    return explained
