"""CIFAR-10 by the finer concepts in the names of its files: `icebreaker`, not `ship`."""

from __future__ import annotations

import pickle
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Unpack

import numpy as np

from alframe.data.checks import Examples
from alframe.data.dataset import DataOptions, Dataset, build_dataset, parted
from alframe.data.vision import read_torchvision
from alframe.errors import UserError

SEPARATOR = "_s_"


def cifar10_concepts(
    *, root: str, download: bool = True, **options: Unpack[DataOptions]
) -> Dataset:
    """Loads CIFAR-10 with a class for each concept, as uint8 images [n, 32, 32, 3].

    A file called ``stealth_bomber_s_000554.png`` shows a stealth bomber. There are 396 concepts,
    from 876 training images (``tabby_cat``) to none: 7 occur in the test part only. The rows, and
    so their embeddings, are those of ``data=cifar10``.

    Args:
        root: The data directory, ``paths.data_dir``; laid out as torchvision does it.
        download: Whether the data are fetched where they are not there yet.
        **options: See `Splits` and `Loading`.

    Raises:
        UserError: For data that are neither there nor to be had, or whose files have no names, and
            for splits that the rows do not allow.

    Source:
        Krizhevsky, "Learning multiple layers of features from tiny images", 2009: the names are the
        search terms with which the images were found, and not checked as the 10 classes were.
    """
    splits, loading = parted(options)
    parts = read_torchvision("cifar10", Path(root).expanduser(), download)
    train, test = (_examples(part) for part in parts)
    return build_dataset("cifar10_concepts", train, test, None, splits, loading=loading)


def concept_of(name: str) -> str:
    """Returns the part of a file's name before ``_s_``.

    Raises:
        ValueError: If there is none.
    """
    concept, separator, _ = name.rpartition(SEPARATOR)
    if not separator:
        raise ValueError(f"expected a name like icebreaker_s_000009.png, got {name!r}")
    return concept


def _examples(part: Any) -> Examples:
    folder = Path(part.root) / part.base_folder
    files = part.train_list if part.train else part.test_list
    try:
        concepts = [concept_of(name) for name in _names(folder / file for file, _ in files)]
    except (KeyError, ValueError) as error:
        raise UserError(
            f"paths.data_dir={part.root}: expected CIFAR-10's official files with the names of the "
            f"images in {folder} ({type(error).__name__}: {error}); replace them, or use "
            "data=cifar10"
        ) from error
    return np.asarray(part.data), np.array(concepts)


def _names(paths: Iterable[Path]) -> list[str]:
    """Returns the names of the images; torchvision has compared the files with their checksums."""
    names: list[str] = []
    for path in paths:
        with path.open("rb") as file:
            names += pickle.load(file, encoding="latin1")["filenames"]
    return names
