"""A GPU for each process of a pool on one machine, which would all take the first one."""

from __future__ import annotations

import os
import subprocess
from contextlib import suppress
from pathlib import Path
from typing import IO

from alframe.run_dir import HeldError, take_lock

VISIBLE = "CUDA_VISIBLE_DEVICES"
_held: list[IO[str]] = []  # until this process ends


def take_gpu(folder: Path) -> None:
    """Shows this process one of the GPUs that it sees: the one that the fewest others have.

    To be called before CUDA is used. Without GPUs nothing happens.

    Args:
        folder: For locks, common to all processes of the pool.
    """
    gpus = visible()
    if _held or len(gpus) < 2:
        return
    folder.mkdir(parents=True, exist_ok=True)
    for turn in range(1000):
        for gpu in gpus:
            with suppress(HeldError):
                _held.append(take_lock(folder, f"gpu_{gpu.replace('/', '_')}_{turn}.lock"))
                os.environ[VISIBLE] = gpu
                return


def visible() -> list[str]:
    """Returns the GPUs that this process sees, by number or name, without waking one."""
    named = os.environ.get(VISIBLE)
    if named is not None:
        return [gpu for gpu in named.split(",") if gpu]
    try:
        done = subprocess.run(
            ["nvidia-smi", "--query-gpu=index", "--format=csv,noheader"],
            capture_output=True, text=True, check=True, timeout=60,
        )  # fmt: skip
    except (OSError, subprocess.SubprocessError):
        return []
    return done.stdout.split()
