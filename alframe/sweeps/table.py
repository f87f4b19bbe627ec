"""What became of a sweep's cells, for a person."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

from alframe.sweeps.cells import Cell, varied
from alframe.sweeps.folder import STATES, Look, SweepFolder

MOST_ROWS = 40
"""Of a sweep with more cells only those are listed that are not done."""
COLORS = {"done": "green", "running": "cyan", "failed": "red", "killed": "red"}


def show(folder: SweepFolder, cells: Sequence[Cell], looks: Mapping[str, Look]) -> None:
    """Prints a table of the cells, and their number by state."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    console = Console()
    differing = varied(cells)
    listed = [c for c in cells if len(cells) <= MOST_ROWS or looks[c.name].state != "done"]
    table = Table(title=f"sweep {folder.path.name}")
    table.add_column("cell", overflow="fold")
    table.add_column("state")
    with_words = [cell.name for cell in listed if _words(looks[cell.name])]
    if with_words:
        table.add_column("", overflow="fold")
    for cell in listed:
        look = looks[cell.name]
        row = [Text(" ".join(differing[cell.name]) or cell.name)]
        row.append(Text(look.state, style=COLORS.get(look.state, "")))
        table.add_row(*row, *([Text(_words(look))] if with_words else []))
    if listed:
        console.print(table)
    counts = Counter(look.state for look in looks.values())
    told = ", ".join(f"{counts[state]} {state}" for state in STATES if counts[state])
    console.print(f"{len(cells)} cells: {told}", highlight=False)
    console.print(f"sweep: {folder.path}", soft_wrap=True, highlight=False)


def _words(look: Look) -> str:
    job = f"job {look.job}" if look.job else ""
    return ": ".join(part for part in (job, *look.error.strip().splitlines()[-1:]) if part)
