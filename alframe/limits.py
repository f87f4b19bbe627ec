"""What a selection would take, and a refusal before the run where that is too much."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np

from alframe.errors import UserError
from alframe.options import check_range, is_number
from alframe.protocols import Cost, Strategy, Work

REMEDY = "choose candidates=random_subset, a smaller data.subset or another strategy"
GROUP = Path("/sys/fs/cgroup")
NO_POOL = (0, 0)  # what torch calls the pool of all that is in no other
VECTORS = 16
"""Numbers for each row that a strategy without an estimate of its own is taken to keep."""


def available_bytes(device: str = "cpu") -> float:
    """Returns the memory of a device, or of the host without swapping, that can be taken, bytes."""
    if not device.startswith("cpu"):
        return _free_on(device)
    info = Path("/proc/meminfo")
    free = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    if info.is_file():
        for line in info.read_text().splitlines():
            if line.startswith("MemAvailable:"):
                free = int(line.split()[1]) * 1024
    return min(free, _left_in_the_container())


def _free_on(device: str) -> float:
    """Returns what a GPU has left, with what torch holds there and does not use.

    What it holds for CUDA graphs, in pools of their own, no other tensor can have.
    """
    import torch

    free, _ = torch.cuda.mem_get_info(device)
    index = torch.device(device).index
    here = torch.cuda.current_device() if index is None else index
    for segment in torch.cuda.memory_snapshot():  # type: ignore[no-untyped-call]
        shared = tuple(segment.get("segment_pool_id", NO_POOL)) == NO_POOL
        if shared and segment["device"] == here:
            free += segment["total_size"] - segment["allocated_size"]
    return float(free)


def _left_in_the_container() -> float:
    """Returns what the control group leaves, where containers and clusters set a limit."""
    try:
        limit = (GROUP / "memory.max").read_text().strip()
        used = int((GROUP / "memory.current").read_text())
        parts = dict(line.split() for line in (GROUP / "memory.stat").read_text().splitlines())
    except (OSError, ValueError):
        return float("inf")
    # Files that the system keeps in memory make room for others.
    used -= int(parts.get("active_file", 0)) + int(parts.get("inactive_file", 0))
    return float("inf") if limit == "max" else max(0, int(limit) - used)


def estimate(strategy: Strategy, work: Work) -> Cost:
    """Returns what a strategy says that it takes, or the linear default."""
    own: Callable[[Work], Cost] | None = getattr(strategy, "cost", None)
    if own is not None:
        return own(work)
    values = work.rows * (work.width + work.outputs)
    return Cost(8 * (values + VECTORS * work.rows), float(values))


@cache
def operations_per_second() -> float:
    """Returns a rough rate of multiply-adds, from a product of two small matrices."""
    matrix = np.ones((384, 384), dtype=np.float32)
    _ = matrix @ matrix  # starts the threads
    seconds: list[float] = []
    while len(seconds) < 5 or sum(seconds) < 0.05:  # others may use the cores for a moment
        start = time.perf_counter()
        _ = matrix @ matrix
        seconds.append(time.perf_counter() - start)
    # A product of large matrices is the best case: most selections are bound by memory.
    return 0.25 * float(matrix.shape[0]) ** 3 / max(min(seconds), 1e-9)


@dataclass(frozen=True)
class Limits:
    """What a selection may take.

    Attributes:
        memory: Share of the memory that is free when the run starts.
        seconds: Of one selection on the host, by a rough estimate; None = any.
        device: Where what was observed lies and rows are selected, such as "cpu" or "cuda:0".
    """

    memory: float = 0.8
    seconds: float | None = None
    device: str = "cpu"

    def __post_init__(self) -> None:
        check_range("limits.memory", self.memory, 0, 1)
        if self.seconds is not None and not (is_number(self.seconds) and self.seconds > 0):
            raise UserError(f"limits.seconds={self.seconds}: expected null or seconds above 0.")

    def check(self, needed: int, seconds: float, what: str, remedy: str = REMEDY) -> None:
        """Raises `UserError` if that much memory, or time, is more than allowed.

        Args:
            needed: Bytes.
            seconds: Of the selection, by estimate.
            what: The selection in words, for the message.
            remedy: What to change, for the message.
        """
        free = available_bytes(self.device)
        if needed > self.memory * free:
            raise UserError(
                f"{what} would take {needed / 2**30:.1f} GiB: expected at most {self.memory:.0%} "
                f"(limits.memory) of the {free / 2**30:.1f} GiB that are free on {self.device}; "
                f"{remedy}"
            )
        if self.seconds is not None and seconds > self.seconds:
            raise UserError(
                f"{what} would take about {seconds:.0f} seconds: expected at most limits.seconds="
                f"{self.seconds:g}; {remedy}"
            )
