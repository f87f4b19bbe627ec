"""Who looks at the rows of a core-set run: one fit, or the mean of several short ones."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache, partial

from alframe.errors import UserError
from alframe.histories import Joined, MeanHistory, averaged
from alframe.parts import Parts
from alframe.pipelines.stages import LazyFit, Stages
from alframe.protocols import Learner, Need, Observations, Rows, Scope, View


def recorded(parts: Parts, learner: Learner, needs: Sequence[Need]) -> tuple[Need, ...]:
    """Returns what a fit that may serve a strategy records.

    Where fits are shared among runs, the histories of ``share.records`` are recorded, whether the
    strategy asks for them or not: then strategies have the same fit. Weights do not depend on it.

    Raises:
        UserError: If ``share.records`` names what the task has not.
    """
    if parts.sharing is None or "dynamics" not in learner.records:
        return tuple(needs)
    fields = parts.task.histories if parts.sharing.records is None else parts.sharing.records
    if unknown := sorted(set(fields) - set(parts.task.histories)):
        raise UserError(
            f"share.records: expected any of {', '.join(parts.task.histories)}, got "
            + ", ".join(unknown)
        )
    if not fields:
        return tuple(needs)
    whole = any(need.until_epoch is None for need in needs)
    until = None if whole else max((need.until_epoch or 0 for need in needs), default=None)
    return (*needs, Need("dynamics", Scope.POOL, fields=tuple(fields), until_epoch=until))


class Selector:
    """The fits that a strategy listens to, each a stage of its own; none is made before it is used.

    Ordinary needs are served by one fit on all rows: the proxy's, or without a proxy the target's
    full run. Needs that average several fits, or stop early, are served by short fits of the same
    learner, named ``short_00_proxy`` and so on, since they stand in for the full run whoever makes
    them. The i-th (from 0) serves the needs that average more than i, and stops when the last of
    these has seen enough. Their histories are averaged one by one.

    Attributes:
        fits: What is trained for the selection alone, by name, in its order.
        full: The target's fit on all rows, which records what is needed of it.
        takes_full: Whether the strategy listens to the full run.

    Args:
        parts: The composed parts.
        stages: Of the run.
        everything: All rows with their labels.
        compared: Whether the full run also records what a proxy's strategy needs.
    """

    def __init__(
        self, parts: Parts, stages: Stages, everything: View, compared: bool = False
    ) -> None:
        needs = parts.strategy.needs
        short = tuple(need for need in needs if need.short)
        ordinary = tuple(need for need in needs if not need.short)
        # not cached: a history is read again rather than held beside those of the other fits
        self._short: dict[str, LazyFit] = {
            f"short_{i:02d}_proxy": partial(
                stages.fit,
                f"short_{i:02d}_proxy",
                parts.selector,
                everything,
                recorded(parts, parts.selector, [need for need in short if need.fits > i]),
                i + 1,  # a random stream that neither the proxy nor another short fit has
            )
            for i in range(max((need.fits for need in short), default=0))
        }
        self._listens = len(ordinary) > 0
        self.takes_full = self._listens and parts.proxy is None
        history = tuple(need for need in ordinary if need.what == "dynamics")
        seen = ordinary if self.takes_full else history if compared else ()
        seen = recorded(parts, parts.target, seen)
        self.full = cache(partial(stages.fit, "full_target", parts.target, everything, seen, 0))
        self._fit = self.full
        self.fits = self._short
        if self._listens and parts.proxy is not None:
            heard = recorded(parts, parts.proxy, ordinary)
            self._fit = cache(partial(stages.fit, "proxy", parts.proxy, everything, heard, 0))
            self.fits = {"proxy": self._fit, **self._short}

    def ready(self) -> Selector:
        """Trains what looks at the rows, lest that be counted among the seconds of looking."""
        if self._listens:
            self._fit()
        return self

    def observe(self, requests: Mapping[Need, Rows]) -> Observations:
        """Looks at un-augmented rows once, and gathers what the short fits recorded."""
        short = {need: rows for need, rows in requests.items() if need.short}
        ordinary = {need: rows for need, rows in requests.items() if not need.short}
        if not short:
            return self._fit().observe(ordinary)
        histories = self._averaged(short)
        if not ordinary:
            return histories
        return Joined([(list(ordinary), self._fit().observe(ordinary)), (list(short), histories)])

    def discard_short(self, stages: Stages) -> None:
        """Removes the models of the short fits, of which there may be many, when all is chosen."""
        for name in self._short:
            stages.discard_fit(name)

    def _averaged(self, requests: Mapping[Need, Rows]) -> Observations:
        means = {need: MeanHistory(need, rows) for need, rows in requests.items()}
        for i, fit in enumerate(self._short.values()):
            served = {need: rows for need, rows in requests.items() if need.fits > i}
            seen = fit().observe(served)
            for need in served:
                means[need].add(seen.of([need]))
        return averaged(means)
