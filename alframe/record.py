"""The tables of a run: a row for each evaluated model, and a row for each selected row."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from alframe.files import write_atomic, write_if_new
from alframe.protocols import Array, Rows

if TYPE_CHECKING:
    from alframe.run_dir import RunDir

METRIC_COLUMNS = (
    "fit", "round_id", "labeled", "train_rows", "model", "split", "accuracy", "loss",
    "seconds_fit", "seconds_observe", "seconds_select",
)  # fmt: skip
COSTS = ("seconds_", "samples_per_second_", "peak_bytes_", "multiply_adds", "shared_from")


def is_cost(column: str) -> bool:
    """Says whether a column of ``metrics.csv`` tells what something took, not how good it is."""
    return column.startswith(COSTS)


def headline(row: Mapping[str, Any]) -> dict[str, str]:
    """Returns what of a row of metrics of the test part is shown to a person, by headings.

    Where nearly all rows are negatives, a model that finds none of the rest has a high accuracy.
    """
    if "average_precision" in row:
        shown = {"test average precision": f"{row['average_precision']:.4f}"}
        if "positives_found" in row:
            shown["positives found"] = str(row["positives_found"])
        return shown
    return {"test accuracy": f"{row['accuracy']:.4f}", "test loss": f"{row['loss']:.4f}"}


class Record:
    """Grows the tables as stages finish.

    While finished stages are only passed again, the files are left as they are: a resumed run that
    is killed before its first new stage keeps them whole.
    """

    def __init__(self, run: RunDir) -> None:
        self._run = run
        self.metrics: list[dict[str, Any]] = []
        self._selections: list[dict[str, Array]] = []

    def add_metrics(self, rows: list[dict[str, Any]]) -> None:
        """Appends rows to ``metrics.csv``."""
        self.metrics.extend(rows)
        if self._run.went_on:
            self._write_metrics()

    def write(self) -> None:
        """Brings both files up to date where they are not."""
        if self._run.writes:
            self._write_metrics()
            self._write_selections()

    def _write_metrics(self) -> None:
        columns = list(dict.fromkeys([*METRIC_COLUMNS, *(key for r in self.metrics for key in r)]))
        write_if_new(self._run.path / "metrics.csv", _csv(columns, self.metrics))

    def seconds(self) -> dict[str, float]:
        """Returns the seconds of all fits by model, of all observations and all selections."""
        fits = {row["fit"]: row for row in self.metrics}.values()
        totals: dict[str, float] = {}
        for row in fits:
            parts = {row["model"]: "fit", "observe": "observe", "select": "select"}
            for part, column in parts.items():
                totals[part] = totals.get(part, 0.0) + row[f"seconds_{column}"]
        return totals

    def shared(self) -> dict[str, float]:
        """Returns the seconds of fits that other runs trained, at least in part, if there are any.

        They are part of all other figures, which tell what a result costs, but not of the time
        that passed in this run.
        """
        fits = {row["fit"]: row for row in self.metrics if row.get("shared_from")}.values()
        return {"shared": sum(row["seconds_fit"] for row in fits)} if fits else {}

    def add_selection(self, round_id: int, rows: Rows, scores: Array | None, labels: Array) -> None:
        """Appends the rows that were picked in one round, best first, to ``selections.parquet``."""
        missing = np.full(len(rows), np.nan)
        self._selections.append(
            {
                "row": rows,
                "round_id": np.full(len(rows), round_id),
                "rank": np.arange(len(rows)),
                "score": missing if scores is None else scores.astype(np.float64),
                "label": labels,
            }
        )
        if self._run.went_on:
            self._write_selections()

    def _write_selections(self) -> None:
        import pyarrow as pa
        import pyarrow.parquet as pq

        if not self._selections:
            return
        columns = {
            name: np.concatenate([part[name] for part in self._selections])
            for name in self._selections[0]
        }
        buffer = pa.BufferOutputStream()
        pq.write_table(pa.table(columns), buffer, write_page_checksum=True)
        write_if_new(self._run.path / "selections.parquet", buffer.getvalue().to_pybytes())

    def add_fidelity(self, rows: list[dict[str, Any]]) -> None:
        """Writes ``fidelity.csv``: how far the proxy's picks agree with the target's."""
        if self._run.writes:
            write_if_new(self._run.path / "fidelity.csv", _csv(list(rows[0]), rows))

    def add_curve(self, fit: str, curve: list[Mapping[str, Any]]) -> None:
        """Writes a fit's own curve, for display only."""
        path = self._run.path / "fits" / fit / "curve.csv"
        if not (self._run.writes and curve) or path.is_file():
            return
        write_atomic(path, _csv(("epoch", "seconds", "split", "error"), curve))


def _csv(columns: Sequence[str], rows: Sequence[Mapping[str, Any]]) -> bytes:
    buffer = io.StringIO()
    writer = csv.DictWriter(buffer, columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return buffer.getvalue().encode()
