"""Stores with labels, as ``data=embedded`` takes them."""

from pathlib import Path

import numpy as np

from alframe.store import Plan, StoreWriter, Work

ROWS = {"train": 300, "test": 60}
WIDTH = 16


def embedded_words(folder: Path, name: str, **change) -> list[str]:
    """Fills two stores of an encoder of that name; returns the words of a run that has them.

    Of one origin, whatever the name: stores of all names have the same rows and width. ``change``
    gives for a split what is done to its embeddings [n, d], in place.
    """
    rng = np.random.default_rng([*name.encode()])
    labels = {split: np.arange(rows) % 3 for split, rows in ROWS.items()}
    words = ["data=embedded", "data.keep_gib=0"]
    for split, rows in ROWS.items():
        points = rng.normal(size=(rows, WIDTH)).astype(np.float32)
        points[:, :3] += 2 * np.eye(3, dtype=np.float32)[labels[split]]
        if split in change:
            change[split](points)
        parts = {"inputs": f"images {split}", "split": split, "encoder": name, "weights": name}
        writer = StoreWriter(folder / f"{name}_{split}", Plan(parts, rows, WIDTH), "drop")
        writer.fill(Work(lambda start, stop, points=points: points[start:stop], 64))
        words.append(f"data.{split}={folder / name}_{split}")
    np.savez(folder / "labels.npz", labels=labels["train"], test_labels=labels["test"])
    return [*words, f"data.labels={folder / 'labels.npz'}"]
