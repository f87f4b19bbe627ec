"""Where models are trained: devices and precision, and nothing else."""

from __future__ import annotations

import os
import platform
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch

from alframe.errors import UserError
from alframe.options import is_whole
from alframe.world import here

PRECISIONS = ("auto", "32-true", "bf16-mixed", "16-mixed")
GPU_STEPS_PER_CALL = 32
"""Lightning's milliseconds for a call are then a small part of those of the steps."""
PAYS_AFTER = 2000
"""Steps of one size for which ``compile=auto`` compiles: shorter fits are over before it is."""


@dataclass(frozen=True)
class Hardware:
    """One device and its arithmetic.

    Attributes:
        accelerator: ``auto`` (a GPU where there is one), ``cpu`` or ``gpu``.
        precision: ``32-true``, ``bf16-mixed`` or ``16-mixed``, as Lightning names them; ``auto``
            is bf16-mixed on a GPU and 32-true on the CPU.
        deterministic: Whether only deterministic algorithms may run (promise: same seed, same
            rows, on one device type, and on a CPU with one number of threads).
        compile: Whether ``torch.compile`` makes the forward and backward pass; ``auto`` on a GPU,
            for fits long enough to pay for it, and with a warning not where it fails.
        cuda_graphs: Whether an optimizer step is one launch, not hundreds; ``auto`` on a GPU.
        steps_per_call: Optimizer steps in one step of Lightning; ``auto`` is 1 on a CPU and 32 on a
            GPU. It changes no result; a killed fit goes on between two calls.
        parallel: None for one process; ``ddp`` for those that torchrun or srun started, with a
            device each. Then nothing is compiled and no CUDA graphs are used.
    """

    accelerator: Literal["auto", "cpu", "gpu"] = "auto"
    precision: str = "auto"
    deterministic: bool = True
    compile: Literal["auto"] | bool = "auto"
    cuda_graphs: Literal["auto"] | bool = "auto"
    steps_per_call: Literal["auto"] | int = "auto"
    parallel: Literal["ddp"] | None = None

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
        self._check_parallel()
        for key in ("compile", "cuda_graphs"):
            value = getattr(self, key)
            if value not in ("auto", True, False):
                raise UserError(f"trainer.{key}={value}: expected auto, true or false")
        if self.cuda_graphs is True and self.device.type != "cuda":
            raise UserError(
                "trainer.cuda_graphs=true: expected a CUDA device, got the CPU; use auto or false"
            )
        if self.cuda_graphs is True and not self.captures:
            raise UserError(
                "trainer.cuda_graphs=true: expected another precision, got "
                f"trainer.precision={self.precision}, whose scaled loss no CUDA graph can hold; "
                "use bf16-mixed, or trainer.cuda_graphs=auto"
            )
        steps = self.steps_per_call
        if steps != "auto" and not (is_whole(steps) and steps >= 1):
            raise UserError(
                f"trainer.steps_per_call={steps}: expected auto or a whole number, 1 or more"
            )

    def _check_parallel(self) -> None:
        if self.parallel not in (None, "ddp"):
            raise UserError(f"trainer.parallel={self.parallel}: expected ddp or null")
        for key in ("compile", "cuda_graphs"):
            if self.parallel and getattr(self, key) is True:
                raise UserError(
                    f"trainer.{key}=true: expected auto or false with trainer.parallel=ddp, whose "
                    "steps wait for other processes in their middle"
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
        if not uses_gpu(self.accelerator):
            return torch.device("cpu")
        if self.parallel is None:
            return torch.device("cuda", 0)
        # Where srun shows each process its own GPU only, that is number 0.
        return torch.device("cuda", here().local_rank % torch.cuda.device_count())

    @property
    def gpus(self) -> list[int]:
        """Which GPUs' random states a fit uses: none on a CPU, lest it wake them."""
        return [self.device.index] if self.device.type == "cuda" else []

    @property
    def lightning_precision(self) -> str:
        """The precision that Lightning is given."""
        if self.precision != "auto":
            return self.precision
        return "bf16-mixed" if self.device.type == "cuda" else "32-true"

    @property
    def autocast(self) -> torch.dtype | None:
        """What the forward pass computes in where that is not float32."""
        if self.lightning_precision == "32-true":
            return None
        # Lightning, too, takes bfloat16 on a CPU for both.
        half = self.lightning_precision == "16-mixed" and self.device.type == "cuda"
        return torch.float16 if half else torch.bfloat16

    def compiles(self, steps: int) -> bool:
        """Tells whether a fit of so many full batches is compiled."""
        if self.compile == "auto":
            gpu = self.device.type == "cuda" and self.parallel is None
            return gpu and steps >= PAYS_AFTER
        return self.compile

    @property
    def captures(self) -> bool:
        """Whether steps are replayed as CUDA graphs, which a scaled loss in float16 forbids."""
        wanted = self.cuda_graphs is not False and self.device.type == "cuda"
        return wanted and self.parallel is None and self.autocast is not torch.float16

    @property
    def calls(self) -> int:
        """Optimizer steps in one step of Lightning."""
        if self.steps_per_call == "auto":
            return GPU_STEPS_PER_CALL if self.device.type == "cuda" else 1
        return self.steps_per_call

    def describe(self) -> str:
        """Returns the device in words, for records."""
        count = here().processes
        several = f"{count} processes, each with " if count > 1 else ""
        if self.device.type == "cuda":
            return several + torch.cuda.get_device_name(self.device)
        threads = f"{torch.get_num_threads()} threads of {os.cpu_count()} cores"
        return f"{several}cpu: {threads}, {_cpu_name()}"


def uses_gpu(accelerator: str) -> bool:
    """Says whether a trainer's accelerator is a GPU, on this machine."""
    return accelerator == "gpu" or (accelerator == "auto" and torch.cuda.is_available())


def _cpu_name() -> str:
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.is_file() else []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()
