"""Where models are trained: devices and precision, and nothing else."""

from __future__ import annotations

import os
import platform
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch

from alframe.errors import UserError

PRECISIONS = ("auto", "32-true", "bf16-mixed", "16-mixed")


@dataclass(frozen=True)
class Hardware:
    """One device and its arithmetic.

    Attributes:
        accelerator: ``auto`` (a GPU where there is one), ``cpu`` or ``gpu``.
        precision: ``32-true``, ``bf16-mixed`` or ``16-mixed``, as Lightning names them; ``auto``
            is bf16-mixed on a GPU and 32-true on the CPU.
        deterministic: Whether only deterministic algorithms may run (promise: same seed, same
            rows, on one device type, and on a CPU with one number of threads).
    """

    accelerator: Literal["auto", "cpu", "gpu"] = "auto"
    precision: str = "auto"
    deterministic: bool = True

    def __post_init__(self) -> None:
        if self.accelerator not in ("auto", "cpu", "gpu"):
            raise UserError(f"trainer.accelerator={self.accelerator}: expected auto, cpu or gpu")
        if self.precision not in PRECISIONS:
            raise UserError(
                f"trainer.precision={self.precision}: expected one of {', '.join(PRECISIONS)}"
            )
        if self.accelerator == "gpu" and not torch.cuda.is_available():
            raise UserError(
                "trainer.accelerator=gpu: expected a CUDA device, found none; use trainer=cpu"
            )

    def set_up(self) -> None:
        """Sets torch's deterministic mode, for observing and evaluating as well as for training."""
        if self.deterministic:
            os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # cuBLAS asks for it
        torch.use_deterministic_algorithms(self.deterministic)
        # The mode would also fill every new tensor with NaN, for debugging.
        torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]

    @property
    def device(self) -> torch.device:
        """The device."""
        gpu = self.accelerator == "gpu" or (
            self.accelerator == "auto" and torch.cuda.is_available()
        )
        return torch.device("cuda", 0) if gpu else torch.device("cpu")

    @property
    def lightning_precision(self) -> str:
        """The precision that Lightning is given."""
        if self.precision != "auto":
            return self.precision
        return "bf16-mixed" if self.device.type == "cuda" else "32-true"

    def describe(self) -> str:
        """Returns the device in words, for records."""
        if self.device.type == "cuda":
            return torch.cuda.get_device_name(self.device)
        return f"cpu: {torch.get_num_threads()} threads of {os.cpu_count()} cores, {_cpu_name()}"


def _cpu_name() -> str:
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.is_file() else []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()
