"""Tables as text: the same cells for Markdown, the page and the terminal."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import pandas as pd

DASH = "–"  # noqa: RUF001 (what a missing number looks like)


@dataclass(frozen=True)
class TextTable:
    """A table of text: column names, rows of cells, and which columns hold numbers."""

    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    numeric: tuple[bool, ...]

    def markdown(self) -> str:
        """Returns the table as Markdown; what would end a cell or start a tag is escaped."""
        rule = ["---:" if numeric else "---" for numeric in self.numeric]
        lines = [_line(self.columns), "| " + " | ".join(rule) + " |", *map(_line, self.rows)]
        return "\n".join(lines) + "\n"


def percent(value: float) -> str:
    """Returns a share as percent with two decimals."""
    return DASH if math.isnan(value) else f"{100 * value:.2f} %"


def count(value: float) -> str:
    """Returns a number of rows, with its fraction only where a mean has one."""
    return DASH if math.isnan(value) else f"{value:,.1f}".removesuffix(".0")


def whole(value: float) -> str:
    """Returns a number without its fraction."""
    return DASH if math.isnan(value) else f"{value:,.0f}"


def seconds(value: float) -> str:
    """Returns seconds with three figures."""
    if math.isnan(value):
        return DASH
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def share(value: float) -> str:
    """Returns a share of the rows as percent."""
    return DASH if math.isnan(value) else f"{100 * value:.0f} %"


def number(value: float) -> str:
    """Returns a number with three decimals."""
    return DASH if math.isnan(value) else f"{value:.3f}"


def times(value: float) -> str:
    """Returns a speed-up."""
    return DASH if math.isnan(value) else f"{value:.2f}x"


def between(low: float, high: float, show: Callable[[float], str]) -> str:
    """Returns an interval, or a dash where there is none."""
    return DASH if math.isnan(low) else f"{show(low).removesuffix(' %')} to {show(high)}"


def results_text(table: pd.DataFrame) -> TextTable:
    """Returns `tables.results` or `tables.headline` as text."""
    cells: dict[str, list[str]] = {
        "Group": list(table["group"]),
        "Trained on": list(table["trained_on"]),
        "Labels": [count(v) for v in table["labeled"]],
        "Training rows": [count(v) for v in table["train_rows"]],
        "Accuracy": [percent(v) for v in table["accuracy"]],
        "95 % interval": _intervals(table, percent),
        "Seeds": [str(v) for v in table["seeds"]],
        "Seconds": [seconds(v) for v in table["seconds"]],
    }
    if table["speed_up"].notna().any():
        cells["Speed-up"] = [times(v) for v in table["speed_up"]]
    if "area" in table:
        pairs = zip(table["area"], table["area_seeds"], table["seeds"], strict=True)
        cells["Area"] = [
            # fewer runs may cover the whole range than have the last point
            percent(a) + (f" ({n} seeds)" if n != seeds and not math.isnan(a) else "")
            for a, n, seeds in pairs
        ]
    return text_table(cells, words=("Group", "Trained on"))


def brief_text(table: pd.DataFrame) -> TextTable:
    """Returns `tables.headline` as text that fits a terminal."""
    everything = table["trained_on"] == "all rows"
    cells: dict[str, list[str]] = {
        "Group": list(table["group"]),
        "Rows": [
            f"all {count(n)}" if full else count(n)
            for n, full in zip(table["train_rows"], everything, strict=True)
        ],
        "Accuracy": [percent(v) for v in table["accuracy"]],
        "95 % interval": _intervals(table, percent),
        "Seeds": [str(v) for v in table["seeds"]],
    }
    if table["speed_up"].notna().any():
        cells["Speed-up"] = [times(v) for v in table["speed_up"]]
    return text_table(cells, words=("Group",))


def costs_text(table: pd.DataFrame) -> TextTable:
    """Returns `tables.costs` as text."""
    cells = {
        "Group": list(table["group"]),
        "Device": list(table["device"]),
        "Training rows": [count(v) for v in table["train_rows"]],
        "Selector, s": [seconds(v) for v in table["selector_seconds"]],
        "Observe and select, s": [seconds(v) for v in table["choose_seconds"]],
        "Target, s": [seconds(v) for v in table["target_seconds"]],
        "In all, s": [seconds(v) for v in table["seconds"]],
        "Speed-up": [times(v) for v in table["speed_up"]],
        "95 % interval": _intervals(table, times),
        "Break-even": [share(v) for v in table["break_even"]],
        "Seeds": [str(v) for v in table["seeds"]],
    }
    if (table["compile_seconds"] > 0).any():
        cells["Compiling, s"] = [seconds(v) for v in table["compile_seconds"]]
        cells["Speed-up with it"] = [times(v) for v in table["speed_up_compiled"]]
    return text_table(cells, words=("Group", "Device"))


def work_text(table: pd.DataFrame) -> TextTable:
    """Returns `work.work` as text; columns that nothing measured are left out."""
    cells = {
        "Group": list(table["group"]),
        "Device": list(table["device"]),
        "Part": list(table["part"]),
        "Training rows": [count(v) for v in table["train_rows"]],
        "Seconds": [seconds(v) for v in table["seconds"]],
        "Rows a second": [whole(v) for v in table["samples_per_second"]],
    }
    if table["peak_bytes"].notna().any():
        cells["Peak device memory, MB"] = [whole(v / 1e6) for v in table["peak_bytes"]]
    if table["multiply_adds"].notna().any():
        cells["Multiply-adds a row, M"] = [seconds(v / 1e6) for v in table["multiply_adds"]]
    if (table["compile_seconds"] > 0).any():
        cells["Compiling, s"] = [seconds(v) for v in table["compile_seconds"]]
    cells["Seeds"] = [str(v) for v in table["seeds"]]
    return text_table(cells, words=("Group", "Device", "Part"))


def concepts_text(table: pd.DataFrame) -> TextTable:
    """Returns `concepts.concepts` as text."""
    positives = zip(table["positives_low"], table["positives_high"], strict=True)
    cells = {
        "Group": list(table["group"]),
        "Concepts": [str(v) for v in table["concepts"]],
        "Labels": [count(v) for v in table["labeled"]],
        "Average precision": [percent(v) for v in table["average_precision"]],
        "95 % interval": _intervals(table, percent),
        "Positives found": [count(v) for v in table["positives_found"]],
        "95 % interval of that": [between(low, high, count) for low, high in positives],
        "Pool touched": [percent(v) for v in table["share_touched"]],
        "Seeds": [str(v) for v in table["seeds"]],
    }
    return text_table(cells, words=("Group",))


def fidelity_text(table: pd.DataFrame) -> TextTable:
    """Returns `work.fidelity` as text."""
    cells = {
        "Group": list(table["group"]),
        "Training rows": [count(v) for v in table["train_rows"]],
        "Picks in common": [percent(v) for v in table["overlap"]],
        "95 % interval": _intervals(table, percent),
        "By chance": [percent(v) for v in table["chance"]],
        "Spearman": [number(v) for v in table["spearman"]],
        "Kendall": [number(v) for v in table["kendall"]],
        "Selection speed-up": [times(v) for v in table["selection_speed_up"]],
        "Seeds": [str(v) for v in table["seeds"]],
    }
    return text_table(cells, words=("Group",))


def reached_text(table: pd.DataFrame) -> TextTable:
    """Returns `tables.reached` as text."""
    cells = {
        "Group": list(table["group"]),
        "Counted in": ["labels" if v == "labeled" else "training rows" for v in table["budget"]],
        "Needed": [count(v) for v in table["needed"]],
        "95 % interval": _intervals(table, count),
        "Device-seconds": [seconds(v) for v in table["seconds"]],
        "Device": [device or DASH for device in table["device"]],
        "Reached by": [
            f"{done} of {seeds} seeds"
            for done, seeds in zip(table["reached"], table["seeds"], strict=True)
        ],
    }
    return text_table(cells, words=("Group", "Counted in", "Device", "Reached by"))


def ranking_text(table: pd.DataFrame) -> TextTable:
    """Returns `ranking.ranking` as text."""
    gains = zip(table["gain_low"], table["gain_high"], strict=True)
    cells = {
        "Pipeline": [name.replace("_", " ") for name in table["pipeline"]],
        "Rank": [str(v) for v in table["rank"]],
        "Group": list(table["group"]),
        "Area": [percent(v) for v in table["area"]],
        "95 % interval": _intervals(table, percent),
        "Seeds": [str(v) for v in table["seeds"]],
        "Against random": [percent(v) for v in table["gain"]],
        "95 % interval of that": [between(low, high, percent) for low, high in gains],
    }
    return text_table(cells, words=("Pipeline", "Group"))


def runs_text(table: pd.DataFrame) -> TextTable:
    """Returns `tables.run_list` as text."""
    states = zip(table["state"], table["reason"], table["counted"], strict=True)
    cells = {
        "Run": list(table["run"]),
        "Group": list(table["group"]),
        "Seed": [str(v) for v in table["seed"]],
        "State": [_state(*state) for state in states],
        "Budget": [count(v) for v in table["budget"]],
        "Accuracy": [percent(v) for v in table["accuracy"]],
        "Area": [percent(v) for v in table["area"]],
        "Seconds": [seconds(v) for v in table["seconds"]],
        "Device": list(table["device"]),
        "Versions": list(table["versions"]),
        "Revision": list(table["revision"]),
        "Started": list(table["started"]),
        "Finished": list(table["finished"]),
    }
    numbers = ("Seed", "Budget", "Accuracy", "Area", "Seconds")
    return text_table(cells, words=tuple(name for name in cells if name not in numbers))


def _state(state: str, reason: str, counted: bool) -> str:
    text = f"{state}: {reason}" if reason else state
    return text if counted else f"{text} (not counted: this seed has another run)"


def _intervals(table: pd.DataFrame, show: Callable[[float], str]) -> list[str]:
    return [between(a, b, show) for a, b in zip(table["low"], table["high"], strict=True)]


def text_table(cells: dict[str, list[str]], words: Sequence[str]) -> TextTable:
    """Returns columns of text as a table; all of them but ``words`` hold numbers."""
    rows = tuple(zip(*cells.values(), strict=True))
    return TextTable(tuple(cells), rows, tuple(name not in words for name in cells))


def _line(cells: Sequence[str]) -> str:
    clean = (" ".join(cell.replace("|", "\\|").replace("<", "&lt;").split()) for cell in cells)
    return "| " + " | ".join(clean) + " |"
