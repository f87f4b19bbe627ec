"""Finding run directories and reading them."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import cast

import pandas as pd
import yaml

from alframe.errors import UserError

STATES = ("done", "running", "interrupted", "failed", "waiting")
TEXT_COLUMNS = ("fit", "model", "split")
NUMBER_COLUMNS = (
    "round_id", "labeled", "train_rows", "accuracy",
    "seconds_fit", "seconds_observe", "seconds_select",
)  # fmt: skip
LATER_COLUMNS = (
    "samples_per_second_fit", "samples_per_second_observe", "samples_per_second_select",
    "peak_bytes_fit", "peak_bytes_observe", "peak_bytes_select", "multiply_adds", "seconds_compile",
)  # fmt: skip
"""What version 0.1.0 did not measure: such runs have NaN there."""
FIDELITY_COLUMNS = (
    "train_rows", "candidates", "overlap", "chance", "spearman", "kendall",
    "seconds_observe", "seconds_select",
)  # fmt: skip
MEASURED = ("seconds", "samples_per_second_", "peak_bytes_")
CURVE_COLUMNS = ("epoch", "seconds", "split", "error")
MOST_VALUES = 20_000
"""A config with more values is refused: YAML aliases can unfold to billions of them."""


@dataclass(frozen=True)
class Run:
    """What one run directory holds.

    Attributes:
        path: The directory.
        settings: ``config.yaml`` as dotted keys to leaves.
        status: ``status.json`` as dotted keys to leaves.
        metrics: ``metrics.csv``, one row for each evaluated model and split; empty before the
            first one.
    """

    path: Path
    settings: Mapping[str, object]
    status: Mapping[str, object]
    metrics: pd.DataFrame

    @property
    def seed(self) -> int:
        """The run's seed."""
        return int(str(self.settings["seed"]))

    @property
    def state(self) -> str:
        """One of `STATES`."""
        return str(self.status["state"])

    @property
    def pipeline(self) -> str:
        """``active_learning`` or ``core_set``."""
        return str(self.status.get("pipeline") or self.settings.get("choices.pipeline"))

    @property
    def devices(self) -> tuple[str, ...]:
        """The device in words; several where the run was resumed on another one."""
        later = [
            str(value)
            for key, value in self.status.items()
            if key.startswith("resumed.") and key.endswith(".device")
        ]
        return tuple(dict.fromkeys([str(self.status.get("device") or "unknown device"), *later]))

    @property
    def device(self) -> str:
        """All `devices`; where they are several, no seconds of the run are counted."""
        return ", then ".join(self.devices)

    @property
    def has_proxy(self) -> bool:
        """Whether the config names a proxy; otherwise the target is its own selector."""
        return any(
            key == "proxy" or key.startswith("proxy.")
            for key, value in self.settings.items()
            if value is not None
        )

    @property
    def listens_to(self) -> frozenset[str]:
        """``fit`` and ``short fits``, as far as the strategy needed them: none of them for random.

        Version 0.1.0 knew no short fits, and noted just whether anything was needed.
        """
        observes = self.status.get("observes", True)
        if isinstance(observes, list):
            return frozenset(map(str, observes))
        return frozenset({"fit"} if observes else ())

    @property
    def full_run_selects(self) -> bool:
        """Whether the strategy of a core-set run listened to the target trained on all rows."""
        return "fit" in self.listens_to and not self.has_proxy

    def curve(self, fit: str) -> pd.DataFrame:
        """Returns the recorded epochs of one fit: epoch, seconds, split, error; maybe none.

        Raises:
            UserError: If the file cannot be read.
        """
        path = self.path / "fits" / fit / "curve.csv"
        if not path.is_file():
            return pd.DataFrame(columns=list(CURVE_COLUMNS))
        return self._timed(_read_table(path, ("split",), ("epoch", "seconds", "error")))

    def fidelity(self) -> pd.DataFrame:
        """Returns how far the proxy's picks agree with the target's, a row for each size; or none.

        Raises:
            UserError: If the file cannot be read.
        """
        path = self.path / "fidelity.csv"
        if not path.is_file():
            return pd.DataFrame(columns=list(FIDELITY_COLUMNS))
        return self._timed(_read_table(path, (), FIDELITY_COLUMNS))

    def _timed(self, table: pd.DataFrame) -> pd.DataFrame:
        """Empties what was measured of time and memory where several devices measured it."""
        if len(self.devices) > 1:
            costs = [str(name) for name in table if str(name).startswith(MEASURED)]
            return table.assign(**dict.fromkeys(costs, math.nan))
        return table


