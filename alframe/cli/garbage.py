"""When Python looks for garbage: not while libraries are imported, nor in what they made, in a run.

That is half a million objects, and hardly any is garbage; but a look through them takes a quarter
of a second, and comes at any time: within a round of 20 ms, for one (AMD EPYC 9004, Python 3.11).
"""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def put_off() -> Iterator[None]:
    """Looks for none, and leaves out what there is at the end, until `left_out_no_longer` ends."""
    gc.collect()  # what an earlier run in this process left must not be left out for good
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        if was_on:
            gc.enable()


def leave_out() -> None:
    """Leaves out what there is now, until `left_out_no_longer` ends."""
    gc.collect()
    gc.freeze()


@contextmanager
def left_out_no_longer() -> Iterator[None]:
    """Looks for garbage everywhere again, as before a run, when it is over."""
    try:
        yield
    finally:
        gc.unfreeze()
