"""Core-set selection via proxy: all labels are known, and a part of the rows is trained on."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, partial
from typing import Any

from alframe.errors import UserError
from alframe.options import as_list, is_number, is_whole
from alframe.parts import FirstParts, Parts
from alframe.pipelines.checks import check_candidates, check_cost, check_defined, check_strategy
from alframe.pipelines.costs import NO_COSTS, choice_costs
from alframe.pipelines.fidelity import check_fidelity, compare
from alframe.pipelines.selector import Selector, recorded
from alframe.pipelines.stages import (
    LabelsPendingError,
    LazyFit,
    Look,
    Outcome,
    Stages,
)
from alframe.pool import Pool
from alframe.protocols import PipelineName, Rows, View
from alframe.schedule import rng


@dataclass(frozen=True)
class CoreSet:
    """Fit the proxy on all rows, observe, select for each size, fit the target on each.

    Without a proxy the target itself, trained on all rows, is the selector; a strategy that needs
    no model (random) trains no selector, and one that needs short fits only (EL2N) trains these and
    neither the proxy nor, for selection's sake, the target on all rows. All sizes are selected from
    one look at the rows, whose seconds stand with each of them. ``round_id`` counts the sizes from
    0; the proxy's, the short fits' and the full run's rows have -1.

    Args:
        parts: The composed parts.
        seed: Of the run, 0 or more.
        sizes: Rows to keep: shares of the pool (floats in (0, 1]) or numbers of rows.
        full: Whether the target is also trained on all rows, as the ceiling.
        fidelity: Whether the strategy also selects from what that target sees, to compare.
    """

    parts: Parts
    seed: int
    sizes: Sequence[int | float]
    full: bool = True
    fidelity: bool = False
    name: PipelineName = "core_set"

    @staticmethod
    def check_start(parts: FirstParts, seed: int) -> None:  # noqa: ARG004 nothing is drawn
        """Refuses what needs neither models nor embeddings to be told; `check` does so again.

        Args:
            parts: Those that are there by then.
            seed: Of the run.
        """
        check_defined(parts.strategy, "core_set")

    def counts(self) -> list[int]:
        """Returns the sizes as numbers of rows."""
        total = len(self.parts.data.pool_rows)
        sizes = as_list(self.sizes)
        counts = [
            size if is_whole(size) else round(size * total) if is_number(size) else 0
            for size in sizes
        ]
        if not counts or not all(0 < count <= total for count in counts):
            raise UserError(
                f"pipeline.sizes={self.sizes}: expected a list of shares in (0, 1] or of 1 to "
                f"{total} rows"
            )
        if len(set(counts)) < len(counts):
            raise UserError(
                f"pipeline.sizes={self.sizes}: expected different sizes, got {counts} rows"
            )
        return counts

    def check(self) -> dict[str, Any]:
        """Refuses what cannot work, before anything is written.

        Returns:
            The estimates of `check_cost`.
        """
        check_strategy(self.parts, self.name)
        if self.fidelity:
            check_fidelity(self.parts, self.full)
        data = self.parts.data
        pool = Pool(data.num_rows, data.pool_rows)
        total = len(data.pool_rows)
        for count in self.counts():
            check_candidates(self.parts.candidates, total, [0, count])
        largest = max(self.counts())
        candidates = self.parts.candidates.rows(pool, largest, rng(self.seed, "candidates"))
        if self.parts.oracle.free:
            labels = self.parts.oracle.answer(data.pool_rows)[1]
            self.parts.task.check_labels(labels, "change data or its splits")
        needs = recorded(self.parts, self.parts.selector, self.parts.strategy.needs)
        return check_cost(self.parts, len(candidates), 0, largest, needs)

    def run(self, stages: Stages) -> Outcome:
        """Runs all sizes; a resumed run passes the finished stages."""
        try:
            return self._select_and_train(stages)
        except LabelsPendingError as pending:
            return Outcome("waiting", f"waiting for labels: {pending}")

    def _select_and_train(self, stages: Stages) -> Outcome:
        parts, data = self.parts, self.parts.data
        pool = Pool(data.num_rows, data.pool_rows)
        pool.disclose(data.pool_rows, stages.answer("all", data.pool_rows))
        everything = View(data.pool_rows, pool.labels(data.pool_rows))
        selector = Selector(parts, stages, everything, self.fidelity)
        # once for all sizes
        look = cache(partial(stages.look, pool, selector.ready, 0, max(self.counts())))
        timings: dict[str, float] = {}
        picks: list[Rows] = []
        for name, fit in selector.fits.items():
            row = self._evaluate(stages, name, fit, -1, everything)
            timings["proxy"] = timings.get("proxy", 0.0) + row["seconds_fit"]
        for index, size in enumerate(self.counts()):
            row, rows = self._one_size(stages, index, size, pool, look)
            picks.append(rows)
            timings |= {f"{part}_{size}": row[f"seconds_{part}"] for part in ("observe", "select")}
            timings[f"target_{size}"] = row["seconds_fit"]
        selector.discard_short(stages)
        if self.full or selector.takes_full:
            row = self._evaluate(stages, "full_target", selector.full, -1, everything)
            timings["full"] = row["seconds_fit"]
        if self.fidelity:
            compare(stages, pool, look, selector.full, picks)
        speedups = self._speedups(timings, selector.takes_full)
        return Outcome("done", "all sizes trained", timings | speedups)

    def _one_size(
        self, stages: Stages, index: int, size: int, pool: Pool, look: Callable[[], Look]
    ) -> tuple[dict[str, Any], Rows]:
        key = f"size_{index:03d}"
        query = stages.choose(key, size, pool, look, index)
        rows, weights = query["rows"], query.get("weights")
        stages.record.add_selection(index, rows, query.get("scores"), pool.labels(rows))
        order = rows.argsort()  # the order of the picks must not matter to the fit
        chosen = None if weights is None else weights[order]
        view = View(rows[order], pool.labels(rows[order]), chosen)
        target = partial(stages.fit, f"{key}_target", self.parts.target, view, (), 0)
        row = self._evaluate(stages, f"{key}_target", target, index, view, choice_costs(query))
        return row, rows

    def _evaluate(
        self,
        stages: Stages,
        name: str,
        fit: LazyFit,
        round_id: int,
        view: View,
        costs: Mapping[str, Any] = NO_COSTS,
    ) -> dict[str, Any]:
        labeled = len(self.parts.data.pool_rows)
        place = {"round_id": round_id, "train_rows": len(view.rows)}
        return stages.evaluate(name, {name: fit}, labeled, place, {name: costs})[-1]

    def _speedups(self, timings: dict[str, float], takes_full: bool) -> dict[str, float]:
        """Returns the full run's seconds over those of selector, selection and target together."""
        if "full" not in timings:
            return {}
        selector = timings.get("proxy", 0.0) + (timings["full"] if takes_full else 0.0)
        return {
            f"speedup_{size}": timings["full"]
            / (
                selector
                + sum(timings[f"{part}_{size}"] for part in ("observe", "select", "target"))
            )
            for size in self.counts()
        }
