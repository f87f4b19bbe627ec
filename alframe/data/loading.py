"""How training batches are made: the keys that every dataset's YAML has for it."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Any, Literal, get_type_hints

from alframe.data.splits import SplitOptions, Splits
from alframe.errors import UserError
from alframe.options import check_range, check_whole

_LOADERS = ("auto", "device", "workers")
_MOST_WORKERS = 16


class DataOptions(SplitOptions, total=False):
    """The keys that every dataset's YAML has next to its own."""

    loader: Literal["auto", "device", "workers"]
    device_share: float
    workers: int | None


@dataclass(frozen=True)
class Loading:
    """Where training batches are made; the batches are the same, whatever stands here.

    Attributes:
        loader: ``device`` (the inputs lie on the device, whole batches are made there),
            ``workers`` (single rows are made by processes on the host), or ``auto`` (``device``
            where the inputs fit).
        device_share: The share of a GPU's free memory that the inputs may take for ``auto``.
        workers: The number of processes of ``workers``; 0 for none, this one makes the rows; None
            for one for each core but one, 1 to 16.

    Raises:
        UserError: For a value out of range.
    """

    loader: Literal["auto", "device", "workers"] = "auto"
    device_share: float = 0.5
    workers: int | None = None

    def __post_init__(self) -> None:
        if self.loader not in _LOADERS:
            raise UserError(f"data.loader={self.loader}: expected one of {', '.join(_LOADERS)}.")
        check_range("data.device_share", self.device_share, 0, 1)
        if self.workers is not None:
            check_whole("data.workers", self.workers, at_least=0)

    @property
    def processes(self) -> int:
        """The number of worker processes."""
        if self.workers is not None:
            return self.workers
        affinity = getattr(os, "sched_getaffinity", None)  # not on macOS
        cores = len(affinity(0)) if affinity else os.cpu_count() or 1
        return max(1, min(_MOST_WORKERS, cores - 1))


def parted(options: DataOptions) -> tuple[Splits, Loading]:
    """Shares out the common keys of a dataset's YAML.

    Raises:
        UserError: For a value out of range.
    """
    ours = get_type_hints(Loading)
    loading: dict[str, Any] = {key: value for key, value in options.items() if key in ours}
    splits: dict[str, Any] = {key: value for key, value in options.items() if key not in ours}
    return Splits(**splits), Loading(**loading)
