"""Ctrl-C within a fit: the fit is left after the step that is under way, where it can go on."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

from alframe import signals


class Leaving:
    """Notes what would interrupt a step in its middle, for whoever can leave between two steps.

    It takes the place of Python's own handler of Ctrl-C, also where that was set for other signals
    (such as an alarm), and of `alframe.signals.leave`; no other handler is touched. A second Ctrl-C
    (or alarm) interrupts at once; where a cluster asks again, the step is finished all the same.
    """

    def __init__(self) -> None:
        self._joined = False
        self._number: int | None = None
        self._mine: dict[int, Any] = {}  # by signal, whose place was taken

    @property
    def asked(self) -> bool:
        """Whether a signal has come."""
        return self._joined or self._number is not None

    def join(self, asked: bool) -> None:
        """Leaves too, where a process that shares the fit was asked to."""
        self._joined = self._joined or asked

    @contextmanager
    def noting(self) -> Iterator[None]:
        """Notes signals within; Python lets only the main thread do so.

        Raises:
            KeyboardInterrupt: At the end, if a signal came and nothing else was raised;
                `alframe.signals.Left` where a cluster asked.
        """
        if threading.current_thread() is threading.main_thread():
            handlers = {int(each): signal.getsignal(each) for each in signal.valid_signals()}
            ours = (signal.default_int_handler, signals.leave)
            self._mine = {number: each for number, each in handlers.items() if each in ours}
        try:
            self.take()
            yield
        except KeyboardInterrupt as interrupt:
            raise self._why() from interrupt
        finally:
            for number, handler in self._mine.items():  # Lightning, too, sets some
                gone = self.asked and handler is signals.leave  # see there
                signal.signal(number, signal.SIG_IGN if gone else handler)
        if self.asked:
            raise self._why()

    def take(self) -> None:
        """Takes the signals (again, where a library has set handlers of its own in between)."""
        for number in self._mine:
            signal.signal(number, self._note)

    def _note(self, number: int, frame: FrameType | None) -> None:
        if self.asked and self._mine[number] is signal.default_int_handler:
            signal.default_int_handler(number, frame)
        self._number = self._number or number

    def _why(self) -> KeyboardInterrupt:
        if self._number is None or self._mine[self._number] is signal.default_int_handler:
            return KeyboardInterrupt()
        return signals.Left(self._number)
