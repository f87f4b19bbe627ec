"""EL2N, GraNd, AUM, confidence and variability against plain loops over row numbers."""

from __future__ import annotations

import statistics

import numpy as np
import pytest
import torch
from strategy_worlds import FIELDS, select, strategy_of, world

from alframe.errors import UserError
from alframe.functional.history import low_on_average
from alframe.observations import Table, TableObservations
from alframe.pool import Pool
from alframe.strategies.top_history import TopHistory

SLOW = {  # the recorded field, and how hard its history says that a row is
    "el2n": ("error_norm", lambda values: values[19]),
    "grand": ("gradient_norm", lambda values: values[19]),
    "aum": ("margin", lambda values: -statistics.fmean(values)),
    "confidence": ("probability", lambda values: -statistics.fmean(values)),
    "variability": ("probability", statistics.pstdev),
}


@pytest.mark.parametrize("name", SLOW)
@pytest.mark.parametrize("seed", range(3))
def test_order_and_scores_against_the_loop(name, seed):
    seen = world(seed)
    field, score = SLOW[name]
    values = {
        int(row): score(history.tolist())
        for row, history in zip(seen.rows, seen.dynamics[..., FIELDS.index(field)].T, strict=True)
    }
    slow = sorted(seen.candidates.tolist(), key=lambda row: -values[row])[:25]
    query = select(strategy_of(name), seen, 25)
    assert query.rows.tolist() == slow
    np.testing.assert_allclose(query.scores, [values[row] for row in slow], rtol=1e-12)


def pick(history, keep, size=4):
    strategy = TopHistory("margin", low_on_average, keep=keep)
    rows = np.array([10, 20, 30, 40])
    history = torch.tensor(history)[..., None]
    seen = TableObservations({strategy.needs[0]: Table(rows, history, "dynamics", ("margin",))})
    return strategy.select(size, rows, Pool(50, rows), seen, np.random.default_rng(0))


def test_by_hand_and_the_other_way_round():
    # 10: right from the start; 20: never; 30 and 40: learned late, alike.
    history = [[0.9, -0.9, -0.5, -0.5], [0.9, -0.9, 0.5, 0.5]]
    hard, easy = pick(history, "hard"), pick(history, "easy")
    assert hard.rows.tolist() == [20, 30, 40, 10]
    assert easy.rows.tolist() == [10, 30, 40, 20]  # ties to the lowest row either way
    assert hard.scores.tolist() == pytest.approx([0.9, 0, 0, -0.9])
    assert easy.scores.tolist() == pytest.approx([0.9, 0, 0, -0.9])


def test_the_ambiguous_row_is_the_variable_one():
    strategy = strategy_of("variability")
    seen = world()
    at = FIELDS.index("probability")
    seen.dynamics[..., at] = torch.linspace(0.4, 0.6, len(seen.rows)).double()  # never changes
    column = int(np.flatnonzero(seen.rows == seen.candidates[5])[0])
    seen.dynamics[::2, column, at] = 0.99
    query = select(strategy, seen, 3)
    assert query.rows.tolist() == [seen.candidates[5], *seen.candidates[:2]]
    assert query.scores.tolist()[1:] == [0, 0]


@pytest.mark.parametrize(
    ("name", "fits", "until"),
    [("el2n", 10, 20), ("grand", 10, 20), ("aum", 1, None), ("confidence", 1, None)],
)
def test_what_is_needed_is_what_the_yaml_says(name, fits, until):
    (need,) = strategy_of(name).needs
    assert (need.what, need.fields) == ("dynamics", (SLOW[name][0],))
    assert (need.fits, need.until_epoch, need.short) == (fits, until, until is not None)
    assert strategy_of(name).pipelines == {"core_set"}


@pytest.mark.parametrize("options", [{"n_fits": 2}, {"until_epoch": 3}])
def test_several_fits_or_an_early_end_make_short_fits(options):
    (need,) = TopHistory("margin", low_on_average, **options).needs
    assert need.short


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"n_fits": 0}, r"strategy\.n_fits=0"),
        ({"n_fits": 1.5}, r"strategy\.n_fits=1\.5"),
        ({"until_epoch": 0}, r"strategy\.until_epoch=0"),
        ({"keep": "best"}, r"strategy\.keep=best: expected hard or easy"),
    ],
)
def test_promise_5_options_are_checked(options, message):
    with pytest.raises(UserError, match=message):
        TopHistory("margin", low_on_average, **options)
