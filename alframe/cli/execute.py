"""Runs a composed config in its run directory."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from alframe.cli.build import build, build_parts
from alframe.cli.console import print_outcome, set_up_logging
from alframe.cli.versions import git_state, versions
from alframe.pipelines.stages import Outcome, Stages
from alframe.record import Record
from alframe.run_dir import RunDir, now
from alframe.tracking.tracker import Tracker

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Result:
    """What a run leaves.

    Attributes:
        path: The run directory.
        outcome: How the run ended.
        metrics: The rows of ``metrics.csv``.
    """

    path: Path
    outcome: Outcome
    metrics: list[dict[str, Any]]


def execute(config: Mapping[str, Any], path: Path) -> Result:
    """Builds, checks and runs; everything a user can get wrong is refused before a file is written.

    Args:
        config: The composed config, plain and resolved.
        path: The run directory, new or to be resumed.
    """
    set_up_logging()
    warnings.filterwarnings("ignore", module="pytorch_lightning|lightning_fabric")
    parts, hardware = build_parts(config)
    pipeline = build(config, "pipeline", parts=parts, seed=config["seed"])
    estimates = pipeline.check()
    data = {
        "name": parts.data.name,
        "fingerprint": parts.data.fingerprint,
        "rows": parts.data.num_rows,
        "pool": len(parts.data.pool_rows),
        "validation": len(parts.data.validation_rows),
        "test": len(parts.data.test_labels),
    }
    run = RunDir.open(path, config, {"data": data})
    log.info("run directory: %s", path)
    facts = {
        "pipeline": pipeline.name,
        "versions": versions(),
        "git": git_state(),
        "device": hardware.describe(),
        "memory": estimates,
        "observes": bool(parts.strategy.needs),  # else no selector was needed, nor paid for
    }
    was_done = run.status["state"] == "done"
    if not was_done:
        _note_start(run, facts)
    record = Record(run)
    tracker = Tracker(_loggers(config, run), path / "tracking" / "sent.txt")
    try:
        tracker.config(config)
        outcome = pipeline.run(Stages(parts, config["seed"], run, record, tracker))
        if not was_done:
            ending = {"state": outcome.state, "reason": outcome.reason}
            run.update_status(**ending, timings=outcome.timings, finished=now())
    except BaseException as error:
        state = "interrupted" if isinstance(error, KeyboardInterrupt) else "failed"
        run.update_status(state=state, reason=f"{type(error).__name__}: {error}", finished=now())
        raise
    finally:
        tracker.close()
        run.close()
    print_outcome(record.metrics, outcome, path)
    return Result(path, outcome, record.metrics)


def _loggers(config: Mapping[str, Any], run: RunDir) -> list[Any]:
    """Builds the trackers; one that cannot be built is left out with a warning."""
    loggers = []
    nodes = config.get("logger") or {}
    for name in nodes:
        try:
            loggers.append(build(nodes, name, id=run.status["run_id"]))
        except ModuleNotFoundError as error:
            log.warning("logger=%s is left out: %s", name, error)
    return loggers


def _note_start(run: RunDir, facts: Mapping[str, Any]) -> None:
    """Records what the run is made with; where a resumed run differs, warns and adds to it."""
    first = "versions" not in run.status
    changed = {
        key: value for key, value in facts.items() if not first and run.status.get(key) != value
    }
    for key in ("versions", "git", "device"):
        if key in changed:
            before = run.status[key]
            log.warning("%s changed since this run started: %s -> %s", key, before, changed[key])
    if first:
        run.update_status(**facts)
    else:
        resumed = [*run.status.get("resumed", []), {"at": now(), **changed}]
        run.update_status(state="running", resumed=resumed)
