"""What a run was made with: package versions and the git revision of alframe itself."""

from __future__ import annotations

import platform
import subprocess
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import alframe

PACKAGES = ("torch", "torchvision", "pytorch-lightning", "numpy", "scikit-learn", "hydra-core")


def versions() -> dict[str, str]:
    """Returns the versions of alframe, Python and what decides a run's numbers."""
    found = {"alframe": alframe.__version__, "python": platform.python_version()}
    for package in PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = "absent"
    return found


def git_state() -> dict[str, Any] | None:
    """Returns the revision of the checkout that alframe runs from, or None where it is none."""
    folder = Path(alframe.__file__).parent
    if not (folder.parent / ".git").exists():
        return None
    revision = _git(folder, "rev-parse", "HEAD")
    status = _git(folder, "status", "--porcelain", "--untracked-files=no")
    return None if revision is None else {"revision": revision, "dirty": bool(status)}


def _git(folder: Path, *command: str) -> str | None:
    try:
        done = subprocess.run(
            ["git", "-C", str(folder), *command],
            capture_output=True,
            text=True,
            timeout=10,
            check=True,
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()
