"""Parts that alframe does not come with, named by `_target_` in the tests of the pipelines."""

import numpy as np

from alframe.protocols import Need, Query, Scope
from alframe.strategies.random import Random
from alframe.strategies.top_score import highest


class SlowOracle:
    """Has answered ``answered`` of the rows it was asked for, the highest ones first."""

    answered = 0
    free = False

    def __init__(self, data):
        self._data = data

    def answer(self, rows):
        ready = np.sort(rows)[::-1][: SlowOracle.answered]
        return ready, self._data.reveal(ready)


class Weighted(Random):
    """Random rows, each of which weighs one more than its row number."""

    def select(self, size, candidates, pool, seen, rng):
        rows = super().select(size, candidates, pool, seen, rng).rows
        return Query(rows, weights=(rows + 1).astype(np.float64))


class Same(Random):
    """Breaks the contract: the same row again and again."""

    def select(self, size, candidates, pool, seen, rng):
        return Query(np.repeat(candidates[:1], size))


class Two:
    """Listens to an ordinary fit and to short ones; the rows whose scores differ the most."""

    whole = Need("dynamics", fields=("margin",))
    short = Need("dynamics", fields=("margin",), fits=2, until_epoch=2)
    once = Need("dynamics", fields=("correct", "error_norm"), until_epoch=3)
    needs = (whole, Need("probs"), short, once)
    pipelines = frozenset({"core_set"})
    stochastic = False
    seen = None

    def select(self, size, candidates, pool, seen, rng):
        Two.seen = seen
        last = seen.of([self.whole]).dynamics(candidates, "margin")[-1].double()
        early = seen.of([self.short]).dynamics(candidates, "margin")[-1].double()
        return highest(candidates, (last - early).abs().numpy(), size)


class ShortInRounds(Two):
    """Breaks what active learning can do: short fits on labeled rows, round by round."""

    needs = (Need("dynamics", Scope.LABELED, fields=("margin",), until_epoch=2),)
    pipelines = frozenset({"active_learning"})
