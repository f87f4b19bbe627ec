"""Top-J of an acquisition function against sorts by other means."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.stats
import torch
from hypothesis import given
from hypothesis import strategies as st
from sklearn.linear_model import LogisticRegression
from strategy_worlds import select, strategy_of, world

from alframe.errors import UserError
from alframe.observations import Table, TableObservations
from alframe.pool import Pool
from alframe.strategies.top_score import TopScore, highest

SLOW = {
    "entropy": lambda probs: scipy.stats.entropy(probs, axis=1),
    "least_confidence": lambda probs: 1 - probs.max(axis=1),
    "margin": lambda probs: -np.abs(np.diff(np.sort(probs, axis=1)[:, -2:], axis=1))[:, 0],
    "most_likely_positive": lambda probs: probs[:, -1],
}
UNSURE = sorted(set(SLOW) - {"most_likely_positive"})


def slow_bald(draws):
    """Mutual information of label and draw, from the table of their joint probabilities."""
    joint = draws / len(draws)
    alone = joint.sum(axis=0, keepdims=True) * joint.sum(axis=1, keepdims=True)
    return float(np.sum(joint * np.log(joint / alone)))


def slow_variation_ratio(draws):
    votes = [max(range(len(draw)), key=lambda label: draw[label]) for draw in draws.tolist()]
    return 1 - max(votes.count(label) for label in set(votes)) / len(votes)


SLOW_OF_DRAWS = {
    "bald": slow_bald,
    "mean_std": lambda draws: np.mean([np.std(column) for column in draws.T]),
    "variation_ratio": slow_variation_ratio,
}


def slow_query(seen, score, size):
    values = dict(zip(seen.rows.tolist(), score(seen.probs.numpy()), strict=True))
    return sorted(seen.candidates.tolist(), key=lambda row: -values[row])[:size], values


@pytest.mark.parametrize("name", SLOW)
@pytest.mark.parametrize("seed", range(4))
def test_order_and_scores_against_numpy_and_scipy(name, seed):
    seen = world(seed)
    query = select(strategy_of(name), seen, 30)
    rows, values = slow_query(seen, SLOW[name], 30)
    assert query.rows.tolist() == rows
    np.testing.assert_allclose(query.scores, [values[row] for row in rows], rtol=1e-12)


@pytest.mark.parametrize("name", UNSURE)
def test_with_two_classes_all_of_them_start_at_the_boundary_of_a_classifier(name):
    """A row's distance to scikit-learn's boundary is an order that needs no probability."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(60, 3))
    model = LogisticRegression().fit(x, x[:, 0] + 0.3 * rng.normal(size=60) > 0)
    rows = np.sort(rng.choice(1000, 60, replace=False))
    strategy = strategy_of(name)
    probs = torch.from_numpy(model.predict_proba(x))
    seen = TableObservations({strategy.needs[0]: Table(rows, strategy.needs[0].reduce(probs))})
    query = strategy.select(60, rows, Pool(1000, rows), seen, rng)
    nearest = np.argsort(np.abs(model.decision_function(x)))
    np.testing.assert_array_equal(query.rows, rows[nearest])


@pytest.mark.parametrize("name", UNSURE)
def test_the_certain_come_last(name):
    seen = world()
    seen.probs[seen.rows == seen.candidates[3]] = torch.tensor([0.0, 1, 0, 0, 0]).double()
    seen.probs[seen.rows == seen.candidates[7]] = torch.full((5,), 0.2).double()
    rows = select(strategy_of(name), seen, len(seen.candidates)).rows
    assert rows[0] == seen.candidates[7]
    assert rows[-1] == seen.candidates[3]


def test_only_one_number_a_row_is_kept():
    (need,) = strategy_of("entropy").needs
    assert need.reduce is not None
    assert need.reduce(torch.full((4, 3), 1 / 3)).shape == (4,)
    (need,) = strategy_of("bald").needs
    assert (need.what, need.draws) == ("mc_probs", 20)
    assert need.reduce(torch.full((4, 20, 3), 1 / 3)).shape == (4,)


@pytest.mark.parametrize("name", SLOW_OF_DRAWS)
@pytest.mark.parametrize("seed", range(3))
def test_order_and_scores_of_draws_against_loops(name, seed):
    seen = world(seed)
    values = {
        row: SLOW_OF_DRAWS[name](draws)
        for row, draws in zip(seen.rows.tolist(), seen.mc_probs.numpy(), strict=True)
    }
    query = select(strategy_of(name), seen, 30)
    rows = sorted(seen.candidates.tolist(), key=lambda row: (-round(values[row], 12), row))[:30]
    assert query.rows.tolist() == rows
    np.testing.assert_allclose(query.scores, [values[row] for row in rows], rtol=1e-9)


@pytest.mark.parametrize("name", SLOW_OF_DRAWS)
def test_draws_that_contradict_come_first_and_those_that_agree_to_be_unsure_last(name):
    seen = world(classes=2)
    contradicting, unsure = seen.candidates[[5, 9]]
    turns = torch.arange(20) % 2
    seen.mc_probs[seen.rows == contradicting] = torch.eye(2, dtype=torch.float64)[turns]
    seen.mc_probs[seen.rows == unsure] = torch.tensor([0.51, 0.49]).double()
    rows = select(strategy_of(name), seen, len(seen.candidates)).rows
    assert rows[0] == contradicting
    assert rows[-1] == unsure


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"of": "embeddings"}, "strategy.of=embeddings: expected probs or mc_probs"),
        ({"of": "mc_probs", "draws": 1}, "strategy.draws=1: expected a whole number, 2 or more"),
        ({"draws": 2.5}, "strategy.draws=2.5: expected a whole number"),
    ],
)
def test_options_that_cannot_be_are_refused(options, message):
    with pytest.raises(UserError, match=message):
        TopScore(lambda probs: probs[:, 0], **options)


def test_any_function_of_the_probabilities_will_do():
    query = select(TopScore(lambda probs: probs[:, 0]), world(), 37)
    seen = world()
    first = dict(zip(seen.rows.tolist(), seen.probs[:, 0].tolist(), strict=True))
    assert query.scores.tolist() == sorted((first[r] for r in seen.candidates), reverse=True)


@given(st.lists(st.sampled_from([-np.inf, -1.0, 0.0, -0.0, 2.0, np.inf]), min_size=1))
def test_highest_is_a_sort_with_ties_to_the_lowest_row(scores):
    rows = np.arange(len(scores)) * 3 + 1
    query = highest(rows, np.array(scores), len(scores))
    slow = sorted(zip(rows.tolist(), scores, strict=True), key=lambda pair: (-pair[1], pair[0]))
    assert query.rows.tolist() == [row for row, _ in slow]
    assert query.scores.tolist() == [score for _, score in slow]


def test_nan_scores_are_refused_with_the_row():
    with pytest.raises(ValueError, match="2 scores are NaN, the first is of row 40"):
        highest(np.array([5, 40, 41]), np.array([0.0, np.nan, np.nan]), 1)
