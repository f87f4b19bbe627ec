"""What a selector saw of the rows, asked by row number; how it is stored stays hidden."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from alframe.errors import UserError
from alframe.protocols import Need, Rows


@dataclass(frozen=True)
class Table:
    """Values of some rows: ``values[i]`` (or ``values[:, i]`` for dynamics) is of ``rows[i]``.

    Attributes:
        rows: Ascending.
        values: [n, ...], or [epochs, n, fields] for dynamics.
        what: In words, for errors.

    Raises:
        UserError: If a value is not finite.
    """

    rows: Rows
    values: Tensor
    what: str = "values"

    def __post_init__(self) -> None:
        per_row = self.values.transpose(0, 1) if self.values.ndim == 3 else self.values
        finite = (
            torch.isfinite(per_row).flatten(1).all(1)
            if per_row.ndim > 1
            else (torch.isfinite(per_row))
        )
        bad = self.rows[~finite.cpu().numpy()]
        if len(bad):
            raise UserError(
                f"the selector's {self.what} hold NaN or infinity in {len(bad)} rows, first in "
                f"{', '.join(map(str, bad[:5]))}: expected finite numbers; lower "
                "the learner's recipe.learning_rate or mend these rows of the data"
            )

    def at(self, rows: Rows, axis: int = 0) -> Tensor:
        """Returns the values of ``rows``, in their order.

        Raises:
            KeyError: If a row was not observed.
        """
        positions = np.searchsorted(self.rows, rows).clip(max=len(self.rows) - 1)
        absent = rows[self.rows[positions] != rows] if len(self.rows) else rows
        if len(absent):
            raise KeyError(f"{len(absent)} rows were not observed, the first is {absent[0]}")
        return self.values.index_select(axis, torch.from_numpy(positions).to(self.values.device))


class TableObservations:
    """Observations held in memory, one table for each kind of need."""

    def __init__(
        self,
        passed: Mapping[str, Table],
        dynamics: Table | None = None,
        fields: tuple[str, ...] = (),
    ) -> None:
        self._passed = passed
        self._dynamics = dynamics
        self._fields = fields

    def probs(self, rows: Rows) -> Tensor:
        """See `alframe.protocols.Observations.probs`."""
        return self._of("probs").at(rows)

    def embeddings(self, rows: Rows) -> Tensor:
        """See `alframe.protocols.Observations.embeddings`."""
        return self._of("embeddings").at(rows)

    def dynamics(self, rows: Rows, field: str) -> Tensor:
        """See `alframe.protocols.Observations.dynamics`."""
        if self._dynamics is None or field not in self._fields:
            raise KeyError(f"dynamics {field} is not among the strategy's needs")
        return self._dynamics.at(rows, axis=1)[:, :, self._fields.index(field)]

    def _of(self, what: str) -> Table:
        if what not in self._passed:
            raise KeyError(f"{what} is not among the strategy's needs")
        return self._passed[what]


def passed_over(requests: Mapping[Need, Rows]) -> Rows:
    """Returns the rows that must be looked at, ascending: the union over the requests."""
    wanted = [rows for need, rows in requests.items() if need.what != "dynamics"]
    return np.unique(np.concatenate(wanted)) if wanted else np.empty(0, dtype=np.int64)


def one_pass(
    requests: Mapping[Need, Rows],
    batches: Iterable[tuple[Rows, Mapping[str, Tensor]]],
) -> dict[str, Table]:
    """Collects what is needed from one pass over the union of the requested rows.

    Args:
        requests: The rows for each need.
        batches: Rows in ascending order, and what the model gave for them by `Need.what`.

    Returns:
        A table for each kind of need, over the rows that were asked for; reduced within the pass.
    """
    wanted: dict[str, tuple[Callable[[Tensor], Tensor] | None, Rows]] = {}
    for need, rows in requests.items():
        if need.what == "dynamics":
            continue
        reduce, before = wanted.get(need.what, (need.reduce, rows))
        if reduce is not need.reduce:
            raise ValueError(f"two needs of {need.what} have different reductions")
        wanted[need.what] = (reduce, np.union1d(before, rows))
    kept: dict[str, list[Tensor]] = {what: [] for what in wanted}
    for rows, outputs in batches:
        for what, (reduce, keep) in wanted.items():
            near = keep[np.searchsorted(keep, rows[0]) : np.searchsorted(keep, rows[-1], "right")]
            inside = np.isin(rows, near, assume_unique=True)
            mask = torch.from_numpy(inside).to(outputs[what].device)
            values = Table(rows[inside], outputs[what][mask], what).values
            kept[what].append(values if reduce is None else reduce(values))
    return {what: Table(keep, torch.cat(kept[what]), what) for what, (_, keep) in wanted.items()}
