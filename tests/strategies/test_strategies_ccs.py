"""Coverage-centric selection around several scores."""

from __future__ import annotations

import hydra
import numpy as np
import pytest
from omegaconf import OmegaConf
from strategy_worlds import CONFIGS, FIELDS, select, strategy_of, world

from alframe.cli.build import build
from alframe.errors import UserError
from alframe.functional.strata import equal_width_strata, even_budgets
from alframe.protocols import Cost, Need, Work
from alframe.strategies.ccs import CCS
from alframe.strategies.random import Random


def around(name, **options):
    return CCS(strategy_of(name), **options)


@pytest.mark.parametrize("name", ["aum", "el2n", "entropy", "variability"])
@pytest.mark.parametrize(("size", "beta", "strata"), [(3, 0.1, 50), (12, 0.3, 5), (25, 0.9, 2)])
def test_strata_of_the_nested_scores_without_the_hardest(name, size, beta, strata):
    seen = world(rows=90, labeled=10, candidates=70)
    scored = select(strategy_of(name), seen, 70, pipeline="core_set")
    score = dict(zip(scored.rows.tolist(), scored.scores.tolist(), strict=True))
    dropped = min(int(beta * 70), 70 - size)
    kept = scored.rows[dropped:]
    for seed in range(4):
        picks = select(around(name, beta=beta, strata=strata), seen, size, seed).rows.tolist()
        assert set(picks) <= set(kept.tolist())
        part = equal_width_strata(np.array([score[row] for row in kept]), strata)
        by_row = dict(zip(kept.tolist(), part.tolist(), strict=True))
        found = np.bincount([by_row[row] for row in picks], minlength=strata)
        expected = even_budgets(np.bincount(part, minlength=strata), size)
        np.testing.assert_array_equal(found, expected)


def test_a_row_that_was_never_learned_is_dropped_first_and_counted_among_the_hardest():
    """Forgetting gives such a row an infinite score, which no stratum of equal width could hold."""
    seen = world()
    never = seen.candidates[[4, 9, 30]]
    seen.dynamics[:, np.isin(seen.rows, never), FIELDS.index("correct")] = 0
    scored = select(strategy_of("forgetting"), seen, len(seen.candidates), pipeline="core_set")
    assert set(scored.rows[np.isinf(scored.scores)]) == set(never)
    share = len(never) / len(seen.candidates)
    rest = len(seen.candidates) - len(never)
    query = select(around("forgetting", beta=share + 1e-9), seen, rest)
    assert not set(query.rows) & set(never)
    # undropped they lie in the last stratum, and leave the width of the others as it is
    finite = np.where(np.isinf(scored.scores), scored.scores[len(never)], scored.scores)
    parts = equal_width_strata(finite, 4)
    picks = select(around("forgetting", beta=0, strata=4), seen, 20).rows
    found = np.bincount(parts[np.isin(scored.rows, picks)], minlength=4)
    np.testing.assert_array_equal(found, even_budgets(np.bincount(parts, minlength=4), 20))


def test_the_order_says_nothing():
    query = select(around("aum"), world(), 20)
    assert query.scores is None
    assert query.rows.tolist() != sorted(query.rows.tolist())


def test_its_needs_are_those_of_the_score():
    assert around("entropy").needs
    assert [need.what for need in around("entropy").needs] == ["probs"]
    assert strategy_of("ccs").needs == (Need("dynamics", fields=("margin",)),)


def test_another_score_is_a_choice_on_the_command_line():
    words = ["strategy=ccs", "strategy@strategy.score=el2n", "strategy.score.n_fits=3"]
    with hydra.initialize_config_dir(str(CONFIGS), version_base="1.3"):
        node = OmegaConf.to_container(hydra.compose("run", words).strategy, resolve=True)
    (need,) = build({"strategy": node}, "strategy").needs
    assert (need.fields, need.fits, need.until_epoch) == (("error_norm",), 3, 20)


def test_its_cost_includes_that_of_scoring_all():
    class Dear(Random):
        scores_rows = True

        def cost(self, work):
            return Cost(10**6 * work.size, 1e9 * work.size)

    work = Work(size=5, candidates=1000, labeled=0, width=64, outputs=10)
    cost = CCS(Dear()).cost(work)
    assert cost.bytes > 10**9
    assert cost.operations > 1e12


def test_promise_5_a_score_of_another_pipeline_is_refused():
    class Elsewhere(Random):
        scores_rows = True
        pipelines = frozenset({"active_learning"})

    with pytest.raises(UserError, match=r"strategy\.score=Elsewhere: .*pipeline=core_set"):
        CCS(Elsewhere())


def test_a_strategy_without_scores_is_refused():
    with pytest.raises(UserError, match=r"strategy\.score=Random: expected a strategy that scores"):
        CCS(Random())


@pytest.mark.parametrize("options", [{"beta": 1}, {"beta": -0.1}, {"beta": "a"}, {"strata": 0}])
def test_promise_5_options_are_checked(options):
    (key,) = options
    with pytest.raises(UserError, match=rf"strategy\.{key}="):
        around("aum", **options)
