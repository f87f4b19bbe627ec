"""What a person reads in the terminal: log lines, and the table at the end of a run."""

from __future__ import annotations

import logging
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from alframe.record import headline

if TYPE_CHECKING:
    from alframe.pipelines.stages import Outcome


def set_up_logging(quiet: bool = False) -> None:
    """Logs to stderr: with colour on a terminal, in plain lines elsewhere.

    Args:
        quiet: Whether only errors are told, since another process says the rest.
    """
    handler: logging.Handler
    if sys.stderr.isatty():
        from rich.console import Console
        from rich.logging import RichHandler

        handler = RichHandler(console=Console(stderr=True), show_path=False, markup=False)
        handler.setFormatter(logging.Formatter("%(message)s", datefmt="%H:%M:%S"))
    else:
        handler = logging.StreamHandler(sys.stderr)
        handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s", "%H:%M:%S"))
    logger = logging.getLogger("alframe")
    logger.handlers = [handler]
    logger.setLevel(logging.ERROR if quiet else logging.INFO)
    logger.propagate = False
    for noisy in ("pytorch_lightning", "lightning_fabric", "lightning.pytorch", "lightning"):
        logging.getLogger(noisy).setLevel(logging.ERROR)


def print_outcome(rows: Sequence[dict[str, Any]], outcome: Outcome, path: Path) -> None:
    """Prints the curve, the costs and the run directory."""
    from rich.console import Console
    from rich.table import Table

    console = Console()
    table = Table(title=f"{path.name}: {outcome.reason}")
    shown = [
        {
            "labeled": str(row["labeled"]),
            "trained on": str(row["train_rows"]),
            "model": row["model"],
            **headline(row),
            "fit s": f"{row['seconds_fit']:.1f}",
        }
        for row in rows
        if row["split"] == "test"
    ]
    for heading in shown[0] if shown else ("labeled", "trained on", "model"):
        table.add_column(heading, justify="left" if heading == "model" else "right")
    for row in shown:
        table.add_row(*row.values())
    console.print(table)
    costs = "  ".join(f"{name} {value:.2f}" for name, value in outcome.timings.items())
    console.print(
        f"costs (seconds; speed-ups are ratios): {costs}", soft_wrap=True, highlight=False
    )
    console.print(f"run directory: {path}", soft_wrap=True, highlight=False)
