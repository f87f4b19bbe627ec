"""One selection on its own: the rows of each need, the check of what comes back, plain arrays."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from alframe.errors import UserError
from alframe.pool import Pool, distinct
from alframe.protocols import Array, Need, PipelineName, Query, Rows, Scope, Strategy, Work

if TYPE_CHECKING:
    from torch import Tensor

    from alframe.observations import TableObservations

BATCH = 2**16
"""Rows that are reduced at a time."""
SUMS_WITHIN = 2.0**-5
"""Of 1, for sums of class probabilities that may have been rounded to bfloat16."""
VALUES = ("embeddings", "probs", "mc_probs")
REMEDY = "mend these rows, or leave them out (alframe-select --drop-nonfinite)"


def scoped(need: Need, candidates: Rows, pool: Pool) -> Rows:
    """Returns the rows of a need's scope."""
    if need.scope is Scope.CANDIDATES:
        return candidates
    if need.scope is Scope.LABELED:
        return pool.labeled
    return distinct(candidates, pool.labeled)


def check_query(query: Query, size: int, candidates: Rows) -> None:
    """Raises ValueError unless the query has ``size`` distinct candidate rows, best first."""
    rows = query.rows
    if len(rows) != size or len(np.unique(rows)) != size or not np.isin(rows, candidates).all():
        raise ValueError(
            f"the strategy returned {len(rows)} rows, {len(np.unique(rows))} distinct: expected "
            f"{size} distinct rows of the {len(candidates)} candidates"
        )
    scores = query.scores
    if scores is not None and len(scores) != size:
        raise ValueError(f"the strategy returned {len(scores)} scores for {size} rows")
    if scores is not None and (np.isnan(scores).any() or (scores[:-1] < scores[1:]).any()):
        raise ValueError("the strategy's scores do not fall: expected the best row first")
    weights = query.weights
    if weights is not None and (len(weights) != size or not (weights > 0).all()):
        raise ValueError("the strategy's weights are not one positive number for each row")


@dataclass(frozen=True)
class Arrays:
    """What is known of n rows, for a selection without a model or a run.

    Attributes:
        rows: n.
        embeddings: [n, d], a tensor (a numpy array becomes one), or None.
        probs: [n, classes], or None.
        mc_probs: [n, draws, classes], or None.
        dynamics: By field, [epochs, n].
        labeled: Rows that are labeled already, distinct.
        labels: [n]; only those of the labeled rows are looked at where some are labeled.

    Raises:
        UserError: If they are not of n rows.
    """

    rows: int
    embeddings: Tensor | None = None
    probs: Tensor | None = None
    mc_probs: Tensor | None = None
    dynamics: Mapping[str, Tensor] = field(default_factory=dict)
    labeled: Rows = field(default_factory=lambda: np.empty(0, dtype=np.int64))
    labels: Array | None = None

    def __post_init__(self) -> None:
        from alframe.functional.arrays import as_tensor

        counts: dict[str, int] = {} if self.labels is None else {"labels": len(self.labels)}
        for name in VALUES:
            if (values := getattr(self, name)) is not None:
                object.__setattr__(self, name, as_tensor(values))
                counts[name] = len(values)
        history = {name: as_tensor(values) for name, values in self.dynamics.items()}
        object.__setattr__(self, "dynamics", history)
        counts |= {f"dynamics {name}": values.shape[-1] for name, values in history.items()}
        wrong = [f"{name} of {count}" for name, count in counts.items() if count != self.rows]
        if wrong:
            raise UserError(f"expected arrays of {self.rows} rows, got {', '.join(wrong)}")

    def pool(self, pipeline: PipelineName) -> Pool:
        """Returns the pool's state: in core-set selection all labels are known."""
        pool = Pool(self.rows, np.arange(self.rows))
        if pipeline == "core_set":
            if self.labels is not None:
                pool.disclose(np.arange(self.rows), self.labels)
            return pool
        pool.ask(self.labeled, 0)
        if self.labels is None:
            pool.acquired[self.labeled] = 0  # labeled, but nobody said with what
        else:
            pool.label(self.labeled, self.labels[self.labeled], 0)
        return pool

    def work(self, size: int) -> Work:
        """Returns how large a selection of ``size`` rows is."""
        labeled = len(self.labeled)
        widths = [0 if a is None else a.shape[-1] for a in (self.embeddings, self.probs)]
        if self.probs is None and self.mc_probs is not None:
            widths[1] = self.mc_probs.shape[-1]
        return Work(size, self.rows - labeled, labeled, *widths)

    def observe(self, needs: tuple[Need, ...]) -> TableObservations:
        """Returns what a strategy declared, without copying what it wants whole.

        Raises:
            UserError: If it holds NaN or infinity.
        """
        from alframe.observations import TableObservations

        forms = {need: replace(need, scope=Scope.POOL) for need in needs}
        tables = {form: self._table(form) for form in set(forms.values())}
        return TableObservations({need: tables[form] for need, form in forms.items()})

    def copied_bytes(self, needs: tuple[Need, ...]) -> int:
        """Returns what is copied of the arrays at most, while a strategy looks at them."""
        total = 0
        for need in needs:
            if need.what == "dynamics":
                parts = [self.dynamics[name] for name in need.fields]
                times = (len(parts) > 1) + (len(self.labeled) > 0)
            else:  # asked for by row, as not all rows are candidates
                parts, times = [getattr(self, need.what)], int(len(self.labeled) > 0)
            if need.reduce is None:
                total += times * sum(values.numel() * values.element_size() for values in parts)
        return total

    def finite(self) -> Rows:
        """Returns the rows of which all given values are finite."""
        from alframe.observations import finite_marks

        marks = np.ones(self.rows, dtype=bool)
        for name in VALUES:
            if (values := getattr(self, name)) is not None:
                marks &= finite_marks(values)
        for history in self.dynamics.values():
            marks &= finite_marks(history.T)
        return np.flatnonzero(marks)

    def only(self, rows: Rows) -> Arrays:
        """Returns the same of some rows, ascending; they are numbered from 0 again."""
        import torch

        index = torch.from_numpy(rows)
        some = {
            key: values[index.to(values.device)]
            for key in VALUES
            if (values := getattr(self, key)) is not None
        }
        return Arrays(
            len(rows),
            **some,
            dynamics={key: values[:, rows] for key, values in self.dynamics.items()},
            labeled=np.flatnonzero(np.isin(rows, self.labeled)),
            labels=None if self.labels is None else self.labels[rows],
        )

    def check(self, need: Need) -> None:
        """Raises `UserError` if what a strategy needs was not given."""
        if need.what == "dynamics":
            absent = [name for name in need.fields if name not in self.dynamics]
            if absent:
                given = ", ".join(self.dynamics) or "none"
                raise UserError(
                    f"the strategy needs the dynamics {', '.join(absent)}: expected --dynamics "
                    f"with an array [epochs, n] of that name, got {given}"
                )
            return
        values = getattr(self, need.what)
        flag = f"--{need.what.replace('_', '-')}" if need.what != "embeddings" else "a file of them"
        if values is None:
            raise UserError(f"the strategy needs {need.what}: expected {flag}")
        if need.what == "mc_probs" and values.shape[1] < need.draws:
            raise UserError(
                f"the strategy wants {need.draws} draws: expected --mc-probs to hold them, got "
                f"{values.shape[1]}; lower strategy.draws"
            )

    def _table(self, need: Need) -> Any:
        import torch

        from alframe.observations import Table

        every = np.arange(self.rows)
        if need.what == "dynamics":
            end = need.until_epoch
            fields = [self.dynamics[name][:end] for name in need.fields]
            # one field is not copied: it may be memory-mapped
            history = fields[0][..., None] if len(fields) == 1 else torch.stack(fields, -1)
            return Table(every, history, "dynamics", need.fields, REMEDY)
        values: Tensor = getattr(self, need.what)
        if need.what == "mc_probs":
            values = values[:, : need.draws]
        if need.what != "embeddings":
            check_sums(values, need.what)
        if need.reduce is not None:
            parts = [need.reduce(values[i : i + BATCH]) for i in range(0, self.rows, BATCH)]
            values = torch.cat(parts)
        return Table(every, values, need.what, remedy=REMEDY)


