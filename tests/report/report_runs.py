"""Writes small run directories, as a run leaves them behind."""

from __future__ import annotations

import csv
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

COLUMNS = (
    "fit", "round_id", "labeled", "train_rows", "model", "split", "accuracy", "loss",
    "seconds_fit", "seconds_observe", "seconds_select",
)  # fmt: skip
FIDELITY = (
    "round_id", "train_rows", "candidates", "seconds_observe", "spearman", "kendall", "overlap",
    "chance", "seconds_select",
)  # fmt: skip


def write_run(
    path: Path,
    rows: Sequence[Mapping[str, Any]],
    *,
    seed: int = 0,
    pipeline: str = "active_learning",
    choices: Mapping[str, Any] | None = None,
    config: Mapping[str, Any] | None = None,
    status: Mapping[str, Any] | None = None,
    curves: Mapping[str, Sequence[tuple[Any, ...]]] | None = None,
) -> Path:
    """Writes one run directory; ``curves`` maps a fit to its (epoch, seconds, split, error)."""
    path.mkdir(parents=True)
    chosen = {"data": "digits", "strategy": "entropy", "proxy": None, "pipeline": pipeline}
    chosen |= dict(choices or {})
    proxy = None if chosen["proxy"] is None else {"_target_": "alframe.P", "model": chosen["proxy"]}
    settings = {
        "name": f"run-{seed}",
        "seed": seed,
        "run_dir": str(path),
        "data": {"_target_": "alframe.data.Digits", "seed": seed},
        "strategy": {"_target_": f"alframe.{chosen['strategy']}"},
        "schedule": {"seed": seed, "sizes": [10, 20]},
        "trainer": {"default_root_dir": f"{path}/trainer"},
        "proxy": proxy,
        "logger": {"folder": str(path)},
        "choices": chosen,
        **(config or {}),
    }
    (path / "config.yaml").write_text(yaml.safe_dump(settings, allow_unicode=True))
    said = {
        "state": "done",
        "reason": "budget reached",
        "pipeline": pipeline,
        "run_id": f"id{seed}",
        "started": "2025-01-01T10:00:00+00:00",
        "finished": "2025-01-01T10:05:00+00:00",
        "versions": {"alframe": "0.1.0", "python": "3.11.9", "torch": "2.9.0"},
        "git": {"revision": "0123456789abcdef", "dirty": False},
        "data": {"name": "digits", "fingerprint": "f00"},
        "device": "cpu: 2 threads of a test",
        **(status or {}),
    }
    (path / "status.json").write_text(json.dumps(said))
    if rows:
        columns = dict.fromkeys([*COLUMNS, *(key for row in rows for key in row)])
        _write_csv(path / "metrics.csv", list(columns), [dict(row) for row in rows])
    for fit, curve in (curves or {}).items():
        names = ("epoch", "seconds", "split", "error")
        _write_csv(
            path / "fits" / fit / "curve.csv",
            names,
            [dict(zip(names, point, strict=True)) for point in curve],
        )
    return path


def row(
    fit: str,
    labeled: int,
    accuracy: float,
    *,
    round_id: int = 0,
    train_rows: int | None = None,
    model: str = "target",
    split: str = "test",
    seconds: tuple[float, float, float] = (1.0, 0.0, 0.0),
) -> dict[str, Any]:
    """One row of ``metrics.csv``; ``seconds`` of fit, observe and select."""
    return {
        "fit": fit,
        "round_id": round_id,
        "labeled": labeled,
        "train_rows": labeled if train_rows is None else train_rows,
        "model": model,
        "split": split,
        "accuracy": accuracy,
        "loss": 1 - accuracy,
        "seconds_fit": seconds[0],
        "seconds_observe": seconds[1],
        "seconds_select": seconds[2],
    }


def budget_rows(accuracies: Mapping[int, float], seconds: float = 1.0) -> list[dict[str, Any]]:
    """Rows of plain active learning: one target fit for each number of labels, on two splits.

    Fit r takes ``seconds * (r + 1)``; observing takes 0.25 s and selecting 0.5 s after round 0.
    """
    rows = []
    for round_id, (labeled, accuracy) in enumerate(accuracies.items()):
        spent = (seconds * (round_id + 1), 0.25 * (round_id > 0), 0.5 * (round_id > 0))
        rows += [
            row(f"round_{round_id:03d}_target", labeled, value, round_id=round_id, split=split,
                seconds=spent)
            for split, value in (("validation", accuracy - 0.01), ("test", accuracy))
        ]  # fmt: skip
    return rows


def core_set_rows(
    accuracies: Mapping[int, float],
    *,
    all_rows: int = 1000,
    full: float | None = 0.95,
    proxy_seconds: float | None = 10.0,
    full_seconds: float = 100.0,
) -> list[dict[str, Any]]:
    """Rows of core-set selection: a target fit of s rows takes its share of ``full_seconds``."""
    rows = []
    if proxy_seconds is not None:
        rows += [
            row("proxy", all_rows, 0.8, model="proxy", split=split, seconds=(proxy_seconds, 0, 0))
            for split in ("validation", "test")
        ]
    for index, (size, accuracy) in enumerate(accuracies.items()):
        spent = (full_seconds * size / all_rows, 2.0, 1.0)
        rows += [
            row(f"size_{index:03d}_target", all_rows, accuracy, round_id=index, train_rows=size,
                split=split, seconds=spent)
            for split in ("validation", "test")
        ]  # fmt: skip
    if full is not None:
        rows += [
            row("full_target", all_rows, full, split=split, seconds=(full_seconds, 0, 0))
            for split in ("validation", "test")
        ]
    return rows


def write_fidelity(path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """Writes a run's ``fidelity.csv``."""
    _write_csv(path / "fidelity.csv", FIDELITY, rows)


def curve(
    seconds: float, error: float, epochs: int = 5, splits: Sequence[str] = ("test",)
) -> list[tuple[Any, ...]]:
    """A training curve that ends at ``error`` after ``seconds``."""
    return [
        (epoch, seconds * epoch / epochs, split, error + 0.6 * (1 - epoch / epochs) ** 2)
        for epoch in range(1, epochs + 1)
        for split in splits
    ]


def _write_csv(path: Path, columns: Sequence[str], rows: Sequence[Mapping[str, Any]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, columns)
        writer.writeheader()
        writer.writerows(rows)
