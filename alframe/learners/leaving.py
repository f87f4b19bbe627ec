"""Ctrl-C within a fit: the fit is left after the step that is under way, where it can go on."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType


class Leaving:
    """Notes what would interrupt a step in its middle, for whoever can leave between two steps.

    It takes the place of Python's own handler of Ctrl-C, also where that was set for other signals
    (such as an alarm); no other handler is touched. A second signal interrupts at once.

    Attributes:
        asked: Whether a signal has come.
    """

    def __init__(self) -> None:
        self.asked = False

    @contextmanager
    def noting(self) -> Iterator[None]:
        """Notes signals within; Python lets only the main thread do so.

        Raises:
            KeyboardInterrupt: At the end, if a signal came and nothing else was raised.
        """
        mine: list[int] = []
        if threading.current_thread() is threading.main_thread():
            mine = [
                number
                for number in sorted(signal.valid_signals())
                if signal.getsignal(number) is signal.default_int_handler
            ]
        try:
            for number in mine:
                signal.signal(number, self._note)
            yield
        finally:
            for number in mine:  # Lightning, too, sets some when it is interrupted
                signal.signal(number, signal.default_int_handler)
        if self.asked:
            raise KeyboardInterrupt

    def _note(self, number: int, frame: FrameType | None) -> None:
        if self.asked:
            signal.default_int_handler(number, frame)
        self.asked = True
