"""Progress bars on a terminal, and nothing anywhere else."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from alframe.world import here

_active = False


@contextmanager
def bar(description: str, total: int) -> Iterator[Callable[[], None]]:
    """Shows a bar and yields what moves it one step on.

    Only one bar is shown at a time: work within work does not show its own.
    """
    global _active
    if _active or not (here().first and sys.stderr.isatty()):
        yield lambda: None
        return
    from rich.console import Console
    from rich.progress import Progress, TimeElapsedColumn

    columns = (*Progress.get_default_columns(), TimeElapsedColumn())
    _active = True
    try:
        with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
            task = progress.add_task(description, total=total)
            yield lambda: progress.advance(task)
    finally:
        _active = False
