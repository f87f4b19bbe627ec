"""Starts or resumes the run that a composed config describes."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from omegaconf import DictConfig

from alframe.cli import garbage
from alframe.cli.compose import settle
from alframe.errors import UserError
from alframe.run_dir import read_config

if TYPE_CHECKING:
    from alframe.cli.execute import Result


def start(config: DictConfig, settings: Any, overrides: Sequence[str]) -> Result:
    """Settles where the run goes, and starts it.

    Args:
        config: Composed, without Hydra's own part.
        settings: Hydra's own part.
        overrides: As on the command line.

    Raises:
        UserError: For a mistake in the config or the data.
    """
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
    with garbage.put_off():
        from alframe.cli.execute import execute  # imports torch, which --help must not wait for

    return execute(plain, Path(plain["run_dir"]))
