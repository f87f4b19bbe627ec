"""Which kind of index fits so many rows of such a width into the memory that there is."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from alframe.limits import available_bytes
from alframe.neighbors.approximate import FaissIndex
from alframe.neighbors.audit import Audit
from alframe.neighbors.exact import ExactIndex
from alframe.neighbors.index import NeighborIndex
from alframe.neighbors.saving import META
from alframe.neighbors.settings import Settings
from alframe.neighbors.source import EmbeddingSource
from alframe.options import check_whole
from alframe.protocols import Array, Rows

log = logging.getLogger(__name__)
IVF_FLAT, IVF_PQ = "IVF{lists},Flat", "OPQ{codes}_{coded},IVF{lists},PQ{codes}"
_SHARE = 0.5  # of the memory, which others need too
_REFINE = 10  # times k rows that are decided among by the source, for compressed rows


class AutoIndex:
    """An index whose kind is chosen by rows, width and memory when it is built, and logged.

    Exact where a scan is short; else inverted lists of the embeddings themselves where they take at
    most half of the memory; else of compressed ones, refined from the source.

    Args:
        exact_rows: Up to so many rows, search is exact.
        settings: Of FAISS, if it is chosen. ``memory_gib`` is the memory that there is, null = what
            is free.
    """

    def __init__(self, exact_rows: int, settings: Settings) -> None:
        check_whole("index.exact_rows", exact_rows, at_least=0)
        self.metric = settings.metric
        self._exact_rows, self._settings = exact_rows, settings
        self._chosen: NeighborIndex | None = None

    def choose(self, rows: int, width: int) -> tuple[str, str]:
        """Returns ``exact`` or a factory string for so many rows, and why, in words."""
        limit = self._settings.memory_gib
        free = available_bytes() if limit is None else limit * 2**30
        needed = rows * (4 * width + 8)
        beside = f"{needed / 2**30:.2f} GiB for the embeddings, {free / 2**30:.2f} GiB of memory"
        if rows <= self._exact_rows:
            return "exact", f"{rows} rows are at most index.exact_rows={self._exact_rows}"
        if needed <= _SHARE * free:
            return IVF_FLAT, f"{rows} rows are many, and {beside}: half of it holds them"
        return IVF_PQ, f"{rows} rows are many, and {beside}: half of it does not hold them"

    def build(self, source: EmbeddingSource) -> None:
        """See `NeighborIndex.build`."""
        kind, why = self.choose(source.num_rows, source.width)
        log.info("index=auto is %s: %s", kind, why)
        chosen = self._made(kind)
        chosen.build(source)
        self._chosen = chosen

    def bytes_for(self, source: EmbeddingSource) -> int:
        """Returns what the index of a source takes, in memory or on disk; nothing is built."""
        chosen = self._made(self.choose(source.num_rows, source.width)[0])
        return chosen.bytes_for(source) if isinstance(chosen, FaissIndex) else 0

    def search(self, queries: Array, k: int, exclude: Rows | None = None) -> tuple[Array, Rows]:
        """See `NeighborIndex.search`."""
        return self.chosen.search(queries, k, exclude)

    def save(self, folder: Path) -> None:
        """See `NeighborIndex.save`: as an index of the chosen kind."""
        self.chosen.save(folder)

    def load(self, folder: Path, source: EmbeddingSource) -> None:
        """See `NeighborIndex.load`: of whichever of its kinds was chosen where it was built."""
        chosen = self._made(_saved(folder))
        chosen.load(folder, source)
        self._chosen = chosen

    def describe(self) -> Mapping[str, Any]:
        """See `NeighborIndex.describe`: of the chosen kind."""
        return self.chosen.describe()

    @property
    def audit(self) -> Audit:
        """How the index is to be measured."""
        chosen = self._chosen
        return chosen.audit if isinstance(chosen, FaissIndex) else self._settings.audit

    @property
    def chosen(self) -> NeighborIndex:
        """The index of the chosen kind."""
        if self._chosen is None:
            raise RuntimeError("the index was neither built nor loaded")
        return self._chosen

    def _made(self, kind: str) -> NeighborIndex:
        settings = self._settings
        if kind == "exact":
            device = None if settings.gpu else "cpu"
            return ExactIndex(self.metric, settings.drop_invalid, device)
        if kind == IVF_PQ and not settings.refine:
            settings = replace(settings, refine=_REFINE)
        return FaissIndex(kind, settings)


def _saved(folder: Path) -> str:
    """Returns the kind of a saved index; what is no index of a kind here fails to load as exact."""
    try:
        meta = json.loads((folder / META).read_text())
        if meta["kind"] == "exact":
            return "exact"
        return IVF_PQ if "PQ" in meta["factory"] else IVF_FLAT
    except (OSError, ValueError, KeyError, TypeError):
        return "exact"
