"""The indexes that a config can name."""

from __future__ import annotations

from typing import Unpack

from alframe.neighbors.approximate import FaissIndex
from alframe.neighbors.auto import AutoIndex
from alframe.neighbors.settings import Options, Settings


def faiss(*, factory: str, **options: Unpack[Options]) -> FaissIndex:
    """Returns an index of FAISS.

    Args:
        factory: FAISS's factory string, such as ``IVF4096,Flat``; see
            `alframe.neighbors.factory.filled`.
        options: See `alframe.neighbors.settings.Settings`.
    """
    return FaissIndex(factory, Settings(**options))


def auto(*, exact_rows: int = 200_000, **options: Unpack[Options]) -> AutoIndex:
    """Returns an index whose kind is chosen when it is built; see `AutoIndex`."""
    return AutoIndex(exact_rows, Settings(**options))
