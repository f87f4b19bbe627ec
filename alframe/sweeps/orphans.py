"""A process of a pool ends with the one that started it, which may be killed without a word."""

from __future__ import annotations

import os
import signal
import threading
import time

POLL = 1.0  # seconds
_following = threading.Event()


def leave_with_parent() -> None:
    """Asks this process to leave, by SIGTERM, once its parent is gone; the rest is its handler's.

    Else it would wait for work for ever, as no one tells it that there will be none.
    """
    if not _following.is_set():
        _following.set()
        threading.Thread(target=_follow, args=(os.getppid(),), daemon=True).start()


def _follow(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(POLL)
    while True:  # the first one may end only the cell: the pool catches what is raised
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(POLL)
