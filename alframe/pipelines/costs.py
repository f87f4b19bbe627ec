"""The columns of ``metrics.csv`` that say what fits and choices took."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from alframe.protocols import Fitted

NO_COSTS: Mapping[str, Any] = {"seconds_observe": 0.0, "seconds_select": 0.0}
"""Of a fit for which nothing was chosen."""


def rate(samples: float, seconds: float) -> float | None:
    """Returns samples per second; None where there was nothing, or no time to measure."""
    return samples / seconds if samples and seconds else None


def choice_costs(query: Mapping[str, Any], look_up: float = 0.0) -> dict[str, Any]:
    """Returns the columns of ``metrics.csv`` that say what a choice took.

    Args:
        query: What `Stages.choose` returned; of version 0.1.0 it holds the seconds alone.
        look_up: Seconds of `Stages.look_up` after it.
    """
    costs: dict[str, Any] = {}
    for part, counted, more in (("observe", "observed", look_up), ("select", "candidates", 0.0)):
        seconds = query.get(f"seconds_{part}", 0.0) + more
        costs[f"seconds_{part}"] = seconds
        costs[f"samples_per_second_{part}"] = rate(query.get(counted, 0), seconds)
        costs[f"peak_bytes_{part}"] = query.get(f"peak_bytes_{part}")
    return costs


def fit_costs(fitted: Fitted) -> dict[str, Any]:
    """Returns the columns of ``metrics.csv`` that say what a fit took, as far as it knows."""
    costs = getattr(fitted, "costs", {})
    return {
        "seconds_fit": fitted.seconds,
        "seconds_compile": costs.get("compile_seconds"),
        "samples_per_second_fit": rate(costs.get("samples", 0), fitted.seconds),
        "peak_bytes_fit": costs.get("peak_bytes"),
        "multiply_adds": costs.get("multiply_adds"),
    }
