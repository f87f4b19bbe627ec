"""Turns what Hydra and OmegaConf say of a user's mistake into one clear sentence."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable
from pathlib import Path

from alframe.errors import UserError
from alframe.run_dir import flatten

NO_SUCH_KEY = re.compile(r"Could not override '([^']+)'|Key '([^']+)' is not in struct")
NO_SUCH_GROUP = re.compile(r"Could not override '([^']+)'\.\s*No match in the defaults list")
NO_SUCH_OPTION = re.compile(r"Could not find '([^']+)'|In '[^']+': Could not find '([^']+)'")


def nearest(word: str, known: Iterable[str]) -> str:
    """Returns " (did you mean X?)", or nothing where no known word is near."""
    close = difflib.get_close_matches(word, list(known), n=1, cutoff=0.6)
    return f" (did you mean {close[0]}?)" if close else ""


def config_groups(folders: Iterable[Path]) -> dict[str, list[str]]:
    """Returns the options of each config group found in the folders."""
    groups: dict[str, list[str]] = {}
    for folder in folders:
        for file in sorted(folder.rglob("*.yaml")):
            group = file.parent.relative_to(folder).as_posix()
            groups.setdefault(group, []).append(file.stem)
    return groups


def explain(error: Exception, config: dict[str, object], folders: list[Path]) -> UserError:
    """Returns the mistake in one sentence, with the nearest known key or option.

    Args:
        error: What Hydra or OmegaConf raised.
        config: The default config, for its keys.
        folders: The config folders, for their groups.
    """
    text = str(error)
    groups = config_groups(folders)
    if match := NO_SUCH_OPTION.search(text):
        group, _, option = (match[1] or match[2]).rpartition("/")
        options = groups.get(group, [])
        return UserError(
            f"{group}={option}: expected one of {', '.join(options)}{nearest(option, options)}"
        )
    if (match := NO_SUCH_GROUP.search(text)) or (match := NO_SUCH_KEY.search(text)):
        key = next(part for part in match.groups() if part)
        full = getattr(error, "full_key", None) or key
        flat = flatten(config)
        parents = {name.rsplit(".", depth)[0] for name in flat for depth in (1, 2) if "." in name}
        known = [*flat, *parents, *groups]
        ending = full.rsplit(".", 1)
        if len(ending) == 2:  # within a known part, its own keys are nearer than any other
            siblings = [name for name in known if name.startswith(f"{ending[0]}.")]
            known = siblings or known
        return UserError(f"{full}: expected a known config key{nearest(full, known)}")
    if "Missing mandatory value" in text:
        key = getattr(error, "full_key", None) or text.split(":", 1)[1].split()[0]
        return UserError(f"{key} has no value: expected {key}=VALUE on the command line")
    return UserError(" ".join(text.split()))
