"""Which rows an index of FAISS is trained on, and whether memory has room for them."""

from __future__ import annotations

from typing import Any

import numpy as np

from alframe.neighbors import faiss
from alframe.neighbors.factory import ROWS_PER_LIST
from alframe.neighbors.memory import check_rows
from alframe.neighbors.settings import Settings
from alframe.protocols import Rows

_LEAST = 2**16


def sample_of(index: Any, factory: str, rows: int, settings: Settings) -> Rows:
    """Draws rows to train on, by ``settings.seed``.

    Args:
        index: Of FAISS, not trained.
        factory: Its factory string, for errors.
        rows: How many there are.
        settings: With ``train_rows`` and ``memory_gib``.

    Returns:
        Numbers below ``rows``, ascending [m].

    Raises:
        UserError: Where they take more memory than there may be.
    """
    lists = faiss.lists_of(index)
    usual = _LEAST if lists is None else max(_LEAST, ROWS_PER_LIST * lists.nlist)
    count = min(rows, settings.train_rows or usual)
    what = f"index.factory={factory}, {count} rows to train on"
    copies = 1 + (settings.metric == "cosine" or hasattr(index, "chain"))  # scaled or turned first
    needed, remedy = 4 * copies * count * int(index.d), "lower index.train_rows (not of index=auto)"
    check_rows(what, needed, settings.memory_gib, remedy)
    drawn: Rows = np.sort(np.random.default_rng(settings.seed).choice(rows, count, replace=False))
    return drawn
