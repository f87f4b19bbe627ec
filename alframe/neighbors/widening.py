"""Searching again where FAISS found too few rows, which it tells by a row of -1 only."""

from __future__ import annotations

import logging
from typing import Any

import numpy as np

from alframe.errors import UserError
from alframe.neighbors import faiss
from alframe.neighbors.index import TooFewFoundError
from alframe.protocols import Array, Rows

log = logging.getLogger(__name__)


def found_by(
    index: Any, on_gpu: Any | None, queries: Array, wanted: int, count: int
) -> tuple[Array, Rows]:
    """Searches an index of FAISS, harder where it finds too few.

    Args:
        index: Of FAISS, on the CPU.
        on_gpu: A copy of it, which is asked first, or None.
        queries: [m, d], float32.
        wanted: Rows that each query must find.
        count: Rows to look for, at least as many.

    Returns:
        FAISS's values and positions [m, count], -1 after the found ones.

    Raises:
        TooFewFoundError: If ``wanted`` rows cannot be found.
    """
    if on_gpu is not None:
        found = _on_gpu(on_gpu, queries, wanted, count)
        if found is not None:
            return found
    values, places = faiss.search(index, queries, count)
    effort = faiss.effort_of(index)
    short = _short(places, wanted)
    while len(short) and effort is not None and effort.value < effort.most:
        effort = effort.doubled()
        with faiss.trying(index, effort):
            values[short], places[short] = faiss.search(index, queries[short], count)
        log.info("%d queries searched again with %s=%d", len(short), effort.name, effort.value)
        short = _short(places, wanted)
    if len(short):
        least = int((places[short] >= 0).sum(axis=1).min())
        raise TooFewFoundError(
            f"expected {wanted} rows for each query, got {least} for query {short[0]} and too few "
            f"for {len(short)} of {len(queries)}; lower candidates.k, or set index=exact or "
            "index=ivf_flat"
        )
    return values, places


def _on_gpu(index: Any, queries: Array, wanted: int, count: int) -> tuple[Array, Rows] | None:
    """Returns what a GPU finds, or None if that is too little or more than it can look for."""
    try:
        values, places = faiss.search(index, queries, count)
    except UserError as error:
        log.info("%s; the CPU searches instead", error)
        return None
    return None if len(_short(places, wanted)) else (values, places)


def _short(places: Rows, wanted: int) -> Rows:
    return np.flatnonzero((places >= 0).sum(axis=1) < wanted)
