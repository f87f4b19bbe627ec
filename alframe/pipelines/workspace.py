"""Where a fit keeps what it needs to go on after a kill, and whom it tells of its epochs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol


class TrackerLike(Protocol):
    """Mirrors curves; see `alframe.tracking.tracker.Tracker`."""

    def log(self, key: str, values: Mapping[str, float], step: int) -> None:
        """Sends values at a step."""
        ...


@dataclass(frozen=True)
class FitWorkspace:
    """See `alframe.protocols.Workspace`."""

    folder: Path | None
    name: str
    tracker: TrackerLike

    def log(self, epoch: int, values: Mapping[str, float]) -> None:
        """Sends an epoch's values under the fit's own prefix."""
        prefixed = {f"fits/{self.name}/{key}": value for key, value in values.items()}
        self.tracker.log(f"fits/{self.name}/{epoch}", prefixed, epoch)
