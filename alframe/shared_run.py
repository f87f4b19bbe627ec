"""The run directory of several processes: the first holds it, the others never write."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from alframe.protocols import State
from alframe.run_dir import RunDir
from alframe.world import here


def open_run(
    path: Path, config: Mapping[str, Any], identity: Mapping[str, Any] | None = None
) -> RunDir:
    """Opens a run directory, see `alframe.run_dir.RunDir.open`, for all processes of a run.

    Raises:
        UserError: In every process, if the first cannot have it.
    """
    if here().size == 1:
        return RunDir.open(path, config, identity)
    own: list[RunDir] = []

    def taken() -> dict[str, Any]:
        own.append(RunDir.open(path, config, identity))
        return own[0].status

    status = here().on_first(taken)
    return SharedRun(path, status, own[0] if own else None)


class SharedRun(RunDir):
    """One run of several processes.

    Args:
        path: The directory.
        status: What the first process read of it.
        own: The directory as the first process holds it; None in the others.
    """

    def __init__(self, path: Path, status: dict[str, Any], own: RunDir | None) -> None:
        self.path = path
        self.status = status
        self._own = own
        self.writes = own is not None

    @property
    def went_on(self) -> bool:  # type: ignore[override]
        """See `alframe.run_dir.RunDir`; False in those that do not write."""
        return self._own is not None and self._own.went_on

    def close(self) -> None:
        """Gives the directory free."""
        if self._own is not None:
            self._own.close()

    def update_status(self, **entries: Any) -> None:
        """Merges entries into ``status.json``; what process 0 says counts."""
        self.status.update(entries)
        if self._own is not None:
            self._own.update_status(**entries)

    def once(self, key: str, fn: Callable[[], State]) -> State:
        """Returns what stage ``key`` returned; if it was never finished, all run it together.

        What process 0 computed is kept, and returned to all.
        """

        def kept(together: Callable[[], State]) -> State:
            assert self._own is not None
            return self._own.once(key, together)

        return here().lead(kept, fn)

    def done(self, key: str) -> bool:
        """Says whether stage ``key`` is finished."""
        return here().on_first(lambda: (self.path / f"{key}.npz").is_file())

    def discard(self, key: str) -> None:
        """Removes a finished stage that no later stage asks for."""
        if self._own is not None:
            self._own.discard(key)

    def scratch(self, key: str) -> Path:
        """Returns the folder of a stage, which only process 0 makes."""
        return self.path / key / "scratch" if self._own is None else self._own.scratch(key)

    def clear_scratch(self, key: str) -> None:
        """Removes the folder of `scratch`."""
        if self._own is not None:
            shutil.rmtree(self.scratch(key), ignore_errors=True)
