"""Strategies inside others: what cannot work is refused when the config is built."""

from __future__ import annotations

import numpy as np
import pytest
from strategy_worlds import NAMES, select, strategy_of, world

from alframe.cli.build import build
from alframe.errors import UserError
from alframe.functional import entropy, margin
from alframe.strategies.ccs import CCS
from alframe.strategies.d2_pruning import D2Pruning
from alframe.strategies.density_weighted import DensityWeighted
from alframe.strategies.kcenter import KCenter
from alframe.strategies.kcenter_weighted import KCenterWeighted
from alframe.strategies.random import Random
from alframe.strategies.stochastic_batch import StochasticBatch
from alframe.strategies.top_score import TopScore

SCORING = [name for name in NAMES if getattr(strategy_of(name), "scores_rows", False)]


@pytest.mark.parametrize("outer", [CCS, D2Pruning, StochasticBatch])
@pytest.mark.parametrize("inner", [Random, KCenter])
def test_without_scores_of_single_rows_it_is_refused(outer, inner):
    with pytest.raises(UserError, match=rf"strategy\.score={inner.__name__}: expected a strategy"):
        outer(inner())


@pytest.mark.parametrize("outer", [DensityWeighted, KCenterWeighted])
def test_factors_below_zero_are_refused(outer):
    assert outer(entropy)
    with pytest.raises(UserError, match=r"strategy\.acquisition: expected scores of 0 or more"):
        outer(margin)


def test_powers_of_negative_scores_are_refused():
    assert StochasticBatch(TopScore(margin), by="softmax")
    with pytest.raises(UserError, match=r"strategy\.by=power: expected scores of 0 or more, got -"):
        StochasticBatch(TopScore(margin), by="power")


def test_a_mistake_inside_names_its_own_key():
    inner = {
        "_target_": "alframe.strategies.top_score.TopScore",
        "acquisition": {"_target_": "hydra.utils.get_method", "path": "alframe.functional.bald"},
        "of": "guesses",
    }
    node = {"_target_": "alframe.strategies.stochastic_batch.StochasticBatch", "score": inner}
    with pytest.raises(UserError, match=r"^strategy\.score\.of=guesses: expected"):
        build({"strategy": node}, "strategy")


@pytest.mark.parametrize("name", SCORING)
def test_a_score_does_not_depend_on_how_many_are_picked(name):
    few, all_of_them = (select(strategy_of(name), world(), size) for size in (9, 37))
    np.testing.assert_array_equal(few.rows, all_of_them.rows[:9])
    np.testing.assert_array_equal(few.scores, all_of_them.scores[:9])
