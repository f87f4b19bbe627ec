"""Parts that alframe does not come with, named by `_target_` in the tests of the pipelines."""

import numpy as np

from alframe.protocols import Query
from alframe.strategies.random import Random


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
