"""Picks of several groups of rows, merged into one order."""

from __future__ import annotations

import numpy as np

from alframe.pool import Pool
from alframe.protocols import Array, Rows


def groups_of(candidates: Rows, pool: Pool, by_label: bool) -> list[Rows]:
    """Returns the candidates of each label, or all together; ascending."""
    if not by_label:
        return [candidates]
    labels = pool.labels(candidates)
    return [candidates[labels == label] for label in np.unique(labels)]


def in_turns(rows: list[Rows], turns: list[Array]) -> Rows:
    """Merges lists of rows by their turns; where turns are equal the first list goes first."""
    order = np.argsort(np.concatenate(turns), kind="stable")
    merged: Rows = np.concatenate(rows)[order]
    return merged
