"""Exact nearest rows, in chunks, on the CPU or a GPU."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from alframe.errors import UserError
from alframe.files import decode_state, encode_state, write_atomic
from alframe.functional.similarity import exact_products
from alframe.functional.threads import each_in_its_thread
from alframe.neighbors.index import (
    check_k,
    check_metric_option,
    checked_queries,
    without,
)
from alframe.neighbors.levels import Levels
from alframe.neighbors.running import Running
from alframe.neighbors.saving import read_meta, write_meta
from alframe.neighbors.scan import Scan, chunk_rows, float_chunks, scan
from alframe.neighbors.source import EmbeddingSource
from alframe.options import check_range
from alframe.protocols import Array, Rows

STATE = "state.npz"
_TILE_CPU, _TILE_GPU = (512, 2048), (2048, 2**16)  # queries and rows of one product
_PAIRS = 2**26  # kept at a time, of queries and the best rows of each


class ExactIndex:
    """The nearest rows as float64 decides: ties go to the lowest row.

    One float32 matrix product of all pairs leaves the few rows that rounding cannot rule out, and
    float64 decides among them, by direct differences. So large offsets, duplicates and extreme
    values change no neighbor. Memory: ``keep_gib`` for rows that are kept between searches, some
    chunks of 64 MB, and O(m k); never queries times rows.

    Args:
        metric: euclidean, cosine or dot.
        drop_invalid: Leave out rows that are NaN, infinite or (under cosine) zero, rather than
            refuse them.
        device: Where products are computed, such as cpu or cuda; null = a GPU if there is one.
        keep_gib: Rows are kept in memory as float32 if they take at most so many GiB, else read
            from the source in every search.

    Raises:
        UserError: For another metric, or no such device.
    """

    kind = "exact"

    def __init__(
        self,
        metric: str = "euclidean",
        drop_invalid: bool = False,
        device: str | None = None,
        keep_gib: float = 2.0,
    ) -> None:
        check_metric_option(metric)
        check_range("index.keep_gib", keep_gib, 0, 2**20)
        self.metric, self._drop, self._keep_gib = metric, drop_invalid, keep_gib
        self._device = _device(device)
        self._source: EmbeddingSource | None = None
        self._kept: list[tuple[Tensor, Tensor, int]] | None = None

    def build(self, source: EmbeddingSource) -> None:
        """See `NeighborIndex.build`; reads the source once."""
        self._set(source, scan(source, self.metric, self._drop))

    def search(self, queries: Array, k: int, exclude: Rows | None = None) -> tuple[Array, Rows]:
        """See `NeighborIndex.search`."""
        source = self._built()
        values, exclude = checked_queries(queries, source.width, self.metric, exclude)
        check_k(k, source.num_rows - len(self._scan.invalid), exclude)
        wanted = k + (exclude is not None)
        step = max(1, _PAIRS // wanted)
        found = [
            self._search(torch.from_numpy(values[start : start + step]), wanted)
            for start in range(0, len(values), step)
        ]
        if not found:
            return np.empty((0, k), np.float32), np.empty((0, k), np.int64)
        best, rows = (np.concatenate(part) for part in zip(*found, strict=True))
        return without(rows, best, exclude, k)

    def save(self, folder: Path) -> None:
        """See `NeighborIndex.save`: what the pass over the source found."""
        self._built()
        state = {
            "invalid": self._scan.invalid,
            "mean": self._scan.mean.numpy(),
            "largest": self._scan.largest,
        }
        write_atomic(folder / STATE, encode_state(state))
        write_meta(folder, self.describe(), [STATE])

    def load(self, folder: Path, source: EmbeddingSource) -> None:
        """See `NeighborIndex.load`."""
        read_meta(folder, source, {"kind": self.kind, "metric": self.metric})
        state = decode_state(folder / STATE)
        mean = torch.from_numpy(state["mean"])
        self._set(source, Scan(state["invalid"], mean, float(state["largest"])))

    def describe(self) -> Mapping[str, Any]:
        """See `NeighborIndex.describe`."""
        source = self._built()
        return {
            "kind": self.kind,
            "metric": self.metric,
            "width": source.width,
            "rows": source.num_rows,
            "indexed": source.num_rows - len(self._scan.invalid),
            "source_key": source.key,
        }

    @property
    def invalid(self) -> Rows:
        """Rows that were left out, ascending."""
        self._built()
        return self._scan.invalid

    def _built(self) -> EmbeddingSource:
        if self._source is None:
            raise RuntimeError("the index was neither built nor loaded")
        return self._source

    def _set(self, source: EmbeddingSource, seen: Scan) -> None:
        self._source, self._scan, self._kept = source, seen, None
        self._levels = Levels(self.metric, seen, self._device)
        if 4 * source.num_rows * (source.width + 2) <= self._keep_gib * 2**30:
            chunks = float_chunks(source, self._chunk_rows(source))
            self._kept = [tile for start, chunk in chunks for tile in self._tiles_of(chunk, start)]

    def _chunk_rows(self, source: EmbeddingSource) -> int:
        return max(1, chunk_rows(source.width) // self._tile[1]) * self._tile[1]

    def _tiles_of(self, chunk: Tensor, start: int) -> Iterator[tuple[Tensor, Tensor, int]]:
        """Yields what `Running.see` takes, for the rows of a chunk."""
        right, slack = self._levels.right(chunk.to(self._device), start)
        for first in range(0, len(right), self._tile[1]):
            part = slice(first, first + self._tile[1])
            yield right[part], slack[part], start + first

    def _search(self, queries: Tensor, k: int) -> tuple[Array, Rows]:
        queries = queries.to(self._device)
        left, error = self._levels.left(queries)
        factors = (torch.split(part, self._block(len(queries))) for part in (queries, left, error))
        blocks = [
            Running(q, (p, e), k, self._fetch, self.metric)
            for q, p, e in zip(*factors, strict=True)
        ]
        with exact_products(self._device):
            for tiles in self._groups_of_tiles():
                self._each(partial(_see, tiles), blocks)
            self._each(_finish, blocks)
        values, rows = (torch.cat(part) for part in zip(*(b.found for b in blocks), strict=True))
        return values.float().cpu().numpy(), rows.cpu().numpy()

    def _block(self, queries: int) -> int:
        """Returns how many queries a block has: as many blocks as threads, if there are many."""
        most, few = self._tile[0], 32
        if self._device.type != "cpu" or queries < few:
            return most
        return min(most, -(-queries // torch.get_num_threads()))

    def _each(self, work: Callable[[Sequence[Running]], object], blocks: Sequence[Running]) -> None:
        if self._device.type == "cpu":
            each_in_its_thread(work, blocks)
        else:
            work(blocks)

    def _groups_of_tiles(self) -> Iterator[Sequence[tuple[Tensor, Tensor, int]]]:
        """Yields the kept tiles, or those of one chunk of the source after the other."""
        if self._kept is not None:
            yield self._kept
            return
        source = self._built()
        for start, chunk in float_chunks(source, self._chunk_rows(source)):
            yield list(self._tiles_of(chunk, start))

    @property
    def _tile(self) -> tuple[int, int]:
        return _TILE_CPU if self._device.type == "cpu" else _TILE_GPU

    def _fetch(self, rows: Tensor) -> Tensor:
        return torch.from_numpy(self._built().take(rows.cpu().numpy())).to(self._device)


def _see(tiles: Sequence[tuple[Tensor, Tensor, int]], blocks: Sequence[Running]) -> None:
    for tile in tiles:
        for block in blocks:
            block.see(*tile)


def _finish(blocks: Sequence[Running]) -> None:
    for block in blocks:
        block.finish()


def _device(name: str | None) -> torch.device:
    if name is None:
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        raise UserError(f"index.device={name}: expected null, cpu or a GPU such as cuda") from error
    return device
