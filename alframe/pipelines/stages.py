"""The stages that both pipelines are made of, each committed to the run directory once."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Literal, Protocol

import numpy as np

from alframe.meter import Meter
from alframe.observations import passed_over
from alframe.parts import Parts
from alframe.pipelines.costs import NO_COSTS, fit_costs
from alframe.pipelines.workspace import FitWorkspace, TrackerLike
from alframe.pool import Pool
from alframe.protocols import Array, Fitted, Learner, Need, Observations, Query, Rows, State, View
from alframe.record import Record, headline, is_cost
from alframe.run_dir import RunDir
from alframe.schedule import rng
from alframe.selection import check_query, scoped
from alframe.sharing import MAKERS, Wanted, others
from alframe.world import here

log = logging.getLogger(__name__)

LazyFit = Callable[[], Fitted]


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
    """The candidates, what was seen of them, and what it took.

    Attributes:
        candidates: The rows to pick from.
        seen: Of them, and of the labeled rows where those are needed.
        seconds: Of finding and observing them.
        observed: Rows that the model looked at.
        peak_bytes: See `alframe.meter.Meter`.
    """

    candidates: Rows
    seen: Observations
    seconds: float
    observed: int = 0
    peak_bytes: int | None = None


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
        self._shared_from: dict[str, str] = {}
        self._touched = np.zeros(0, dtype=bool)  # by row, from the first choice on
        self._looked_up = 0.0  # seconds, before the next choice

    def fit(
        self, name: str, learner: Learner, view: View, needs: Sequence[Need], round_id: int
    ) -> Fitted:
        """Trains, or returns what was trained before."""
        key = f"fits/{name}"
        stream = (self.seed, f"fit {name.rsplit('_', 1)[-1]}", round_id)

        def train(scratch: Path) -> Fitted:
            log.info("%s: training on %d rows", name, len(view.rows))
            workspace = FitWorkspace(scratch if here().first else None, name, self.tracker)
            return learner.fit(view, rng(*stream), needs, workspace)

        def obtain() -> State:
            sharing, state = self.parts.sharing, None
            if sharing is not None:
                wanted = Wanted(name, self.parts.role(learner), view, stream, needs)
                state = here().lead(partial(sharing.fit, wanted, self.run), train)
            return train(self.run.scratch(key)).state() if state is None else state

        state = self.run.once(f"{key}/fitted", obtain)
        self.run.clear_scratch(key)
        self.record.add_curve(name, state["curve"])
        if (makers := state.pop(MAKERS, None)) is not None:
            self._shared_from[name] = others(makers, self.run)
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
        costs: Mapping[str, Mapping[str, Any]],
    ) -> list[dict[str, Any]]:
        """Evaluates models and records a row for each and each split.

        Args:
            key: Of the stage.
            models: By the name of their fit, which ends with ``proxy`` or ``target``.
            labeled: Labels acquired so far.
            place: ``round_id`` and ``train_rows``.
            costs: What it took to choose what a fit was trained on, by its name: `choice_costs`.
        """

        def measure() -> State:
            return {"rows": [row for name, fit in models.items() for row in rows_of(name, fit())]}

        def rows_of(name: str, fitted: Fitted) -> list[dict[str, Any]]:
            return [
                {
                    "fit": name,
                    **place,
                    "labeled": labeled,
                    "model": name.rsplit("_", 1)[-1],
                    "split": split,
                    **fitted.evaluate(split),
                    **fit_costs(fitted),
                    **costs.get(name, NO_COSTS),
                    **self._origin(name),
                }
                for split in self._splits()
            ]

        rows: list[dict[str, Any]] = self.run.once(f"stages/{key}_metrics", measure)["rows"]
        self.record.add_metrics(rows)
        self._report(key, rows)
        return rows

    def look(
        self, pool: Pool, selector: Callable[[], Observer] | None, round_id: int, size: int
    ) -> Look:
        """Observes the candidates; the selector may be None where nothing need be seen."""
        strategy = self.parts.strategy
        stream = rng(self.seed, "candidates", round_id)
        with Meter() as finding:
            candidates = here().on_first(lambda: self.parts.candidates.rows(pool, size, stream))
        requests = {need: scoped(need, candidates, pool) for need in strategy.needs}
        if selector is None or not requests:
            return Look(candidates, _Nothing(), finding.seconds)
        model = selector()
        with Meter() as meter:
            seen = model.observe(requests)
        observed = len(passed_over(requests))
        seconds = finding.seconds + meter.seconds
        return Look(candidates, seen, seconds, observed, meter.peak_bytes)

    def look_up(self, key: str, pool: Pool) -> None:
        """Lets the candidates' rule look up what it needs of new labels: see `Candidates`.

        The next choice took so much longer. A resumed run leaves finished rounds out: the rule
        looks all up where it needs it.
        """
        look_up = getattr(self.parts.candidates, "look_up", None)
        if look_up is not None and not self.run.done(f"stages/{key}_metrics"):
            with Meter() as meter:
                here().on_first(lambda: look_up(pool))
            self._looked_up = meter.seconds

    def choose(
        self, key: str, size: int, pool: Pool, look: Callable[[], Look], round_id: int
    ) -> State:
        """Lets the strategy pick ``size`` of the candidates.

        Returns:
            ``rows``, ``scores`` and ``weights`` (where given), the numbers of ``candidates`` and of
            ``observed`` rows, ``touched`` (bits: each row that was ever a candidate), ``seconds``
            and ``peak_bytes`` of ``observe`` and ``select``, and of the seconds to observe those to
            ``look_up`` what the labels before had told.
        """

        def select() -> State:
            looked_up, self._looked_up = self._looked_up, 0.0
            looked = look()
            stream = rng(self.seed, "select", round_id)
            with Meter() as meter:
                query = self.pick(size, pool, looked, stream)
            check_query(query, size, looked.candidates)
            touched = np.zeros(len(pool.asked), dtype=bool)
            touched[: len(self._touched)] = self._touched
            touched[looked.candidates] = True
            optional = {"scores": query.scores, "weights": query.weights}
            return {
                "rows": query.rows,
                "candidates": len(looked.candidates),
                "touched": np.packbits(touched),
                "seconds_look_up": looked_up,
                "seconds_observe": looked_up + looked.seconds,
                "seconds_select": meter.seconds,
                "observed": looked.observed,
                "peak_bytes_observe": looked.peak_bytes,
                "peak_bytes_select": meter.peak_bytes,
                **{name: values for name, values in optional.items() if values is not None},
            }

        query = self.run.once(f"stages/{key}_query", select)
        if "touched" in query:  # version 0.1.0 kept none
            self._touched = np.unpackbits(query["touched"], count=len(pool.asked)).astype(bool)
        return query

    def pick(self, size: int, pool: Pool, look: Look, stream: np.random.Generator) -> Query:
        """Lets the strategy pick, in the one process that has all that was seen."""
        select = self.parts.strategy.select
        return here().on_first(lambda: select(size, look.candidates, pool, look.seen, stream))

    def share_touched(self, pool: Pool) -> float:
        """Returns the share of the pool that is labeled or was ever a candidate, in [0, 1]."""
        touched = pool.asked >= 0
        if len(self._touched):
            touched |= self._touched
        touched &= pool.eligible
        return float(touched.sum() / pool.eligible.sum())

    def answer(self, key: str, rows: Rows) -> Array:
        """Returns the oracle's labels for ``rows``, in their order.

        Raises:
            LabelsPendingError: While some are missing.
        """

        def ask() -> State:
            answered, labels = here().on_first(lambda: self.parts.oracle.answer(rows))
            if len(np.unique(answered)) != len(answered) or not np.isin(answered, rows).all():
                raise ValueError("the oracle answered rows that were not asked for, or a row twice")
            if len(answered) < len(rows):
                raise LabelsPendingError(f"{len(answered)} of {len(rows)} labels have come")
            order = np.argsort(answered)
            return {"labels": labels[order[np.searchsorted(answered, rows, sorter=order)]]}

        labels: Array = self.run.once(f"stages/{key}_labels", ask)["labels"]
        return labels

    def _origin(self, name: str) -> dict[str, str]:
        """Returns which other runs trained a fit (or none of them), where fits are shared."""
        return {"shared_from": self._shared_from[name]} if name in self._shared_from else {}

    def _splits(self) -> list[Literal["validation", "test"]]:
        return ["validation", "test"] if len(self.parts.data.validation_rows) else ["test"]

    def _report(self, key: str, rows: Sequence[Mapping[str, Any]]) -> None:
        place = ("fit", "round_id", "train_rows", "labeled", "model", "split", "share_touched")
        for row in rows:
            values = {
                f"{row['model']}/{row['split']}_{name}": value
                for name, value in row.items()
                if name not in place and not is_cost(name)
            }
            self.tracker.log(f"{row['fit']}/{row['split']}", values, int(row["train_rows"]))
            if row["split"] == "test":
                log.info(
                    "%s: %s trained on %d rows in %.1f s, %s %s",
                    key,
                    row["model"],
                    row["train_rows"],
                    row["seconds_fit"],
                    *next(iter(headline(row).items())),
                )


class _Nothing:
    """The observations of a strategy that needs none."""

    def __getattr__(self, name: str) -> Any:
        raise KeyError(f"{name} is not among the strategy's needs")
