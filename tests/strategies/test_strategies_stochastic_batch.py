"""Draws by a score against the probabilities of drawing one row after the other."""

from __future__ import annotations

import itertools
from collections import Counter

import hydra
import numpy as np
import pytest
import scipy.stats
from omegaconf import OmegaConf
from strategy_worlds import CONFIGS, select, strategy_of, world

from alframe.cli.build import build
from alframe.errors import UserError
from alframe.observations import TableObservations
from alframe.pool import Pool
from alframe.protocols import Query, Work
from alframe.strategies.stochastic_batch import StochasticBatch

ROWS = np.array([3, 8, 11, 40, 41])
SCORES = {3: 0.2, 8: 1.5, 11: 0.0, 40: 0.7, 41: 1.0}


class Fixed:
    """Gives the same scores always, best first as a strategy must."""

    needs = ()
    pipelines = frozenset({"active_learning"})
    scores_rows = True
    stochastic = False

    def __init__(self, scores=SCORES):
        self.scores = scores

    def select(self, size, candidates, pool, seen, rng):
        rows = sorted(candidates.tolist(), key=lambda row: -self.scores[row])[:size]
        return Query(np.array(rows), np.array([self.scores[row] for row in rows]))


def importances(by, coldness):
    ranks = {row: 1 + sum(s > SCORES[row] for s in SCORES.values()) for row in SCORES}
    return {
        "power": {row: score**coldness for row, score in SCORES.items()},
        "softmax": {row: np.exp(coldness * score) for row, score in SCORES.items()},
        "softrank": {row: ranks[row] ** -coldness for row in SCORES},
    }[by]


def draw(strategy, size, seed):
    seen = TableObservations({})
    return strategy.select(size, ROWS, Pool(50, ROWS), seen, np.random.default_rng(seed)).rows


@pytest.mark.parametrize("by", ["power", "softmax", "softrank"])
@pytest.mark.parametrize("coldness", [0.5, 1.0, 3.0])
def test_pairs_come_as_often_as_when_drawn_one_after_the_other(by, coldness):
    strategy, times = StochasticBatch(Fixed(), by, coldness), 3000
    counts = Counter(tuple(draw(strategy, 2, seed).tolist()) for seed in range(times))
    weights = importances(by, coldness)
    total = sum(weights.values())
    expected = {
        (a, b): weights[a] / total * weights[b] / (total - weights[a])
        for a, b in itertools.permutations(SCORES, 2)
    }
    impossible = {pair for pair, share in expected.items() if share == 0}
    assert not impossible & counts.keys()
    possible = [pair for pair in expected if pair not in impossible]
    seen = [counts[pair] for pair in possible]
    share = np.array([expected[pair] for pair in possible])
    assert scipy.stats.chisquare(seen, times * share / share.sum()).pvalue > 1e-3


@pytest.mark.parametrize("by", ["power", "softmax", "softrank"])
def test_the_coldest_take_the_highest_scores(by):
    strategy = StochasticBatch(Fixed(), by, 1e6)
    assert draw(strategy, 4, 0).tolist() == [8, 41, 40, 3]


def test_it_listens_to_the_score_of_its_rows_in_a_pool_of_any_numbers():
    seen = world()
    top = select(strategy_of("entropy"), seen, 37)
    mean = dict(zip(top.rows.tolist(), top.scores.tolist(), strict=True))
    picked = [
        np.mean([mean[row] for row in select(StochasticBatch(strategy_of("entropy"), by, cold),
                                             seen, 10, seed).rows.tolist()])
        for by, cold in (("power", 30.0), ("softmax", 30.0), ("softrank", 4.0))
        for seed in range(5)
    ]  # fmt: skip
    assert min(picked) > np.mean(top.scores) + 0.05
    assert max(picked) < np.mean(top.scores[:10])


def test_a_score_that_may_be_negative_is_drawn_by_rank_or_softmax_only():
    margin = strategy_of("margin")
    for by in ("softmax", "softrank"):
        assert len(set(select(StochasticBatch(margin, by), world(), 9).rows)) == 9
    with pytest.raises(UserError, match=r"strategy\.by=power: expected scores of 0 or more, got -"):
        StochasticBatch(margin, "power")


def test_a_strategy_without_scores_is_refused_with_the_key():
    with pytest.raises(UserError, match=r"strategy\.score=Random: expected a strategy that scores"):
        StochasticBatch(strategy_of("random"))


def test_it_needs_what_the_score_needs_and_is_defined_where_that_is():
    for name in ("bald", "cal", "forgetting"):
        inner = strategy_of(name)
        strategy = StochasticBatch(inner)
        assert (strategy.needs, strategy.pipelines) == (inner.needs, inner.pipelines)
        assert strategy.stochastic
        assert len(set(select(strategy, world(), 9).rows)) == 9
        work = Work(5, 1000, 0, 8, 3)
        assert strategy.cost(work).bytes > inner_bytes(inner, work)


def inner_bytes(inner, work):
    cost = getattr(inner, "cost", None)
    return cost(work).bytes if cost else 0


def test_power_bald_is_two_words_on_the_command_line():
    words = ["strategy=stochastic_batch", "strategy@strategy.score=bald", "strategy.score.draws=7"]
    with hydra.initialize_config_dir(str(CONFIGS), version_base="1.3"):
        config = OmegaConf.to_container(hydra.compose("run", words).strategy, resolve=True)
    strategy = build({"strategy": config}, "strategy", seed=0)
    assert [(need.what, need.draws) for need in strategy.needs] == [("mc_probs", 7)]
    assert strategy.by == "power"
    assert len(set(select(strategy, world(), 9).rows)) == 9


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"by": "rank"}, r"strategy\.by=rank: expected power, softmax or softrank"),
        ({"coldness": 0}, r"strategy\.coldness=0: expected a number above 0"),
        ({"coldness": np.inf}, r"strategy\.coldness=inf: expected a number above 0"),
        ({"coldness": "cold"}, r"strategy\.coldness=cold: expected a number above 0"),
    ],
)
def test_options_that_cannot_be_are_refused(options, message):
    with pytest.raises(UserError, match=message):
        StochasticBatch(Fixed(), **options)
