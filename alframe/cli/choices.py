"""Which config groups the words of a command line choose, themselves or by their experiment."""

from __future__ import annotations

import re
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import yaml

from alframe.errors import UserError

WHOLE = ("experiment", "debug")
"""Groups whose options choose those of other groups."""


def config_dirs(words: Sequence[str]) -> list[Path]:
    """Returns the folders given with --config-dir (or -cd)."""
    found = []
    for index, word in enumerate(words):
        flag, _, value = word.partition("=")
        if flag in ("--config-dir", "-cd"):
            found.append(Path(value or "".join(words[index + 1 : index + 2])))
    return found


def is_chosen(group: str, words: Sequence[str], folder: Path) -> bool:
    """Tells whether a group is chosen by a word, or by the experiment that a word chooses.

    Args:
        group: Such as ``schedule``.
        words: Of the command line, flags included.
        folder: alframe's own configs, before those of --config-dir.

    Raises:
        UserError: For a sweep over experiments of which only some choose it.
    """
    pairs = [word.lstrip("+").partition("=") for word in words]
    if any(key == group for key, _, _ in pairs):
        return True
    folders = [folder, *config_dirs(words)]
    for place, _, value in pairs:
        if place not in WHOLE:
            continue
        names = re.split(r"[\s,]+", value.strip("'\"[] "))
        choose = [name for name in names if group in _groups(f"{place}/{name}", folders)]
        if 0 < len(choose) < len(names):
            raise UserError(
                f"{place}={value}: expected options that all choose a {group}, or none, with "
                f"concept=NAME, but of these only {', '.join(choose)} do; give {group}=NAME, too"
            )
        if choose:
            return True
    return False


def _groups(option: str, folders: Sequence[Path]) -> set[str]:
    """Returns the groups that an option such as ``experiment/x`` chooses, and what it is made of.

    Nothing where there is no such option, or no YAML in it: Hydra says so.
    """
    files = (folder / f"{option}.yaml" for folder in folders)
    file = next((file for file in files if file.is_file()), None)
    found: set[str] = set()
    if file is None:
        return found
    with suppress(yaml.YAMLError, AttributeError, TypeError):
        for entry in yaml.safe_load(file.read_text()).get("defaults", ()):
            if isinstance(entry, str):
                if entry != "_self_":
                    found |= _groups(_beside(option, entry), folders)
                continue
            for key in entry:  # such as "override /schedule", or "/learner@target"
                found.add(key.split()[-1].lstrip("/").partition("@")[0])
    return found


def _beside(option: str, entry: str) -> str:
    """Returns an option of a defaults list: beside the one with the list, or of another group."""
    return entry.lstrip("/") if entry.startswith("/") else f"{option.rpartition('/')[0]}/{entry}"
