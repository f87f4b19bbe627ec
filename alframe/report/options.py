"""What the reader of a report may choose."""

from __future__ import annotations

from dataclasses import dataclass

from alframe.report.statistics import Kind


@dataclass(frozen=True)
class Options:
    """The choices of one report.

    Attributes:
        target: A test accuracy whose price is tabulated, or None.
        interval: How intervals over seeds are made, see `mean_interval`.
        log_budget: Whether the budget counts by its logarithm: on the axis of the curves, and in
            the area under them.
    """

    target: float | None = None
    interval: Kind = "bootstrap"
    log_budget: bool = False
