"""Runs a composed config in its run directory."""

from __future__ import annotations

import contextlib
import errno
import logging
import warnings
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from alframe.cli import garbage
from alframe.cli.build import build, build_parts, check_keys
from alframe.cli.console import print_outcome, set_up_logging
from alframe.cli.neighbors import facts as looked_at
from alframe.cli.versions import git_state, versions
from alframe.data.dataset import Dataset
from alframe.errors import UserError
from alframe.learners.hardware import uses_gpu
from alframe.pipelines.stages import Outcome, Stages
from alframe.record import Record
from alframe.run_dir import RunDir, now
from alframe.shared_run import open_run
from alframe.starters import check_alone
from alframe.tracking.tracker import Tracker
from alframe.watch import Failure
from alframe.world import World, here, repeats_others

log = logging.getLogger(__name__)
UNWRITABLE = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EFBIG)


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
    with garbage.left_out_no_longer(), _left_openly(config, path), _world(config["trainer"]):
        config, path = here().share((config, path))  # the name of a new folder is drawn
        return _execute(config, path)


@contextlib.contextmanager
def _left_openly(config: Mapping[str, Any], path: Path) -> Iterator[None]:
    """Tells how a run goes on that is left on Ctrl-C or a signal."""
    try:
        yield
    except KeyboardInterrupt as error:
        if not repeats_others():
            alone = config["trainer"].get("parallel") is None
            asked = str(error) or ("Ctrl-C" if alone else "an interruption")  # a signal's name
            swept = config.get("sweep", {}).get("cell") is not None
            log.warning(
                "left on %s: what is finished is kept, and the same command goes on%s",
                asked,
                "" if swept else f" with run_dir={path}, or resume={path} alone",
            )
        raise


@contextlib.contextmanager
def _world(trainer: Mapping[str, Any]) -> Iterator[World]:
    """Joins the processes that share the run, where the trainer is for several."""
    check_keys(trainer, "trainer")
    if trainer.get("parallel") is None:
        check_alone()
        yield here()
        return
    from alframe.joining import ranks

    with ranks(uses_gpu(trainer.get("accelerator", "auto"))) as world:
        yield world


def _execute(config: Mapping[str, Any], path: Path) -> Result:
    set_up_logging(quiet=not here().first)
    warnings.filterwarnings("ignore", module="pytorch_lightning|lightning_fabric")
    check_keys(config.get("logger") or {}, "logger")
    parts, hardware = here().in_turn(lambda: build_parts(config))
    garbage.leave_out()
    pipeline = build(config, "pipeline", parts=parts, seed=config["seed"])
    facts = {
        "pipeline": pipeline.name,
        "versions": versions(),
        "git": git_state(),
        "device": hardware.describe(),
        "memory": here().on_first(pipeline.check),
        # what the strategy listened to, so that a report knows what of it was paid for
        "observes": sorted({"short fits" if n.short else "fit" for n in parts.strategy.needs}),
    }
    neighbors = getattr(parts.candidates, "neighbors", None)
    facts |= looked_at(config, parts, neighbors)
    found = {} if neighbors is None else {"neighbors": neighbors.describe()}
    run = open_run(path, config, {"data": identity(parts.data), **found})
    here().at_a_loss(partial(_note_loss, run))
    log.info("run directory: %s", path)
    record = Record(run)
    tracker = Tracker(_loggers(config, run), path / "tracking" / "sent.txt")
    try:
        tracker.config(config)
        stages = Stages(parts, config["seed"], run, record, tracker)
        outcome = _recorded(run, facts, lambda: _with_shared(pipeline.run(stages), record))
        record.write()
    finally:
        tracker.close()
        run.close()
    if here().first:
        print_outcome(record.metrics, outcome, path)
    return Result(path, outcome, record.metrics)


def _with_shared(outcome: Outcome, record: Record) -> Outcome:
    """Adds what the other timings count that other runs spent, see `Record.shared`."""
    return replace(outcome, timings={**outcome.timings, **record.shared()})


def identity(data: Dataset) -> dict[str, Any]:
    """Returns what must be the same when a run is resumed, with counts for a person to compare."""
    return {
        "name": data.name,
        "fingerprint": data.fingerprint,
        "rows": data.num_rows,
        "pool": len(data.pool_rows),
        "validation": len(data.validation_rows),
        "test": len(data.test_labels),
        "classes": list(data.classes),
    }


def _recorded(run: RunDir, facts: Mapping[str, Any], work: Callable[[], Outcome]) -> Outcome:
    """Does the work and records in ``status.json`` how it went; a finished run's record stays."""
    if run.status["state"] == "done":
        return work()
    _note_start(run, facts)
    try:
        outcome = work()
    except BaseException as error:
        state = "interrupted" if isinstance(error, KeyboardInterrupt) else "failed"
        reason = f"{type(error).__name__}: {error}"
        with contextlib.suppress(OSError):  # where the disk is full, the error below says so
            run.update_status(state=state, reason=reason, finished=now())
        if isinstance(error, OSError) and error.errno in UNWRITABLE:
            raise UserError(
                f"run_dir={run.path} cannot be written ({error.strerror}): what is finished is "
                "kept; make room there, then resume"
            ) from error
        raise
    ending = {"state": outcome.state, "reason": outcome.reason}
    run.update_status(**ending, timings=outcome.timings, finished=now())
    return outcome


def _note_loss(run: RunDir, failure: Failure) -> None:
    """Records what ended the run in another process."""
    state = "interrupted" if failure.interrupted else "failed"
    run.update_status(state=state, reason=failure.reason, finished=now())


def _loggers(config: Mapping[str, Any], run: RunDir) -> list[Any]:
    """Builds the trackers; one that cannot be built is left out with a warning."""
    nodes = config.get("logger") or {}
    if run.status["state"] == "done" or not run.writes:  # there is nothing to add
        return []
    loggers = []
    for name in nodes:
        try:
            folder = str(run.path / "tracking")
            loggers.append(build(nodes, name, save_dir=folder, id=run.status["run_id"]))
        except Exception as error:  # whatever a tracking service does, the run goes on
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
            also = "; its seconds will not be reported" if key == "device" else ""
            log.warning(
                "%s changed since this run started: %s -> %s%s", key, before, changed[key], also
            )
    if first:
        run.update_status(**facts)
    else:
        resumed = [*run.status.get("resumed", []), {"at": now(), **changed}]
        run.update_status(state="running", resumed=resumed)
