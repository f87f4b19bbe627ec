"""How much memory is free, and a refusal before the run where a strategy would need more."""

from __future__ import annotations

import os
from pathlib import Path

from alframe.errors import UserError

SHARE = 0.8
"""Of the free memory that observations may take."""


def available_bytes() -> int:
    """Returns the memory that can be taken without swapping, in bytes."""
    info = Path("/proc/meminfo")
    if info.is_file():
        for line in info.read_text().splitlines():
            if line.startswith("MemAvailable:"):
                return int(line.split()[1]) * 1024
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def check_fits(needed: int, what: str) -> None:
    """Raises `UserError` if ``needed`` bytes are more than the allowed share of what is free."""
    free = available_bytes()
    if needed > SHARE * free:
        raise UserError(
            f"{what} would take {needed / 2**30:.1f} GiB: expected at most {SHARE:.0%} of the "
            f"{free / 2**30:.1f} GiB that are free; choose candidates=random_subset, a smaller "
            "data.subset or another strategy"
        )
