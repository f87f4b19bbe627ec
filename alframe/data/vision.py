"""CIFAR-10, CIFAR-100 and Fashion-MNIST, read (and downloaded) by torchvision."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Unpack

import numpy as np

from alframe.data.checks import Examples
from alframe.data.dataset import DataOptions, Dataset, build_dataset, parted
from alframe.errors import UserError

# Our name: torchvision's class, and the folder under the data directory that it reads.
_READERS = {
    "cifar10": ("CIFAR10", "cifar-10-batches-py"),
    "cifar100": ("CIFAR100", "cifar-100-python"),
    "fashion_mnist": ("FashionMNIST", "FashionMNIST/raw"),
}

# What torchvision's readers raise for files that are absent, damaged or out of reach.
_FAILURES = (RuntimeError, OSError, ValueError, AssertionError)


def torchvision_dataset(
    *, name: str, root: str, download: bool = True, **options: Unpack[DataOptions]
) -> Dataset:
    """Loads an image dataset as uint8 images [n, h, w, c].

    Args:
        name: ``cifar10``, ``cifar100`` or ``fashion_mnist``.
        root: The data directory, ``paths.data_dir``; laid out as torchvision does it.
        download: Whether data that are not there are fetched.
        **options: See `Splits` and `Loading`.

    Raises:
        UserError: For another name, for data that are neither there nor to be had, and for splits
            that the rows do not allow.

    Source:
        Krizhevsky, "Learning multiple layers of features from tiny images", 2009; Xiao et al.,
        "Fashion-MNIST", arXiv 1708.07747.
    """
    if name not in _READERS:
        raise UserError(f"data.name={name}: expected one of {', '.join(_READERS)}.")
    splits, loading = parted(options)  # before the download
    train, test = read_torchvision(name, Path(root).expanduser(), download)
    return build_dataset(
        name, _arrays(train), _arrays(test), train.classes, splits, loading=loading
    )


def read_torchvision(name: str, root: Path, download: bool) -> tuple[Any, Any]:
    """Returns torchvision's training and test part; errors are those of `torchvision_dataset`."""
    import torchvision.datasets

    class_name, folder = _READERS[name]
    reader = getattr(torchvision.datasets, class_name)

    def read(download: bool) -> tuple[Any, Any]:
        return (
            reader(root, train=True, download=download),
            reader(root, train=False, download=download),
        )

    try:
        return read(download=False)
    except _FAILURES as error:
        reason: Exception = error
    if download:
        try:
            return read(download=True)
        except _FAILURES as error:
            reason = error
    advice = (
        f"the download failed: put {class_name}'s official files there by hand"
        if download
        else f"set data.download=true, or put {class_name}'s official files there"
    )
    cause = " ".join(str(reason).split())  # torchvision's own message may have many lines
    raise UserError(
        f"paths.data_dir={root}: expected {name} in {root / folder}, but it is absent or damaged; "
        f"{advice}, or point paths.data_dir at a directory that holds them ({cause})."
    ) from reason


def _arrays(part: Any) -> Examples:
    return np.asarray(part.data), np.asarray(part.targets)
