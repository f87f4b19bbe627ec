"""A pool of embeddings of any size, with rare concepts, in stores: what bench_seals.py searches.

    python scripts/seals_pool.py FOLDER [--rows 8121242] [--width 256]

Made up, but shaped as embeddings of a frozen encoder are: rows of length 1, in clusters, which lie
in groups, and each group fills a few dimensions only. Each concept has rows of its own in three
clusters of one group, among the common rows of these clusters: some of its rows are not next to
others. FOLDER gets the stores train and test, and labels.npz; what is there already is kept.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import numpy as np

from alframe.store import Store
from alframe.store.plan import Plan
from alframe.store.writer import StoreWriter, Work

BLOCK = 2**16  # rows that are drawn with one seed
CLUSTERS, PER_GROUP, INNER = 4000, 20, 16  # clusters; of each group; dimensions of a group
SIZES = {"bowling": 500, "kayak": 800, "lighthouse": 1300, "unicycle": 2000, "walrus": 3200,
         "zeppelin": 5000}  # fmt: skip
SPREAD, NOISE, OWN = 0.5, 0.02, 0.2
"""Lengths: of a row from its cluster's center, of each value's noise, of what a concept adds."""
COMMON = "common"


@dataclass(frozen=True)
class Pool:
    """How a pool is drawn: the same rows for the same numbers.

    Attributes:
        rows: Of the training part.
        width: Values of a row.
        test_rows: Of the test part.
        seed: Of all draws.
    """

    rows: int
    width: int = 256
    test_rows: int = 100_000
    seed: int = 0

    @property
    def classes(self) -> list[str]:
        """The names of the classes by number: 0 is common."""
        return [COMMON, *SIZES]

    @cached_property
    def centers(self) -> np.ndarray:
        """The clusters' centers [clusters, width]: those of a group lie near each other."""
        rng = self._rng(0)
        groups = _unit(rng.standard_normal((CLUSTERS // PER_GROUP, self.width)))
        own = _unit(rng.standard_normal((CLUSTERS, self.width)))
        return _unit(np.repeat(groups, PER_GROUP, axis=0) + 0.7 * own).astype(np.float32)

    @cached_property
    def bases(self) -> np.ndarray:
        """What each group's rows spread along: [groups, inner, width], rows about unit length."""
        rng = self._rng(1)
        shape = (CLUSTERS // PER_GROUP, INNER, self.width)
        return (rng.standard_normal(shape) / np.sqrt(self.width)).astype(np.float32)

    @cached_property
    def marks(self) -> np.ndarray:
        """What the rows of each class have in common: [classes, width]; nothing for class 0."""
        marks = OWN * _unit(self._rng(2).standard_normal((len(self.classes), self.width)))
        marks[0] = 0
        return marks.astype(np.float32)

    def labels(self, split: str) -> np.ndarray:
        """Returns the class of each row of a split, in the order of the rows: int64."""
        rng = self._rng(3 + (split == "test"))
        rows = self.rows if split == "train" else self.test_rows
        labels = np.zeros(rows, dtype=np.int64)
        most = max(20, rows // 1000)  # of one concept, so that small pools have rare ones too
        sizes = [min(size, most) if split == "train" else most for size in SIZES.values()]
        places = rng.choice(rows, sum(sizes), replace=False)
        labels[places] = np.repeat(np.arange(1, len(sizes) + 1), sizes)
        return labels

    def embed(self, split: str, labels: np.ndarray, start: int, stop: int) -> np.ndarray:
        """Returns rows start to before stop of a split, float32."""
        blocks = range(start // BLOCK, -(-stop // BLOCK))
        rows = np.concatenate([self._block(split, labels, block) for block in blocks])
        first = blocks.start * BLOCK
        return rows[start - first : stop - first]

    def _block(self, split: str, labels: np.ndarray, block: int) -> np.ndarray:
        """Returns the rows of one block, drawn with its own seed."""
        rng = self._rng(5 + (split == "test"), block)
        own = labels[block * BLOCK : (block + 1) * BLOCK]
        clusters = rng.integers(CLUSTERS, size=len(own))
        # concept i lies in three clusters of group i
        rare = own > 0
        clusters[rare] = own[rare] * PER_GROUP + rng.integers(3, size=rare.sum())
        inner = rng.standard_normal((len(own), INNER), dtype=np.float32) * (SPREAD / np.sqrt(INNER))
        rows = rng.standard_normal((len(own), self.width), dtype=np.float32)
        rows *= NOISE
        rows += self.centers[clusters]
        rows += self.marks[own]
        groups = clusters // PER_GROUP
        order = groups.argsort(kind="stable")
        ends = np.searchsorted(groups[order], np.arange(len(self.bases) + 1))
        for group, basis in enumerate(self.bases):
            members = order[ends[group] : ends[group + 1]]
            rows[members] += inner[members] @ basis
        return _unit(rows)

    def _rng(self, *purpose: int) -> np.random.Generator:
        return np.random.default_rng([self.seed, self.rows, self.width, *purpose])


def _unit(rows: np.ndarray) -> np.ndarray:
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def make(folder: Path, pool: Pool) -> Mapping[str, Path]:
    """Writes what is not there yet; returns the paths of ``train``, ``test`` and ``labels``."""
    paths = {"train": folder / "train", "test": folder / "test", "labels": folder / "labels.npz"}
    labels = {split: pool.labels(split) for split in ("train", "test")}
    for split, own in labels.items():
        drawn = f"seals_pool {pool.rows} {pool.width} {pool.test_rows} {pool.seed} {split}"
        parts = {"inputs": drawn, "split": split, "encoder": "made up", "weights": "none"}
        writer = StoreWriter(paths[split], Plan(parts, len(own), pool.width))
        writer.fill(Work(partial(pool.embed, split, own), BLOCK))
        Store.open(paths[split])
    if not paths["labels"].is_file():
        np.savez(
            paths["labels"], labels=labels["train"], test_labels=labels["test"],
            classes=np.array(pool.classes),
        )  # fmt: skip
    return paths


def main() -> None:
    """Makes a pool."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", maxsplit=1)[0])
    parser.add_argument("folder", type=Path)
    options: list[tuple[str, Any]] = [("--rows", 8_121_242), ("--width", 256)]
    for name, default in options:
        parser.add_argument(name, type=int, default=default)
    words = parser.parse_args()
    for name, path in make(words.folder, Pool(words.rows, words.width)).items():
        print(f"{name}: {path}")


if __name__ == "__main__":
    main()
