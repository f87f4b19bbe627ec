"""Fills a store with the embeddings of a split: for alframe-embed, and for runs that need one."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch

from alframe.cli.versions import versions
from alframe.data.dataset import Dataset
from alframe.encoders.network import CPU_BATCH, GPU_BATCH
from alframe.encoders.protocol import Encoder
from alframe.errors import UserError
from alframe.learners.hardware import Hardware
from alframe.protocols import Array
from alframe.store.keys import EMBED, Keys
from alframe.store.manifest import key_of
from alframe.store.plan import Plan
from alframe.store.writer import Embed, Filled, StoreWriter, Work

Split = Literal["train", "test"]
CHUNK_BYTES = 2**20
"""About how much is written at a time; a shard is gone on with at the beginning of a chunk."""


@dataclass(frozen=True)
class Filling:
    """Embeddings of a split that are to be in a store.

    Attributes:
        data: Whose inputs are embedded.
        split: ``train`` or ``test``.
        encoder: Embeds them.
        words: The encoder's config, kept for people.
        dtype: ``float16`` or ``float32``.
        batch: Rows that the encoder sees at a time.
        keys: For errors.
    """

    data: Dataset
    split: Split
    encoder: Encoder
    words: Mapping[str, Any]
    dtype: str
    batch: int
    keys: Keys = EMBED

    @property
    def parts(self) -> dict[str, str]:
        """Of the store's key, by name."""
        return {
            "inputs": self.data.inputs_fingerprint(self.split),
            "split": self.split,
            "encoder": self.encoder.name,
            "weights": self.encoder.weights_hash,
        }

    @property
    def key(self) -> str:
        """The store's."""
        return key_of({**self.parts, "dtype": self.dtype})

    def writer(
        self, folder: str | Path, rows_per_shard: int | None = None, invalid: Any = "refuse"
    ) -> StoreWriter:
        """Returns what writes the store in a folder, see `StoreWriter`."""
        return StoreWriter(folder, self._plan(rows_per_shard), invalid)

    def is_there(self, folder: Path) -> bool:
        """Tells whether the whole store is in a folder, which is only read."""
        return self._plan().is_complete(folder)

    def _plan(self, rows_per_shard: int | None = None) -> Plan:
        about = {"data": self.data.name, "config": self.words, "versions": versions()}
        rows, width = len(self.data.inputs_of(self.split)), self.encoder.width
        return Plan(self.parts, rows, width, self.dtype, rows_per_shard, about, self.keys)

    def fill(
        self,
        writer: StoreWriter,
        part: tuple[int, int] = (1, 1),
        advance: Callable[[int], None] = lambda rows: None,  # noqa: ARG005
        checkpoint_seconds: float = 5.0,
    ) -> Filled:
        """Writes what is missing.

        Args:
            writer: Of the store.
            part: (i, n): of every n shards the i-th.
            advance: Told of rows.
            checkpoint_seconds: At most so often what is written is made safe from a kill.
        """
        size = self.batch * writer.layout.bytes_per_row
        chunk = self.batch * max(1, CHUNK_BYTES // size)
        inputs = self.data.inputs_of(self.split)
        embed = in_batches(self.encoder, inputs, self.batch, self.keys)
        return writer.fill(Work(embed, chunk, part, advance, checkpoint_seconds))


def usual_batch(hardware: Hardware) -> int:
    """Returns how many rows an encoder sees at a time where nobody says so."""
    return CPU_BATCH if hardware.device.type == "cpu" else GPU_BATCH


def in_batches(encoder: Encoder, inputs: Array, batch: int, keys: Keys = EMBED) -> Embed:
    """Returns what embeds any range of rows, so many at a time.

    Args:
        encoder: Of the rows.
        inputs: Of all rows, as the dataset has them.
        batch: Rows that the encoder sees at a time.
        keys: For errors.
    """

    def embed(start: int, stop: int) -> Array:
        try:
            parts = [
                encoder.embed(inputs[first : min(first + batch, stop)])
                for first in range(start, stop, batch)
            ]
        except (MemoryError, torch.OutOfMemoryError) as error:
            raise UserError(
                f"encoder {encoder.name} needs more memory for {batch} rows at a time than there "
                f"is ({error}): what is written is kept; {keys.memory}, then run the same command "
                "again"
            ) from error
        return np.concatenate(parts)

    return embed
