"""Turns what Hydra and OmegaConf say of a user's mistake into one clear sentence."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from contextlib import suppress
from pathlib import Path

import yaml
from hydra.core.config_store import ConfigStore
from hydra.core.plugins import Plugins
from hydra.errors import HydraException
from omegaconf import OmegaConf, open_dict
from omegaconf.errors import OmegaConfBaseException

from alframe.errors import UserError, nearest
from alframe.run_dir import flatten

EXTRAS = {("hydra/launcher", "ray"): '; for ray: pip install -e ".[ray]"'}
NO_SUCH_KEY = re.compile(r"Could not override '([^']+)'|Key '([^']+)' is not in struct")
NO_VALUE = re.compile(r"Error parsing override '([^']+)'\s+missing EQUAL")
NO_NAME = re.compile(r"null|true|false|inf|nan|[^A-Za-z_\[].*|", re.IGNORECASE)
NO_SUCH_OPTION = re.compile(r"Could not find '([^']+)'|In '[^']+': Could not find '([^']+)'")


def config_groups(folders: Iterable[Path]) -> dict[str, list[str]]:
    """Returns the options of each config group found in the folders."""
    groups: dict[str, list[str]] = {}
    for folder in folders:
        for file in sorted(folder.rglob("*.yaml")):
            group = file.parent.relative_to(folder).as_posix()
            groups.setdefault(group, []).append(file.stem)
    return groups


def explain(
    error: Exception, overrides: Sequence[str], folders: Sequence[Path], primary: str = "run"
) -> UserError:
    """Returns the mistake in one sentence, with the nearest known key or option.

    Args:
        error: What was raised; a `UserError` is returned as it is.
        overrides: The words of the command line, to find what the rest of them compose.
        folders: The config folders, for their groups; the first is alframe's own.
        primary: The primary config.
    """
    if isinstance(error, UserError):
        return error
    text = str(error)
    groups = config_groups(folders)
    if match := NO_SUCH_OPTION.search(text):
        group, _, option = (match[1] or match[2]).rpartition("/")
        options = [*groups.get(group, []), *_plugged_in(group)]
        return UserError(
            f"{group}={option}: expected one of {', '.join(options)}{nearest(option, options)}"
            f"{EXTRAS.get((group, option), '')}"
        )
    if match := NO_SUCH_KEY.search(text):
        key = next(part for part in match.groups() if part)
        full = getattr(error, "full_key", None) or key
        if having := _options_with(full, folders):
            return UserError(
                f"{full}: expected a key of the chosen option; {', '.join(having)} have this one"
            )
        known = _known_keys(full, overrides, folders[1:], primary)
        return UserError(f"{full}: expected a known config key{_nearest_key(full, known, groups)}")
    if match := NO_VALUE.search(text):
        return UserError(f"{match[1]}: expected KEY=VALUE, or a flag that alframe --help lists")
    if "Missing mandatory value" in text:
        key = getattr(error, "full_key", None) or text.split(":", 1)[1].split()[0]
        return UserError(f"{key} has no value: expected {key}=VALUE on the command line")
    if "Config group override" in text and (empty := _chosen_nothing(overrides, groups)):
        group = empty.lstrip("+").split("=")[0].split("@")[0]
        return UserError(f"{empty}: expected one of {', '.join(groups[group])}")
    return UserError(" ".join(text.split()))


def _plugged_in(group: str) -> list[str]:
    """Returns the options that Hydra and its plug-ins bring, submitit's own launchers aside."""
    if not group.startswith("hydra/"):
        return []
    Plugins.instance()  # which bring them
    names: list[str] = []
    with suppress(OSError):  # of no such group
        names = [name.removesuffix(".yaml") for name in ConfigStore.instance().list(group)]
    return sorted(name for name in names if not name.startswith("submitit_"))


def _options_with(key: str, folders: Iterable[Path]) -> list[str]:
    """Returns the options, ``group=name``, of a key's group that have the key."""
    group, _, name = key.partition(".")
    files = [file for folder in folders for file in sorted((folder / group).glob("*.yaml"))]
    return [
        f"{group}={file.stem}"
        for file in files
        if name and name in (yaml.safe_load(file.read_text()) or {})
    ]


def _nearest_key(full: str, known: set[str], groups: dict[str, list[str]]) -> str:
    if full in groups and full not in known:  # a group that is only used at a place of its own
        places = sorted((name for name in known if name.startswith(f"{full}@")), reverse=True)
        return f" (did you mean {' or '.join(places)}?)" if places else ""
    parent, _, _ = full.rpartition(".")
    siblings = {name for name in known if parent and name.startswith(f"{parent}.")}
    return nearest(full, siblings or known)


def _known_keys(
    bad: str, overrides: Sequence[str], folders: Sequence[Path], primary: str
) -> set[str]:
    """Returns the keys and groups of what the other words compose, or of the default config."""
    from alframe.cli.compose import compose

    others = [word for word in overrides if word.lstrip("+~").split("=")[0] != bad]
    single = [word for word in others if "," not in word]  # a sweep's values do not compose at once
    default = config = compose([], primary=primary)
    with suppress(HydraException, OmegaConfBaseException, ValueError):
        config = compose(single, folders, primary)
    choices = [*config.hydra.runtime.choices, *default.hydra.runtime.choices]
    groups = {str(name) for name in choices if not name.startswith("hydra/")}
    with open_dict(config):
        del config["hydra"]
    plain = OmegaConf.to_container(config, resolve=False)
    assert isinstance(plain, dict)
    flat = flatten({str(key): value for key, value in plain.items()})
    parents = {".".join(parts[:end]) for parts in map(_split, flat) for end in range(1, len(parts))}
    return {*flat, *parents, *groups}


def _split(key: str) -> list[str]:
    return key.split(".")


def _chosen_nothing(overrides: Sequence[str], groups: Iterable[str]) -> str | None:
    """Returns the first word that gives a group something that is not a name."""
    for word in overrides:
        group, _, value = word.lstrip("+").partition("=")
        names = [name.strip(" '\"") for name in value.split(",")]  # of a sweep
        if group.split("@")[0] in groups and any(NO_NAME.fullmatch(name) for name in names):
            return word
    return None
