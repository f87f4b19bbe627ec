"""Signals that ask a process to leave: of a cluster before a time limit, of preemption, of `kill`.

One owner: whoever starts a run from a command line (or as a job of a cluster) calls `owned`. Then
such a signal interrupts the run as Ctrl-C does, and a fit, which knows this handler (see
`alframe.learners.leaving`), is left after its step instead, with a checkpoint to go on from.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

ASKING = (signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2)
"""Slurm sends the first at the end of a time limit; the others are what users and libraries ask it
to send before (Lightning listens to USR1, submitit to USR2)."""


class Left(KeyboardInterrupt):
    """A signal asked this process to leave.

    Attributes:
        number: Of the signal.
    """

    def __init__(self, number: int) -> None:
        super().__init__(signal.Signals(number).name)
        self.number = number

    def __reduce__(self) -> tuple[type[Left], tuple[int]]:
        return Left, (self.number,)  # it passes from a process of a pool to the first one

    @property
    def exit_code(self) -> int:
        """What a shell would say of a process that the signal ended."""
        return 128 + self.number


def leave(number: int, frame: FrameType | None = None) -> None:  # noqa: ARG001 a handler's arguments
    """Raises `Left`, once: what comes later, while the run is being left, changes nothing.

    A cluster sends several signals in a row: Slurm the asked-for one, CONT and TERM.
    """
    for other in ASKING:
        if signal.getsignal(other) is leave:
            signal.signal(other, signal.SIG_IGN)
    raise Left(number)


@contextmanager
def owned() -> Iterator[None]:
    """Makes `leave` the handler of the signals in `ASKING`, in the main thread, for a while."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.getsignal(number) for number in ASKING}
    try:
        for number in ASKING:
            signal.signal(number, leave)
        yield
    finally:
        for number, handler in before.items():
            if handler is leave and signal.getsignal(number) is signal.SIG_IGN:
                continue  # an outer owner's, and the process is being left
            signal.signal(number, signal.SIG_DFL if handler is None else handler)
