"""The composed config of a command beside `alframe`, and what its words may look like."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from alframe.errors import UserError


def composed(words: Sequence[str], folder: Path | None, primary: str) -> dict[str, Any]:
    """Returns a composed config, plain; nothing is built.

    Args:
        words: As on the command line.
        folder: With configs of the user's own, or None.
        primary: The primary config.

    Raises:
        UserError: For words that do not compose.
    """
    from hydra.errors import HydraException
    from omegaconf import OmegaConf, open_dict
    from omegaconf.errors import OmegaConfBaseException

    from alframe.cli.compose import CONFIGS, compose
    from alframe.cli.mistakes import explain

    folders = [] if folder is None else [folder]
    try:
        config = compose(words, folders, primary)
        with open_dict(config):
            del config["hydra"]
        plain = OmegaConf.to_container(config, resolve=True, throw_on_missing=True)
    except (HydraException, OmegaConfBaseException, ValueError) as error:
        raise explain(error, words, [CONFIGS, *folders], primary) from error
    assert isinstance(plain, dict)
    return {str(key): value for key, value in plain.items()}


def share(key: str, word: object) -> tuple[int, int]:
    """Returns (i, n) of ``i/n``, the i-th of n, counted from 1.

    Args:
        key: The config key.
        word: Its value.

    Raises:
        UserError: For anything else.
    """
    match = re.fullmatch(r"(\d+)/(\d+)", str(word))
    if match and 1 <= int(match[1]) <= int(match[2]):
        return int(match[1]), int(match[2])
    raise UserError(f"{key}={word}: expected i/n with i from 1 to n, such as 2/8, or null")
