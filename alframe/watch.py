"""Ends this process in bounded time when another process of the run is gone or has failed.

A process that waits for another one's part may wait for ever: in a kernel of a GPU, or for a
message of a machine that lost its network. So a thread of each process tells that it lives, and
looks whether the others do: process 0 at all, the others at process 0 and at what it found.
"""

from __future__ import annotations

import json
import os
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any, NamedTuple

EVERY = 1.0  # seconds between two signs of life
SILENCE = 40.0
"""Seconds without one after which a process is taken for dead: nothing keeps it busy so long."""
GRACE = 5.0
"""Seconds in which the main thread may leave by itself, and say more."""


class Failure(NamedTuple):
    """What ended a run.

    Attributes:
        rank: Of the process that failed.
        reason: In words.
        mistake: Whether it is one that the user can mend.
        interrupted: Whether it was Ctrl-C.
    """

    rank: int
    reason: str
    mistake: bool = False
    interrupted: bool = False

    @property
    def exit_code(self) -> int:
        """Of all processes."""
        return 2 if self.mistake else 130 if self.interrupted else 1


class Watch(threading.Thread):
    """Watches until it is closed, and acts while it is `active`.

    Args:
        store: A connection of its own to the processes' common store.
        rank: Of this process.
        size: How many there are.

    Attributes:
        active: Whether a loss matters; a run that is over may be left in any order.
        last_words: Called before the process is ended, such as to note why.
    """

    def __init__(self, store: Any, rank: int, size: int) -> None:
        super().__init__(name="alframe watch", daemon=True)
        self._store = store
        self._rank = rank
        self._others = range(1, size) if rank == 0 else range(1)
        self._size = size
        self._beats: dict[int, tuple[bytes, float]] = {}
        self._lock = threading.Lock()
        self._run = 0
        self._closed = threading.Event()
        self.active = False
        self.last_words: list[Callable[[Failure], None]] = []

    def run(self) -> None:
        """Looks at the others every second."""
        beat = 0
        while not self._closed.wait(EVERY):
            beat += 1
            failure = self._looked(beat)
            if failure is None or not self.active or self._closed.wait(GRACE):
                continue
            if self.active:  # the main thread has not left by itself
                self._end(failure)

    def post(self, failure: Failure) -> None:
        """Tells the others of this process's failure; the first one that is told counts."""
        with suppress(Exception), self._lock:  # where the store is gone, so are they
            self._store.compare_set(self._key, "", json.dumps(failure))

    def posted(self, within: float) -> Failure | None:
        """Returns what was told, waiting some seconds for it."""
        end = time.monotonic() + within
        while True:
            with suppress(Exception), self._lock:
                if self._store.check([self._key]):
                    return Failure(*json.loads(self._store.get(self._key)))
            if time.monotonic() >= end:
                return None
            time.sleep(0.1)

    def clear(self) -> None:
        """Starts afresh, for another run of the same processes."""
        with self._lock:
            self._beats.clear()
            self._run += 1
        self.active = True

    def close(self) -> None:
        """Ends the thread: one that returns from the store to an interpreter that ends, aborts.

        Waits for it in bounded time: where the network is lost, the store may take minutes.
        """
        self._closed.set()
        self.join(GRACE)

    @property
    def _key(self) -> str:
        return f"failure of run {self._run}"

    def _looked(self, beat: int) -> Failure | None:
        try:
            with self._lock:
                self._store.set(f"beat {self._rank}", str(beat))
                silent = [rank for rank in self._others if self._is_silent(rank)]
        except Exception as error:  # whoever keeps the store is gone
            line = str(error).splitlines()[0] if str(error) else type(error).__name__
            return Failure(0, f"process 0 of {self._size} or its starter is gone ({line})")
        if silent:
            words = f"process {silent[0]} of {self._size} has not been heard of for {SILENCE:g} s"
            self.post(Failure(silent[0], words))
        return self.posted(0.0)

    def _is_silent(self, rank: int) -> bool:
        """Says whether a process is silent; one that never spoke is, from when it was awaited."""
        key, now = f"beat {rank}", time.monotonic()
        beat = self._store.get(key) if self._store.check([key]) else b""
        known, since = self._beats.get(rank, (None, now))
        if beat != known:
            self._beats[rank] = (beat, now)
            return False
        return now - since > SILENCE

    def _end(self, failure: Failure) -> None:
        if self._rank == 0:
            for tell in self.last_words:
                with suppress(Exception):
                    tell(failure)
            sys.stderr.write(f"alframe: {failure.reason}: this process ends, too\n")
            sys.stderr.flush()
        os._exit(failure.exit_code)
