"""The stages that both pipelines are made of, each committed to the run directory once."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Protocol

import numpy as np

from alframe.parts import Parts
from alframe.pool import Pool
from alframe.protocols import Array, Fitted, Learner, Need, Observations, Rows, State, View
from alframe.record import Record
from alframe.run_dir import RunDir
from alframe.schedule import rng
from alframe.selection import check_query, scoped

log = logging.getLogger(__name__)

LazyFit = Callable[[], Fitted]


class TrackerLike(Protocol):
    """Mirrors curves; see `alframe.tracking.tracker.Tracker`."""

    def log(self, key: str, values: Mapping[str, float], step: int) -> None:
        """Sends values at a step."""
        ...


class LabelsPendingError(Exception):
    """The oracle has not answered all of a query yet: the run stops, and goes on later."""


@dataclass(frozen=True)
class Outcome:
    """How a run ended.

    Attributes:
        state: ``done``, or ``waiting`` for labels.
        reason: In words.
        timings: Seconds by part, and ratios of them.
    """

    state: Literal["done", "waiting"]
    reason: str
    timings: dict[str, float] = field(default_factory=dict)


class Observer(Protocol):
    """Who looks at rows: a fitted model, or several that serve a need each."""

    def observe(self, requests: Mapping[Need, Rows]) -> Observations:
        """See `alframe.protocols.Fitted.observe`."""
        ...


@dataclass(frozen=True)
class Look:
    """The candidates, what was seen of them, and the seconds that it took."""

    candidates: Rows
    seen: Observations
    seconds: float


@dataclass(frozen=True)
class FitWorkspace:
    """See `alframe.protocols.Workspace`."""

    folder: Path | None
    name: str
    tracker: TrackerLike

    def log(self, epoch: int, values: Mapping[str, float]) -> None:
        """Sends an epoch's values under the fit's own prefix."""
        prefixed = {f"fits/{self.name}/{key}": value for key, value in values.items()}
        self.tracker.log(f"fits/{self.name}/{epoch}", prefixed, epoch)


class Stages:
    """Runs stages through `RunDir.once`, so that a resumed run passes the finished ones."""

    def __init__(
        self, parts: Parts, seed: int, run: RunDir, record: Record, tracker: TrackerLike
    ) -> None:
        self.parts = parts
        self.seed = seed
        self.run = run
        self.record = record
        self.tracker = tracker

    def fit(
        self, name: str, learner: Learner, view: View, needs: Sequence[Need], round_id: int
    ) -> Fitted:
        """Trains, or returns what was trained before."""
        key = f"fits/{name}"
        model = name.rsplit("_", 1)[-1]

        def train() -> State:
            log.info("%s: training on %d rows", name, len(view.rows))
            workspace = FitWorkspace(self.run.scratch(key), name, self.tracker)
            stream = rng(self.seed, f"fit {model}", round_id)
            return learner.fit(view, stream, needs, workspace).state()

        state = self.run.once(f"{key}/fitted", train)
        self.run.clear_scratch(key)
        self.record.add_curve(name, state["curve"])
        return learner.restore(state)

    def discard_fit(self, name: str) -> None:
        """Removes a model that no later stage asks for; its curve stays."""
        self.run.discard(f"fits/{name}/fitted")

    def evaluate(
        self,
        key: str,
        models: Mapping[str, LazyFit],
        labeled: int,
        place: Mapping[str, Any],
        costs: Mapping[str, tuple[float, float]],
    ) -> list[dict[str, Any]]:
        """Evaluates models and records a row for each and each split.

        Args:
            key: Of the stage.
            models: By the name of their fit, which ends with ``proxy`` or ``target``.
            labeled: Labels acquired so far.
            place: ``round_id`` and ``train_rows``.
            costs: Seconds to observe and to select what a fit was trained on, by its name.
        """

        def measure() -> State:
            return {"rows": [row for name, fit in models.items() for row in rows_of(name, fit())]}

        def rows_of(name: str, fitted: Fitted) -> list[dict[str, Any]]:
            observe, select = costs.get(name, (0.0, 0.0))
            return [
                {
                    "fit": name,
                    **place,
                    "labeled": labeled,
                    "model": name.rsplit("_", 1)[-1],
                    "split": split,
                    **fitted.evaluate(split),
                    "seconds_fit": fitted.seconds,
                    "seconds_observe": observe,
                    "seconds_select": select,
                }
                for split in self._splits()
            ]

        rows: list[dict[str, Any]] = self.run.once(f"stages/{key}_metrics", measure)["rows"]
        self.record.add_metrics(rows)
        self._report(key, rows)
        return rows

    def look(self, pool: Pool, selector: Callable[[], Observer] | None, round_id: int) -> Look:
        """Observes the candidates; the selector may be None where nothing need be seen."""
        strategy = self.parts.strategy
        candidates = self.parts.candidates.rows(pool, rng(self.seed, "candidates", round_id))
        requests = {need: scoped(need, candidates, pool) for need in strategy.needs}
        if selector is None or not requests:
            return Look(candidates, _Nothing(), 0.0)
        model = selector()
        start = time.perf_counter()
        seen = model.observe(requests)
        return Look(candidates, seen, time.perf_counter() - start)

    def choose(
        self, key: str, size: int, pool: Pool, look: Callable[[], Look], round_id: int
    ) -> State:
        """Lets the strategy pick ``size`` of the candidates.

        Returns:
            ``rows``, ``scores`` and ``weights`` (where given), ``seconds_observe``,
            ``seconds_select``, and the number of ``candidates``.
        """

        def select() -> State:
            looked = look()
            stream = rng(self.seed, "select", round_id)
            start = time.perf_counter()
            query = self.parts.strategy.select(size, looked.candidates, pool, looked.seen, stream)
            seconds = time.perf_counter() - start
            check_query(query, size, looked.candidates)
            optional = {"scores": query.scores, "weights": query.weights}
            return {
                "rows": query.rows,
                "candidates": len(looked.candidates),
                "seconds_observe": looked.seconds,
                "seconds_select": seconds,
                **{name: values for name, values in optional.items() if values is not None},
            }

        return self.run.once(f"stages/{key}_query", select)

    def answer(self, key: str, rows: Rows) -> Array:
        """Returns the oracle's labels for ``rows``, in their order.

        Raises:
            LabelsPendingError: While some are missing.
        """

        def ask() -> State:
            answered, labels = self.parts.oracle.answer(rows)
            if len(np.unique(answered)) != len(answered) or not np.isin(answered, rows).all():
                raise ValueError("the oracle answered rows that were not asked for, or a row twice")
            if len(answered) < len(rows):
                raise LabelsPendingError(f"{len(answered)} of {len(rows)} labels have come")
            order = np.argsort(answered)
            return {"labels": labels[order[np.searchsorted(answered, rows, sorter=order)]]}

        labels: Array = self.run.once(f"stages/{key}_labels", ask)["labels"]
        return labels

    def _splits(self) -> list[Literal["validation", "test"]]:
        return ["validation", "test"] if len(self.parts.data.validation_rows) else ["test"]

    def _report(self, key: str, rows: Sequence[Mapping[str, Any]]) -> None:
        place = ("fit", "round_id", "train_rows", "labeled", "model", "split")
        for row in rows:
            values = {
                f"{row['model']}/{row['split']}_{name}": value
                for name, value in row.items()
                if name not in place and not name.startswith("seconds")
            }
            self.tracker.log(f"{row['fit']}/{row['split']}", values, int(row["train_rows"]))
            if row["split"] == "test":
                log.info(
                    "%s: %s trained on %d rows in %.1f s, test accuracy %.4f",
                    key,
                    row["model"],
                    row["train_rows"],
                    row["seconds_fit"],
                    row["accuracy"],
                )


class _Nothing:
    """The observations of a strategy that needs none."""

    def __getattr__(self, name: str) -> Any:
        raise KeyError(f"{name} is not among the strategy's needs")
