"""An index of FAISS, of any kind that a factory string names."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from alframe.errors import UserError
from alframe.files import decode_state, encode_state, write_atomic
from alframe.neighbors import faiss
from alframe.neighbors.audit import Audit
from alframe.neighbors.decide import decide
from alframe.neighbors.factory import filled
from alframe.neighbors.index import check_k, checked_queries, without
from alframe.neighbors.memory import check_file, check_rows
from alframe.neighbors.saving import clear, read_meta, write_meta
from alframe.neighbors.scan import Scan, chunk_rows, float_chunks, scan, unit_rows
from alframe.neighbors.settings import Settings
from alframe.neighbors.source import EmbeddingSource
from alframe.neighbors.training import sample_of
from alframe.neighbors.widening import found_by
from alframe.options import check_whole
from alframe.protocols import Array, Rows

log = logging.getLogger(__name__)
INDEX, LISTS, STATE = "index.faiss", "lists.ivfdata", "state.npz"
EFFORT_KEYS = {"nprobe": "index.nprobe", "efSearch": "index.ef_search"}
_PAIRS = 2**24  # kept at a time, of queries and the rows found for each


class FaissIndex:
    """An index of FAISS.

    Cosine is the inner product of embeddings scaled to length 1. Without ``settings.refine``,
    distances and similarities are those of FAISS, in float32 and of the compressed rows where they
    are compressed, and the order of ties is not defined.

    Args:
        factory: FAISS's factory string, such as ``IVF4096,Flat``; numbers may be left to the rows
            and the width, see `alframe.neighbors.factory.filled`.
        settings: How it is built and searched.

    Raises:
        UserError: For hashes without refinement.

    **Source:** M. Douze et al., *The Faiss library*, 2024, arXiv:2401.08281.
    """

    kind = "faiss"

    def __init__(self, factory: str, settings: Settings) -> None:
        self.metric, self._factory, self._settings = settings.metric, factory, settings
        self._source: EmbeddingSource | None = None
        self._index: Any = None
        if "LSH" in factory:  # whose distances are between codes, and none of the metric
            check_whole("index.refine", settings.refine, at_least=1)

    def empty_like(self) -> FaissIndex:
        """Returns an index with the same settings, to be built or loaded."""
        return FaissIndex(self._factory, self._settings)

    def build(self, source: EmbeddingSource) -> None:
        """See `NeighborIndex.build`; reads the source twice, and some rows for training."""
        self._begin(source)
        self.check_memory(
            self._indexed,
            "set index=ivf_pq, or build the index in parts, its lists on disk (alframe-index)",
        )
        self._train()
        self.add(range(source.num_rows))
        self.ready()

    def train(self, source: EmbeddingSource) -> None:
        """Makes an index without rows, trained on some of a source, however large it will be."""
        self._begin(source)
        self._train()

    def _begin(self, source: EmbeddingSource) -> None:
        self._bind(source, scan(source, self.metric, self._settings.drop_invalid))
        self._index = faiss.made(source.width, self.factory, self.metric)

    def _train(self) -> None:
        source, index = self._built(), self._index
        if not index.is_trained:
            faiss.seed_training(index, self._settings.seed)
            sample = self._rows(sample_of(index, self.factory, self._indexed, self._settings))
            with faiss.said(
                f"train {self.factory} on {len(sample)} rows",
                "raise index.train_rows, or ask for fewer lists or codes in index.factory",
            ):
                index.train(self._vectors(torch.from_numpy(source.take(sample))))

    def bytes_for(self, source: EmbeddingSource) -> int:
        """Returns what the index of a source takes, in memory or on disk; nothing is built."""
        factory = filled(self._factory, source.num_rows, source.width)
        return faiss.bytes_of(faiss.made(source.width, factory, self.metric), source.num_rows)

    def check_memory(self, rows: int, remedy: str) -> None:
        """Raises `UserError` where so many rows take more memory than there may be.

        Args:
            rows: That are to be held at a time.
            remedy: What to do, in words.
        """
        what = f"index.factory={self.factory}, {rows} rows"
        needed = rows * faiss.bytes_per_row(self._index)
        check_rows(what, needed, self._settings.memory_gib, remedy)

    def add(self, span: range) -> None:
        """Adds the valid rows of a range of the source, in chunks."""
        source, invalid = self._built(), self._scan.invalid
        has_numbers = faiss.lists_of(self._index) is not None
        for start, chunk in float_chunks(source, chunk_rows(source.width), span):
            rows = np.arange(start, start + len(chunk))
            good = ~np.isin(rows, invalid, assume_unique=True)
            if not good.any():
                continue
            vectors = self._vectors(chunk if good.all() else chunk[torch.from_numpy(good)])
            places = rows[good] - np.searchsorted(invalid, rows[good])
            with faiss.said(f"add {len(places)} rows to {self.factory}", "choose another kind"):
                if has_numbers:
                    self._index.add_with_ids(vectors, places)
                else:
                    self._index.add(vectors)

    def ready(self) -> None:
        """Sets how hard a search looks, and moves the index to GPUs where that is possible."""
        if self._index.ntotal != self._indexed:
            raise UserError(
                f"expected an index of all {self._indexed} rows, got {self._index.ntotal}; merge "
                "all of its parts, or build it again"
            )
        for name, value in self._settings.effort.items():
            faiss.set_effort(self._index, name, value)
        self._on_gpu = faiss.on_gpu(self._index) if self._settings.gpu else None
        if self._on_gpu is not None:
            log.info("index %s is searched on GPUs", self.factory)

    def search(self, queries: Array, k: int, exclude: Rows | None = None) -> tuple[Array, Rows]:
        """See `NeighborIndex.search`."""
        values, exclude = checked_queries(queries, self._built().width, self.metric, exclude)
        check_k(k, self._indexed, exclude)
        wanted = k + (exclude is not None)
        count = min(self._indexed, wanted * max(1, self._settings.refine))
        step = max(1, _PAIRS // count)
        found = [
            self._found(values[start : start + step], wanted, count)
            for start in range(0, len(values), step)
        ]
        if not found:
            return np.empty((0, k), np.float32), np.empty((0, k), np.int64)
        best, rows = (np.concatenate(part) for part in zip(*found, strict=True))
        return without(rows, best, exclude, k)

    def save(self, folder: Path, about: Mapping[str, Any] | None = None) -> None:
        """See `NeighborIndex.save`.

        Args:
            folder: Where to.
            about: More entries of its description: which part it is.

        Raises:
            OSError: Where there is no room for it.
        """
        clear(folder, [INDEX, LISTS], faiss.bytes_of(self._index, self._index.ntotal))
        faiss.write(self._index, folder / INDEX)
        self.save_state(folder, [INDEX], about)

    def save_state(
        self, folder: Path, files: list[str], about: Mapping[str, Any] | None = None
    ) -> None:
        """Writes what is beside the index of FAISS, whose files are there; see `save`."""
        state = {"invalid": self._scan.invalid, "mean": self._scan.mean.numpy()}
        write_atomic(folder / STATE, encode_state({**state, "largest": self._scan.largest}))
        write_meta(folder, {**self.describe(), **(about or {})}, [*files, STATE])

    def load(self, folder: Path, source: EmbeddingSource) -> None:
        """See `NeighborIndex.load`; it stays in its files, which are mapped.

        Raises:
            UserError: Also for an index that takes more memory than ``settings.memory_gib``; where
                that is None, one that takes more than what is free is warned of.
        """
        on_disk = LISTS in self.check_part(folder, source)["sha256"]
        path = folder / INDEX
        fits = check_file(path, self._settings.memory_gib)
        self._index = faiss.read(path) if on_disk else faiss.mapped(path, cached=fits)
        self.ready()

    def load_part(
        self, folder: Path, source: EmbeddingSource, about: Mapping[str, Any] | None = None
    ) -> dict[str, Any]:
        """Reads an index that need not hold all rows yet; see `check_part`."""
        meta = self.check_part(folder, source, about)
        self._index = faiss.read(folder / INDEX)
        return meta

    def check_part(
        self, folder: Path, source: EmbeddingSource, about: Mapping[str, Any] | None = None
    ) -> dict[str, Any]:
        """Returns the description of a saved index, or part of one, after a look at its files.

        Args:
            folder: Where it was saved.
            source: What it must be of.
            about: What else its description must say, see `save`.
        """
        wanted = {"kind": self.kind, "metric": self.metric, **(about or {})}
        meta = read_meta(folder, source, wanted)
        state = decode_state(folder / STATE)
        mean = torch.from_numpy(state["mean"])
        self._bind(source, Scan(state["invalid"], mean, float(state["largest"])))
        if meta["factory"] != self.factory:
            raise UserError(
                f"{folder}: expected index.factory={self.factory}, got {meta['factory']}; set "
                "index.factory to it, or build the index again"
            )
        return meta

    def describe(self) -> Mapping[str, Any]:
        """See `NeighborIndex.describe`."""
        source = self._built()
        return {
            "kind": self.kind,
            "factory": self.factory,
            "metric": self.metric,
            "width": source.width,
            "rows": source.num_rows,
            "indexed": self._indexed,
            "source_key": source.key,
            "refine": self._settings.refine,
            "seed": self._settings.seed,
            "faiss": faiss.library().__version__,
            **self._settings.effort,
        }

    @property
    def audit(self) -> Audit:
        """How the index is to be measured."""
        return replace(self._settings.audit, remedies=self._remedies())

    @property
    def inner(self) -> Any:
        """The index of FAISS itself."""
        return self._index

    def _remedies(self) -> tuple[str, ...]:
        """Returns the config keys that make a search find more, if they are raised."""
        if self._index is None:
            return ()
        effort = faiss.effort_of(self._index)
        keys = () if effort is None else (EFFORT_KEYS[effort.name],)
        return (*keys, "index.refine") if faiss.compresses(self._index) else keys

    def _built(self) -> EmbeddingSource:
        if self._source is None:
            raise RuntimeError("the index was neither built nor loaded")
        return self._source

    def _bind(self, source: EmbeddingSource, seen: Scan) -> None:
        self._source, self._scan = source, seen
        self._indexed = source.num_rows - len(seen.invalid)
        self.factory = filled(self._factory, self._indexed, source.width)

    def _rows(self, places: Rows) -> Rows:
        """Returns the rows of FAISS's numbers, which leave invalid rows out; -1 stays."""
        if not len(self._scan.invalid):
            return places
        # Of the row at place p, the invalid rows before it are those with at most p valid before.
        before = self._scan.invalid - np.arange(len(self._scan.invalid))
        return np.where(places < 0, places, places + np.searchsorted(before, places, "right"))

    def _vectors(self, chunk: torch.Tensor) -> Array:
        vectors = unit_rows(chunk) if self.metric == "cosine" else chunk
        return np.ascontiguousarray(vectors.numpy(), dtype=np.float32)

    def _found(self, queries: Array, wanted: int, count: int) -> tuple[Array, Rows]:
        vectors = self._vectors(torch.from_numpy(queries))
        values, places = found_by(self._index, self._on_gpu, vectors, wanted, count)
        rows = self._rows(places)
        if not self._settings.refine:
            if self.metric == "euclidean":
                values = np.sqrt(np.maximum(values, 0))
            return values, rows
        source = self._built()

        def fetch(asked: torch.Tensor) -> torch.Tensor:
            return torch.from_numpy(source.take(asked.numpy()))

        best, decided, _ = decide(
            torch.from_numpy(queries), torch.from_numpy(rows), fetch, self.metric, wanted
        )
        return best.float().numpy(), decided.numpy()