def check_sums(probs: Tensor, what: str) -> None:
    """Refuses class probabilities of which some rows do not sum to 1.

    Args:
        probs: [n, ..., classes].
        what: In words, for the message.

    Raises:
        UserError: With the count and the first rows.
    """
    import torch

    parts = torch.split(probs[:, None], BATCH)
    sums = [((part.double().sum(-1) - 1).abs() > SUMS_WITHIN).flatten(1).any(1) for part in parts]
    rows: Rows = torch.cat(sums).cpu().numpy().nonzero()[0]
    if len(rows):
        found = float(probs[int(rows[0])].double().reshape(-1, probs.shape[-1]).sum(-1)[0])
        raise UserError(
            f"the {what} of {len(rows)} of {len(probs)} rows do not sum to 1, first of "
            f"{', '.join(map(str, rows[:5]))} (to {found:.4g}): expected class probabilities, such "
            "as a softmax gives"
        )


def select_rows(
    strategy: Strategy, size: int, arrays: Arrays, rng: np.random.Generator | None = None
) -> Query:
    """Lets any strategy pick from plain arrays.

    Where the strategy is defined for both pipelines, rows that are labeled make it active learning.

    Args:
        strategy: Such as ``alframe.strategies.kcenter.KCenter()``.
        size: Rows to pick, 1 or more.
        arrays: What is known of the rows.
        rng: For a stochastic strategy; None = seed 0.

    Raises:
        UserError: If the strategy needs an array that is not there, or is not defined for this.
        ValueError: If there are fewer than ``size`` unlabeled rows.
    """
    pool = arrays.pool(check_selection(strategy, size, arrays))
    seen = arrays.observe(strategy.needs)
    rng = np.random.default_rng(0) if rng is None else rng
    try:
        query = strategy.select(size, pool.unlabeled, pool, seen, rng)
    except KeyError as error:
        if arrays.labels is not None or "no label" not in str(error):
            raise
        raise UserError("the strategy needs the rows' labels: expected --labels") from error
    check_query(query, size, pool.unlabeled)
    return query


def check_selection(strategy: Strategy, size: int, arrays: Arrays) -> PipelineName:
    """Refuses a selection that cannot work, and returns the pipeline that it belongs to.

    Raises:
        UserError: As `select_rows`.
    """
    free = arrays.rows - len(arrays.labeled)
    if not 0 < size <= free:
        raise UserError(f"size={size}: expected 1 to {free}, the rows without a label")
    for need in strategy.needs:
        arrays.check(need)
    if len(arrays.labeled) == 0 and "core_set" in strategy.pipelines:
        return "core_set"
    if "active_learning" not in strategy.pipelines:
        raise UserError(
            f"strategy {type(strategy).__name__} selects from rows whose labels are all known: "
            f"expected no labeled rows, got {len(arrays.labeled)}"
        )
    return "active_learning"
