"""Mirrors a run's own curves to Lightning loggers; never the source of truth."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Protocol

from pytorch_lightning.loggers import CSVLogger, Logger

log = logging.getLogger(__name__)


class Tracker:
    """One tracked run per experiment, in several loggers at once.

    A resumed run passes its finished stages again. The CSV logger, which begins a new file at each
    start, takes them again; the others get only what was not sent to them before, by its key. A
    logger that fails is left out from then on with one warning: it never ends a run.

    Args:
        loggers: Lightning loggers, already pointed at the run's own folder and id.
        sent: A file that lists the keys sent so far, for each logger.
    """

    def __init__(self, loggers: Sequence[Logger], sent: Path) -> None:
        self._loggers = list(loggers)
        self._file = sent
        self._sent = set(sent.read_text().splitlines()) if sent.is_file() else set()

    def config(self, config: Mapping[str, object]) -> None:
        """Sends the composed config, once for each start."""
        for logger in list(self._loggers):
            self._guarded(logger, lambda logger=logger: logger.log_hyperparams(dict(config)))

    def log(self, key: str, values: Mapping[str, float], step: int) -> None:
        """Sends values at a step (labeled rows, or a fit's epoch); ``key`` is unique to them."""
        for logger in list(self._loggers):
            entry = f"{type(logger).__name__} {key}"
            repeated = entry in self._sent
            if repeated and not isinstance(logger, CSVLogger):
                continue
            self._guarded(logger, lambda logger=logger: _send(logger, values, step))
            if not repeated and logger in self._loggers:
                self._note(entry)

    def close(self) -> None:
        """Flushes and ends all loggers."""
        for logger in list(self._loggers):
            self._guarded(logger, lambda logger=logger: _finish(logger))

    def _note(self, entry: str) -> None:
        self._sent.add(entry)
        self._file.parent.mkdir(parents=True, exist_ok=True)
        with self._file.open("a") as file:
            file.write(f"{entry}\n")

    def _guarded(self, logger: Logger, action: Action) -> None:
        try:
            action()
        except Exception as error:  # whatever a tracking service does, the run goes on
            name = type(logger).__name__
            log.warning("%s failed and is left out from here on: %s", name, error)
            self._loggers.remove(logger)


class Action(Protocol):
    """Something done with one logger."""

    def __call__(self) -> None:
        """Does it."""
        ...


def _send(logger: Logger, values: Mapping[str, float], step: int) -> None:
    logger.log_metrics(dict(values), step)
    logger.save()


def _finish(logger: Logger) -> None:
    logger.finalize("success")
    finish = getattr(
        getattr(logger, "experiment", None), "finish", None
    )  # W&B syncs only when it is finished
    if callable(finish):
        finish()
