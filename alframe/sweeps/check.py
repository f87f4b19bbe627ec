"""Composes cells before any of them is started."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from hydra.types import HydraContext
from omegaconf import DictConfig, OmegaConf

from alframe.errors import UserError
from alframe.sweeps.cells import Cell

PLAIN = ("seed",)
"""Keys of which any whole number composes."""


def check(context: HydraContext, config: DictConfig, cells: Sequence[Cell]) -> None:
    """Composes each value of a sweep once.

    Args:
        context: Composes.
        config: What all cells have in common.
        cells: Some, at least one.

    Raises:
        HydraException: For a value that cannot be composed.
    """
    seen: set[str] = set()
    for cell in cells:
        if not seen.issuperset(cell.overrides):
            seen.update(cell.overrides)
            _composed(context, config, cell)
            seen.update(w for c in cells for w in c.overrides if w.partition("=")[0] in PLAIN)


def histories(context: HydraContext, config: DictConfig, cells: Sequence[Cell]) -> list[str]:
    """Returns the histories that any strategy of some cells needs, for all fits to record."""
    from alframe.cli.build import build  # imports torch

    by_choice = {
        tuple(w for w in cell.overrides if w.startswith(("strategy", "experiment"))): cell
        for cell in cells
    }
    found: set[str] = set()
    for cell in by_choice.values():
        plain: Any = OmegaConf.to_container(_composed(context, config, cell).strategy, resolve=True)
        try:
            needs = build({"strategy": plain}, "strategy").needs
        except UserError:  # the cell will tell
            continue
        found |= {name for need in needs for name in need.fields}
    return sorted(found)


def _composed(context: HydraContext, config: DictConfig, cell: Cell) -> DictConfig:
    return context.config_loader.load_sweep_config(config, list(cell.overrides))
