"""``alframe-report RUNS... [--out DIR] [--target-accuracy A] [--interval t] [--log-budget]``."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from alframe.errors import UserError

if TYPE_CHECKING:
    from alframe.report.build import Report
    from alframe.report.words import TextTable


def main(argv: Sequence[str] | None = None) -> int:
    """Reads runs, writes the report, prints the results; returns the exit code.

    Args:
        argv: Arguments without the program's name; None takes those of the process.

    Returns:
        0, or 2 after a mistake of the user, with one sentence on stderr and nothing written.
    """
    arguments = _parser().parse_args(argv)
    try:
        report = _make(arguments)
        _write(report, arguments.out)
    except UserError as error:
        sys.stderr.write(f"alframe-report: {error}\n")
        return 2
    _show(report, arguments.out / "index.html")
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="alframe-report",
        description="Curves with intervals, costs and speed-ups of finished and running runs.",
    )
    parser.add_argument(
        "runs", nargs="+", type=Path, metavar="RUNS", help="run directories, or folders of them"
    )
    parser.add_argument(
        "--out", type=Path, default=Path("report"), help="where to write (default: %(default)s)"
    )
    parser.add_argument(
        "--target-accuracy",
        type=float,
        metavar="A",
        help="also tabulate labels and seconds to first reach this test accuracy, such as 0.9",
    )
    parser.add_argument(
        "--interval",
        choices=["bootstrap", "t"],
        default="bootstrap",
        help="95 %% intervals over seeds: bootstrap percentiles, too narrow with few seeds, or "
        "Student t (default: %(default)s)",
    )
    parser.add_argument(
        "--log-budget",
        action="store_true",
        help="count the budget by its logarithm: in the area under the curve, and in figures",
    )
    return parser


def _make(arguments: argparse.Namespace) -> Report:
    # imported late, so that --help is quick and a mistaken path is told at once
    from alframe.report.runs import find, load
    from alframe.report.statistics import check_target

    if arguments.target_accuracy is not None:
        check_target(arguments.target_accuracy)
    runs = [load(path) for path in find(arguments.runs)]
    from alframe.report.build import build
    from alframe.report.options import Options

    return build(runs, Options(arguments.target_accuracy, arguments.interval, arguments.log_budget))


def _write(report: Report, out: Path) -> None:
    try:
        out.mkdir(parents=True, exist_ok=True)
        for name, content in report.files.items():
            (out / name).write_bytes(content)
    except OSError as error:
        raise UserError(
            f"expected --out to be a folder that can be written, got {out}: {error.strerror}"
        ) from error


def _show(report: Report, index: Path) -> None:
    from rich.console import Console

    console = Console()
    for note in report.notes:
        console.print(note, markup=False, highlight=False, style="yellow")
    console.print(_rich(report.headline))
    console.print(str(index), markup=False, highlight=False, soft_wrap=True)


def _rich(table: TextTable) -> object:
    from rich import box
    from rich.table import Table
    from rich.text import Text

    shown = Table(box=box.SIMPLE_HEAD, title="Test accuracy", title_justify="left")
    for name, numeric in zip(table.columns, table.numeric, strict=True):
        side: Literal["left", "right"] = "right" if numeric else "left"
        shown.add_column(Text(name), justify=side, no_wrap=numeric, overflow="fold")
    for row in table.rows:
        shown.add_row(*(Text(cell) for cell in row))
    return shown
