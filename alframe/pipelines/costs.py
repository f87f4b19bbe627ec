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


def choice_costs(query: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the columns of ``metrics.csv`` that say what a choice took.

    Args:
        query: What `Stages.choose` returned; of version 0.1.0 it holds the seconds alone.
    """
    costs: dict[str, Any] = {"seconds_look_up": query.get("seconds_look_up")}
    for part, counted in (("observe", "observed"), ("select", "candidates")):
        seconds = query.get(f"seconds_{part}", 0.0)
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
