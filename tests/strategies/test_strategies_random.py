import numpy as np
from strategy_worlds import select, strategy_of, world

from alframe.strategies.random import Random


def test_it_needs_no_model_and_gives_no_scores():
    query = select(Random(), world(), 10)
    assert Random.needs == ()
    assert Random.stochastic
    assert (query.scores, query.weights) == (None, None)
    assert isinstance(strategy_of("random"), Random)


def test_every_candidate_is_as_likely_as_any_other_at_every_rank():
    seen, draws = world(candidates=6), 3000
    counts = np.zeros((6, 3))
    pool = seen.pool("core_set")
    rng = np.random.default_rng(0)
    for _ in range(draws):
        rows = Random().select(3, seen.candidates, pool, None, rng).rows
        counts[np.searchsorted(seen.candidates, rows), np.arange(3)] += 1
    # 18 cells of a multinomial: 5 standard deviations leave a chance of one in 100,000.
    expected, deviation = draws / 6, np.sqrt(draws * (1 / 6) * (5 / 6))
    assert np.abs(counts - expected).max() < 5 * deviation
