"""D2 pruning by row number: the kernel's own tests hold what it picks."""

from __future__ import annotations

import numpy as np
import pytest
from strategy_worlds import select, strategy_of, world

from alframe.errors import UserError
from alframe.functional import entropy
from alframe.functional.message_passing import d2_greedy
from alframe.protocols import Query
from alframe.strategies.d2_pruning import D2Pruning
from alframe.strategies.density_weighted import DensityWeighted
from alframe.strategies.forgetting import Forgetting
from alframe.strategies.random import Random
from alframe.strategies.top_score import TopScore


def by_hand(seen, difficulty, size, **options):
    """What the kernel picks of the candidates in ascending order, by row number."""
    at = {row: i for i, row in enumerate(seen.rows.tolist())}
    points = seen.embeddings[[at[row] for row in seen.candidates.tolist()]].numpy()
    picks, scores = d2_greedy(points, difficulty, size, **options)
    return seen.candidates[picks].tolist(), scores


@pytest.mark.parametrize("seed", range(3))
def test_the_scores_are_those_of_the_scoring_strategy(seed):
    seen = world(seed)
    scored = select(TopScore(entropy), seen, 37)
    scores = dict(zip(scored.rows.tolist(), scored.scores, strict=True))
    difficulty = np.array([scores[row] for row in seen.candidates.tolist()])
    strategy = D2Pruning(TopScore(entropy), 4, gamma_forward=0.5, gamma_reverse=2.0)
    query = select(strategy, seen, 20)
    rows, gains = by_hand(seen, difficulty, 20, neighbors=4, gamma_forward=0.5, gamma_reverse=2.0)
    assert query.rows.tolist() == rows
    np.testing.assert_array_equal(query.scores, gains)


def test_the_default_is_forgetting_and_rows_never_learned_are_as_hard_as_the_hardest():
    seen = world()
    seen.dynamics[:, seen.rows == seen.candidates[3], 2] = 0
    events = select(Forgetting(), seen, 37)
    counts = dict(zip(events.rows.tolist(), events.scores, strict=True))
    assert np.isposinf(counts[seen.candidates[3]])
    difficulty = np.array([counts[row] for row in seen.candidates.tolist()])
    difficulty[3] = difficulty[np.isfinite(difficulty)].max()
    query = select(strategy_of("d2_pruning"), seen, 20)
    assert query.rows.tolist() == by_hand(seen, difficulty, 20)[0]


def test_it_needs_what_the_scoring_strategy_needs_once():
    assert {need.what for need in strategy_of("d2_pruning").needs} == {"embeddings", "dynamics"}
    strategy = D2Pruning(DensityWeighted(entropy))
    assert len(set(strategy.needs)) == len(strategy.needs) == 3
    assert len(select(strategy, world(), 9).rows) == 9


class AtRandom(Random):
    """Random rows with falling scores."""

    scores_rows = True

    def select(self, size, candidates, pool, seen, rng):
        query = super().select(size, candidates, pool, seen, rng)
        return Query(query.rows, np.arange(size, 0, -1.0))


def test_it_is_as_random_as_its_scores():
    assert D2Pruning(AtRandom()).stochastic
    assert not D2Pruning(DensityWeighted(entropy)).stochastic
    one, other = (select(D2Pruning(AtRandom()), world(), 20, seed=seed) for seed in (0, 1))
    assert one.rows.tolist() != other.rows.tolist()


def test_a_strategy_without_scores_or_for_another_pipeline_is_refused():
    with pytest.raises(UserError, match=r"strategy\.score=Random: expected a strategy that scores"):
        D2Pruning(Random())
    active = AtRandom()
    active.pipelines = frozenset({"active_learning"})
    with pytest.raises(UserError, match=r"strategy\.score=AtRandom: expected .* pipeline=core_set"):
        D2Pruning(active)


@pytest.mark.parametrize(
    "options", [{"neighbors": 0}, {"gamma_forward": -1}, {"gamma_reverse": float("inf")}]
)
def test_wrong_options_are_refused(options):
    with pytest.raises(UserError, match=rf"strategy\.{next(iter(options))}="):
        D2Pruning(DensityWeighted(entropy), **options)
