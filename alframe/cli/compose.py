"""Composes configs, on the command line and from Python alike."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import hydra
from omegaconf import DictConfig, OmegaConf, open_dict

from alframe.cli.choices import is_chosen
from alframe.errors import UserError, nearest
from alframe.run_dir import new_run_dir
from alframe.sweeps.cells import cell_name
from alframe.sweeps.folder import SHARED

_INSTALLED = Path(__file__).parents[1] / "configs"
CONFIGS = _INSTALLED if _INSTALLED.is_dir() else Path(__file__).parents[2] / "configs"
"""The config folder: inside the package in a wheel, beside it in a checkout."""

KEYS = (
    "name", "seed", "run_dir", "resume", "concept", "pipeline", "data", "task", "target", "proxy",
    "strategy", "candidates", "index", "embeddings", "oracle", "schedule", "trainer",
    "limits", "share", "sweep", "logger", "paths", "choices",
)  # fmt: skip
FACTORY = re.compile(r"^(\+*index\.factory=)([^'\"]*[,{][^'\"]*)$")


def compose(
    overrides: Sequence[str], folders: Sequence[Path] = (), primary: str = "run"
) -> DictConfig:
    """Returns the composed config with Hydra's own part under ``hydra``.

    Args:
        overrides: As on the command line.
        folders: Config folders of others, as with ``--config-dir``.
        primary: The primary config: ``run``, or that of another command.
    """
    paths = ",".join(f"file://{folder.absolute()}" for folder in folders)
    search = [f"hydra.searchpath=[{paths}]"] if paths else []
    with hydra.initialize_config_dir(str(CONFIGS), version_base="1.3", job_name="alframe"):
        return hydra.compose(primary, [*overrides, *search], return_hydra_config=True)


def with_aliases(words: Sequence[str]) -> list[str]:
    """Makes natural forms work that Hydra does not take.

    ``learner@proxy=null`` (Hydra cannot choose nothing for a group), ``-m`` after overrides,
    ``index.factory=IVF16,Flat`` (in which Hydra sees two values), and ``concept=NAME``, which also
    chooses the task and the schedule unless they are chosen, by a word or by an experiment.

    Raises:
        UserError: With ``concept=NAME`` for experiments of which only some choose these.
    """
    plain = [
        "proxy=null" if word == "learner@proxy=null" else FACTORY.sub(r"\1'\2'", word)
        for word in words
    ]
    at = next((i for i, w in enumerate(words) if w[:8] == "concept=" and w != "concept=null"), None)
    if at is not None:
        groups = [group for group in ("task", "schedule") if not is_chosen(group, words, CONFIGS)]
        # Beside it: Hydra takes no words after a flag such as --cfg job.
        plain[at + 1 : at + 1] = [f"{group}=rare_concept" for group in groups]
    return sorted(plain, key=lambda word: word not in ("-m", "--multirun"))


def settle(config: DictConfig, settings: DictConfig) -> dict[str, Any]:
    """Returns the config plain and resolved, with its run directory and its choices of options.

    Args:
        config: Without Hydra's own part.
        settings: Hydra's own part.

    Raises:
        UserError: For a key that alframe does not know.
    """
    for key in map(str, config):
        if key not in KEYS:
            raise UserError(f"{key}: expected a known config key{nearest(key, KEYS)}")
    for key in map(str, config.paths):
        if key not in ("data_dir", "runs_dir"):
            raise UserError(f"paths.{key}: expected paths.data_dir or paths.runs_dir")
    chosen = settings.runtime.choices
    names = {group: group.rpartition("@")[2] for group in chosen if not group.startswith("hydra/")}
    with open_dict(config):
        config.run_dir = str(_run_dir(config, settings))
        _join(config, Path(settings.sweep.dir) if _is_swept(settings) else None)
        config.choices = {
            name: None if chosen[group] == "null" or _is_none(config, name) else chosen[group]
            for group, name in names.items()
        }
    plain = OmegaConf.to_container(config, resolve=True, throw_on_missing=True)
    assert isinstance(plain, dict)
    return {str(key): value for key, value in plain.items()}


def _is_none(config: DictConfig, name: str) -> bool:
    return name in config and config[name] is None


def _is_swept(settings: DictConfig) -> bool:
    return settings.mode is not None and settings.mode.name == "MULTIRUN"


def _join(config: DictConfig, sweep: Path | None) -> None:
    """Settles what a run has in common with the other cells of its sweep, if it is in one."""
    if config.share.dir == "auto":
        config.share.dir = None if sweep is None else str(sweep.absolute() / SHARED)
    if sweep is not None and "wandb" in (config.get("logger") or {}):
        group = config.logger.wandb.get("group")
        config.logger.wandb.group = sweep.absolute().name if group is None else group


def _run_dir(config: DictConfig, settings: DictConfig) -> Path:
    if _is_swept(settings):
        if config.run_dir is not None:
            raise UserError(
                f"run_dir={config.run_dir}: expected none in a sweep, whose cells have a folder "
                "each; use hydra.sweep.dir"
            )
        cell = config.sweep.cell or cell_name(settings.overrides.task)
        return Path(settings.sweep.dir) / cell
    if config.run_dir is not None:
        return Path(config.run_dir)
    return new_run_dir(Path(config.paths.runs_dir), config.name)
