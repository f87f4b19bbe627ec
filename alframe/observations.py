"""What a selector saw of the rows, asked by row number; how it is stored stays hidden."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from alframe.errors import UserError
from alframe.pool import distinct
from alframe.protocols import Array, Need, Rows, Scope

CHECKED = 2**20
"""Values that are checked at a time."""


@dataclass(frozen=True)
class Table:
    """Values of some rows: ``values[i]`` (or ``values[:, i]`` for dynamics) is of ``rows[i]``.

    Attributes:
        rows: Ascending.
        values: [n, ...], or [epochs, n, fields] for dynamics.
        what: In words, and whose they are, for errors.
        fields: Names of the last axis of dynamics; empty for anything else.
        remedy: What to do about values that are not finite, for errors.

    Raises:
        UserError: If a value is not finite.
    """

    rows: Rows
    values: Tensor
    what: str = "values"
    fields: tuple[str, ...] = ()
    remedy: str = "lower the learner's recipe.learning_rate or mend these rows of the data"

    def __post_init__(self) -> None:
        if math.isfinite(float(self.values.sum())):  # then all are: the usual case, one fast pass
            return
        per_row = self.values.transpose(0, 1) if self.fields else self.values
        bad = self.rows[~finite_marks(per_row)]
        if len(bad):
            raise UserError(
                f"the {self.what} hold NaN or infinity in {len(bad)} rows, first in "
                f"{', '.join(map(str, bad[:5]))}: expected finite numbers; {self.remedy}"
            )

    def at(self, rows: Rows) -> Tensor:
        """Returns the values of ``rows``, in their order; they must not be written to.

        Raises:
            KeyError: If a row was not observed.
        """
        if rows is self.rows or np.array_equal(
            rows, self.rows
        ):  # no copy of what may be most of the memory
            return self.values
        positions = np.searchsorted(self.rows, rows).clip(max=len(self.rows) - 1)
        absent = rows[self.rows[positions] != rows] if len(self.rows) else rows
        if len(absent):
            raise KeyError(f"{len(absent)} rows were not observed, the first is {absent[0]}")
        axis = 1 if self.fields else 0
        return self.values.index_select(axis, torch.from_numpy(positions).to(self.values.device))


def finite_marks(values: Tensor) -> Array:
    """Tells of which rows all values are finite; chunked: the values may be most of the memory."""
    step = max(1, CHECKED // max(1, values[:1].numel()))
    marks = [torch.isfinite(part).flatten(1).all(1) for part in torch.split(values[:, None], step)]
    finite: Array = torch.cat(marks).cpu().numpy()
    return finite


class TableObservations:
    """Observations held in memory, one table for each need; needs of one kind may share one."""

    def __init__(self, tables: Mapping[Need, Table]) -> None:
        self._tables = tables

    def probs(self, rows: Rows) -> Tensor:
        """See `alframe.protocols.Observations.probs`."""
        return self._table("probs").at(rows)

    def mc_probs(self, rows: Rows) -> Tensor:
        """See `alframe.protocols.Observations.mc_probs`."""
        return self._table("mc_probs").at(rows)

    def embeddings(self, rows: Rows) -> Tensor:
        """See `alframe.protocols.Observations.embeddings`."""
        return self._table("embeddings").at(rows)

    def dynamics(self, rows: Rows, field: str) -> Tensor:
        """See `alframe.protocols.Observations.dynamics`."""
        table = self._table("dynamics", field)
        return table.at(rows)[:, :, table.fields.index(field)]

    def of(self, needs: Sequence[Need]) -> TableObservations:
        """See `alframe.protocols.Observations.of`."""
        return TableObservations({n: table for n, table in self._tables.items() if n in needs})

    def _table(self, what: str, field: str | None = None) -> Table:
        tables = {
            id(table): table
            for need, table in self._tables.items()
            if need.what == what and (field is None or field in need.fields)
        }
        name = what if field is None else f"{what} {field}"
        if not tables:
            raise KeyError(f"{name} is not among the strategy's needs")
        if len(tables) > 1:
            raise ValueError(
                f"{name} was asked for in {len(tables)} forms: expected seen.of(needs) with the "
                "needs of one of them"
            )
        return next(iter(tables.values()))


def passed_over(requests: Mapping[Need, Rows]) -> Rows:
    """Returns the rows that must be looked at, ascending: the union over the requests.

    Args:
        requests: The rows for each need, ascending and distinct.
    """
    wanted = {id(rows): rows for need, rows in requests.items() if need.what != "dynamics"}
    if len(wanted) == 1:  # ascending and distinct as they are, and perhaps very many
        return next(iter(wanted.values()))
    return distinct(np.empty(0, dtype=np.int64), *wanted.values())


def one_pass(
    requests: Mapping[Need, Rows],
    batches: Iterable[tuple[Rows, Mapping[str, Tensor]]],
) -> dict[Need, Table]:
    """Collects what is needed from one pass over the union of the requested rows.

    Args:
        requests: The rows for each need, ascending and distinct.
        batches: Rows in ascending order, and what the model gave for them by `Need.what`;
            ``mc_probs`` with the largest number of draws that is asked for.

    Returns:
        A table for each need that is not of dynamics; reduced within the pass. Needs that differ
        only in their scope share one table, over the union of their rows.
    """
    wanted: dict[Need, Rows] = {}
    for need, rows in requests.items():
        if need.what != "dynamics":
            form = replace(need, scope=Scope.POOL)
            wanted[form] = distinct(wanted[form], rows) if form in wanted else rows
    kept: dict[Need, list[Tensor]] = {form: [] for form in wanted}
    theirs = {form: f"selector's {form.what}" for form in wanted}
    for rows, outputs in batches:
        for form, keep in wanted.items():
            near = keep[np.searchsorted(keep, rows[0]) : np.searchsorted(keep, rows[-1], "right")]
            values = outputs[form.what]
            if len(near) < len(rows):  # else nothing waits for the device
                inside = np.isin(rows, near, assume_unique=True)
                values = values[torch.from_numpy(inside).to(values.device)]
            values = values[:, : form.draws] if form.what == "mc_probs" else values
            if form.reduce is not None:  # others are checked when they are together
                values = form.reduce(Table(near, values, theirs[form]).values)
            kept[form].append(values)
    tables = {
        form: Table(rows, torch.cat(kept[form]), theirs[form]) for form, rows in wanted.items()
    }
    return {
        need: tables[replace(need, scope=Scope.POOL)]
        for need in requests
        if need.what != "dynamics"
    }


def within(rows: Rows, own: Rows) -> Rows:
    """Returns those of some rows, ascending, that lie between the first and the last of ``own``."""
    if not len(own):
        return rows[:0]
    start, end = np.searchsorted(rows, own[0]), np.searchsorted(rows, own[-1], "right")
    return rows[start:end]


def joined(
    requests: Mapping[Need, Rows], parts: Sequence[Mapping[Need, Table]]
) -> dict[Need, Table]:
    """Puts tables together that `one_pass` made of rows that follow each other.

    Args:
        requests: The rows for each need, ascending and distinct.
        parts: Tables of these needs: of the first rows, of those that follow, and so on.
    """
    if len(parts) == 1:
        return dict(parts[0])
    whole: dict[int, Table] = {}  # needs that share a table in the parts share it here
    for need, first in parts[0].items():
        if id(first) in whole:
            continue
        tables = [part[need] for part in parts]
        rows = requests[need]
        if sum(len(table.rows) for table in tables) > len(rows):  # also those of other needs
            rows = np.concatenate([table.rows for table in tables])
        whole[id(first)] = Table(rows, torch.cat([t.values for t in tables]), first.what)
    return {need: whole[id(table)] for need, table in parts[0].items()}