def find(paths: Sequence[Path]) -> list[Path]:
    """Returns the run directories at or below ``paths``, each one once.

    Raises:
        UserError: If a path is missing or cannot be listed, or there is no run at all.
    """
    found: dict[Path, Path] = {}
    for path in paths:
        if not path.is_dir():
            raise UserError(f"expected a run directory or a folder of them, got {path}: not there")
        for run in _walk(path):
            found.setdefault(run.resolve(), run)
    if not found:
        raise UserError(
            "no runs found: expected folders with a config.yaml and a status.json at or below "
            + ", ".join(str(path) for path in paths)
        )
    return list(found.values())


def load(path: Path) -> Run:
    """Reads one run directory.

    Raises:
        UserError: If a file cannot be read or is not what a run writes.
    """
    settings = _read_mapping(path / "config.yaml")
    status = _read_mapping(path / "status.json")
    seed, state = settings.get("seed"), status.get("state")
    if not isinstance(seed, int) or isinstance(seed, bool):
        raise UserError(f"{path / 'config.yaml'}: expected a whole number at key seed, got {seed}")
    if state not in STATES:
        raise UserError(
            f"{path / 'status.json'}: expected key state to be one of {', '.join(STATES)}, "
            f"got {state}"
        )
    metrics = path / "metrics.csv"
    if metrics.is_file():
        table = _read_table(metrics, TEXT_COLUMNS, NUMBER_COLUMNS, LATER_COLUMNS)
    else:
        table = pd.DataFrame(columns=[*TEXT_COLUMNS, *NUMBER_COLUMNS, *LATER_COLUMNS])
    run = Run(path, settings, status, table)
    return replace(run, metrics=run._timed(table))


def _walk(path: Path) -> Iterator[Path]:
    """Yields runs in the order of their names, without looking into a run."""

    def refuse(error: OSError) -> None:
        raise UserError(f"expected a folder that can be listed, got {error.filename}: {error}")

    for folder, below, files in os.walk(path, onerror=refuse):
        below.sort()
        if {"config.yaml", "status.json"} <= set(files):
            below.clear()
            yield Path(folder)


def _read_mapping(path: Path) -> dict[str, object]:
    try:
        text = path.read_text(encoding="utf-8")
        content = json.loads(text) if path.suffix == ".json" else yaml.safe_load(text)
        if not isinstance(content, dict):
            raise UserError(f"{path}: expected a mapping of keys to values, got {text[:40]!r}")
        flat: dict[str, object] = {}
        size = 0
        for key, value in _leaves(content, ""):
            flat[key] = value
            size += len(value) if isinstance(value, list) else 1
            if size > MOST_VALUES:
                raise UserError(f"{path}: expected at most {MOST_VALUES} values, got more")
    except (OSError, ValueError, yaml.YAMLError, RecursionError) as error:
        raise UserError(f"{path} cannot be read: {_first_line(error)}") from error
    return flat


def _leaves(node: object, prefix: str) -> Iterator[tuple[str, object]]:
    """Yields dotted keys and leaves; a list of plain values is one leaf."""
    nested = isinstance(node, list) and any(isinstance(value, dict | list) for value in node)
    if nested or (isinstance(node, dict) and node):
        items = node.items() if isinstance(node, dict) else enumerate(cast(list[object], node))
        for key, value in items:
            yield from _leaves(value, f"{prefix}.{key}" if prefix else str(key))
    else:
        yield prefix, node


def _read_table(
    path: Path, text: Sequence[str], numbers: Sequence[str], later: Sequence[str] = ()
) -> pd.DataFrame:
    try:
        table = pd.read_csv(path, dtype=dict.fromkeys(text, str), encoding="utf-8")
    except (OSError, ValueError) as error:
        raise UserError(f"{path} cannot be read: {_first_line(error)}") from error
    missing = [name for name in (*text, *numbers) if name not in table]
    if missing:
        raise UserError(
            f"{path}: expected columns {', '.join((*text, *numbers))}, got none named "
            + ", ".join(missing)
        )
    table = table.reindex(columns=[*table, *(name for name in later if name not in table)])
    for name in (*numbers, *later):
        try:
            table[name] = pd.to_numeric(table[name])
        except (ValueError, TypeError) as error:
            raise UserError(f"{path}: expected numbers in column {name}, got {error}") from error
    return table


def _first_line(error: BaseException) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]
