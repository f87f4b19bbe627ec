"""What a piece of work costs: wall-clock, and device memory where there is a device."""

from __future__ import annotations

import time
from typing import Self

import torch


class Meter:
    """Measures the work within ``with Meter() as meter``; waits for the device at both ends.

    Meters must not be nested: each one starts the device's peak anew.

    Attributes:
        seconds: Wall-clock, when the work is done.
        peak_bytes: The most device memory that tensors took at a time, what was there before
            included; None where no CUDA device is in use.
    """

    def __init__(self) -> None:
        self.seconds = 0.0
        self.peak_bytes: int | None = None
        self._start = 0.0

    def __enter__(self) -> Self:
        if _in_use():
            torch.cuda.synchronize()
            torch.cuda.reset_peak_memory_stats()
        self._start = time.perf_counter()
        return self

    def __exit__(self, *_: object) -> None:
        if _in_use():
            torch.cuda.synchronize()
            self.peak_bytes = torch.cuda.max_memory_allocated()
        self.seconds = time.perf_counter() - self._start


def _in_use() -> bool:
    """A process that works on the CPU must not wake a GPU that it could use."""
    return bool(torch.cuda.is_initialized())  # type: ignore[no-untyped-call]
