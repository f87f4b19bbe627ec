"""Selects for a very long time, and says that it has begun."""

import time
from pathlib import Path


class Slow:
    needs = ()
    pipelines = frozenset({"active_learning"})
    stochastic = False

    def select(self, size, candidates, pool, seen, rng):
        Path("selecting").touch()
        time.sleep(300)
        raise AssertionError("the watch ends this")
