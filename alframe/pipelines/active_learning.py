"""Pool-based active learning in rounds."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache, cached_property, partial
from itertools import pairwise
from typing import Any

from alframe.parts import FirstParts, Parts
from alframe.pipelines.checks import (
    check_candidates,
    check_cost,
    check_defined,
    check_rounds,
    check_strategy,
)
from alframe.pipelines.costs import choice_costs
from alframe.pipelines.stages import LabelsPendingError, LazyFit, Outcome, Stages
from alframe.pool import Pool
from alframe.protocols import PipelineName, Rows, View
from alframe.schedule import rng

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class ActiveLearning:
    """Fit, evaluate, select, ask the oracle; again and again until a stop rule holds.

    In round r the models train on all labels acquired up to r; round 0 holds the initial random
    rows. The seconds to observe and select on a row of ``metrics.csv`` are what it took to choose
    the rows of that round.

    Args:
        parts: The composed parts.
        seed: Of the run, 0 or more.
        keep_models: Keep every round's models, and not only the last round's.
    """

    parts: Parts
    seed: int
    keep_models: bool = False
    name: PipelineName = "active_learning"

    @staticmethod
    def check_start(parts: FirstParts, seed: int) -> None:
        """Refuses what needs neither models nor embeddings to be told; `check` does so again.

        Args:
            parts: Those that are there by then.
            seed: Of the run.
        """
        check_defined(parts.strategy, "active_learning")
        counts = check_rounds(parts)
        parts.task.initial_rows(counts[0], parts.data.pool_rows, rng(seed, "initial"))

    def check(self) -> dict[str, Any]:
        """Refuses what cannot work, before anything is written.

        Returns:
            The estimates of `check_cost` for the largest round.
        """
        parts = self.parts
        check_strategy(parts, self.name)
        counts = check_rounds(parts)
        pool = Pool(parts.data.num_rows, parts.data.pool_rows)
        pool.ask(self._initial, 0)
        if parts.oracle.free:
            remedy = (
                f"raise schedule.initial={counts[0]}, set task.initial=balanced, or change data "
                "where they hold no other class"
            )
            parts.task.check_labels(parts.oracle.answer(self._initial)[1], remedy)
        if len(counts) == 1:
            return {}
        check_candidates(parts.candidates, len(parts.data.pool_rows), counts)
        size = max(after - before for before, after in pairwise(counts))
        unlabeled = len(parts.data.pool_rows) - counts[0]
        most = max(size, parts.candidates.at_most(unlabeled, counts[-1]))
        return check_cost(parts, most, counts[-1], size, parts.strategy.needs)

    def run(self, stages: Stages) -> Outcome:
        """Runs all rounds; a resumed run passes the finished stages."""
        try:
            return self._rounds(stages)
        except LabelsPendingError as pending:
            return Outcome("waiting", f"waiting for labels: {pending}")

    def _rounds(self, stages: Stages) -> Outcome:
        data, schedule = self.parts.data, self.parts.schedule
        pool = Pool(data.num_rows, data.pool_rows)
        counts = schedule.counts(len(data.pool_rows))
        selector: LazyFit | None = None
        for round_id, count in enumerate(counts):
            key = f"round_{round_id:03d}"
            costs = self._acquire(stages, key, round_id, count, pool, selector)
            if count < counts[-1]:
                stages.look_up(key, pool)
            if not self.keep_models and round_id:
                for model in ("proxy", "target"):
                    stages.discard_fit(f"round_{round_id - 1:03d}_{model}")
            models = self._models(stages, key, round_id, count == counts[-1], pool)
            selector_name = next(iter(models), "")
            place = {
                "round_id": round_id,
                "train_rows": count,
                **self.parts.task.progress(pool.labels(pool.labeled)),
                "share_touched": stages.share_touched(pool),
            }
            rows = stages.evaluate(key, models, count, place, {selector_name: costs})
            if self._reached(rows):
                reason = f"target accuracy reached with {count} labels"
                return Outcome("done", reason, stages.record.seconds())
            selector = models.get(selector_name)
        exhausted = counts[-1] == len(data.pool_rows)
        reason = "pool exhausted" if exhausted else "budget reached"
        return Outcome("done", reason, stages.record.seconds())

    @cached_property
    def _initial(self) -> Rows:
        eligible = self.parts.data.pool_rows
        size = self.parts.schedule.counts(len(eligible))[0]
        return self.parts.task.initial_rows(size, eligible, rng(self.seed, "initial"))

    def _acquire(
        self,
        stages: Stages,
        key: str,
        round_id: int,
        count: int,
        pool: Pool,
        selector: LazyFit | None,
    ) -> Mapping[str, Any]:
        """Picks rows until ``count`` are labeled, and returns what that took."""
        size = count - len(pool.labeled)
        if round_id == 0:
            query = stages.run.once(f"stages/{key}_query", lambda: {"rows": self._initial})
        else:
            look = partial(stages.look, pool, selector, round_id, size)
            query = stages.choose(key, size, pool, look, round_id)
            usual = self.parts.schedule.usual_size(round_id)
            if size < usual:
                log.info("%s: the last round is short, %d rows instead of %d", key, size, usual)
        rows = query["rows"]
        pool.ask(rows, round_id)
        labels = stages.answer(key, rows)
        pool.label(rows, labels, round_id)
        stages.record.add_selection(round_id, rows, query.get("scores"), labels)
        return choice_costs(query)

    def _models(
        self, stages: Stages, key: str, round_id: int, last: bool, pool: Pool
    ) -> dict[str, LazyFit]:
        """Returns the round's models by name, the selector first; none is trained yet."""
        parts = self.parts
        view = View(pool.labeled, pool.labels(pool.labeled))
        needs = parts.strategy.needs
        wanted = {}
        if parts.proxy is not None and needs:
            wanted["proxy"] = (parts.proxy, needs)
        selects = parts.proxy is None and len(needs) > 0
        if selects or parts.schedule.evaluates(len(view.rows), last):
            wanted["target"] = (parts.target, needs if parts.proxy is None else ())
        return {
            f"{key}_{model}": cache(
                partial(stages.fit, f"{key}_{model}", learner, view, seen, round_id)
            )
            for model, (learner, seen) in wanted.items()
        }

    def _reached(self, rows: list[dict[str, Any]]) -> bool:
        wanted = self.parts.schedule.target_accuracy
        return wanted is not None and any(
            row["model"] == "target" and row["split"] == "validation" and row["accuracy"] >= wanted
            for row in rows
        )
