"""Information density by row number against a plain loop over all pairs."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import scipy.stats
import torch
from strategy_worlds import select, strategy_of, world

from alframe.errors import UserError
from alframe.functional import entropy, least_confidence, margin
from alframe.strategies.density_weighted import DensityWeighted


def slow_scores(seen, beta):
    """The formula with dictionaries of rows: labeled rows and candidates are the pool."""
    points = dict(zip(seen.rows.tolist(), seen.embeddings.numpy(), strict=True))
    probs = dict(zip(seen.rows.tolist(), seen.probs.numpy(), strict=True))
    everyone = [*seen.labeled.tolist(), *seen.candidates.tolist()]

    def cosine(a, b):
        return a @ b / np.linalg.norm(a) / np.linalg.norm(b)

    scores = {}
    for row in seen.candidates.tolist():
        similar = np.mean([cosine(points[row], points[other]) for other in everyone])
        scores[row] = scipy.stats.entropy(probs[row]) * ((1 + similar) / 2) ** beta
    return scores


@pytest.mark.parametrize("beta", [0, 1, 2.5])
@pytest.mark.parametrize("labeled", [0, 12])
def test_order_and_scores_against_the_loop(beta, labeled):
    seen = world(labeled)
    seen = replace(seen, labeled=seen.labeled[:labeled])
    query = select(DensityWeighted(entropy, beta), seen, 37)
    expected = slow_scores(seen, beta)
    assert query.rows.tolist() == sorted(expected, key=lambda row: -expected[row])
    np.testing.assert_allclose(query.scores, [expected[row] for row in query.rows], rtol=1e-10)


def test_an_uncertain_outlier_waits_for_equals_in_the_crowd():
    seen = world()
    seen.embeddings[:] = torch.tensor([1.0, 0.1, 0, 0]).double()
    seen.probs[:] = torch.tensor([0.9, 0.1, 0, 0, 0]).double()
    outlier, crowd = seen.candidates[[3, 8]]
    seen.embeddings[seen.rows == outlier] = torch.tensor([-1.0, 0, 0, 0]).double()
    for row in (outlier, crowd):
        seen.probs[seen.rows == row] = torch.tensor([0.5, 0.5, 0, 0, 0]).double()
    assert select(strategy_of("density_weighted"), seen, 1).rows.tolist() == [crowd]
    query = select(strategy_of("density_weighted"), seen, 37)
    assert query.rows[-1] == outlier
    assert select(DensityWeighted(entropy, 0), seen, 2).rows.tolist() == [outlier, crowd]


def test_the_default_is_entropy_and_beta_one():
    query = select(strategy_of("density_weighted"), world(), 20)
    np.testing.assert_array_equal(
        query.rows, select(DensityWeighted(entropy, 1.0), world(), 20).rows
    )


def test_another_score_of_zero_or_more_will_do_and_one_below_is_refused():
    assert len(select(DensityWeighted(least_confidence), world(), 9).rows) == 9
    with pytest.raises(UserError, match=r"strategy\.acquisition: expected scores of 0 or more"):
        select(DensityWeighted(margin), world(), 9)


def test_probabilities_that_rounding_put_above_one_are_certain_not_wrong():
    seen = world()
    seen.probs[:] = torch.tensor([1 + 2**-6, 0, 0, 0, 0]).double()
    query = select(strategy_of("density_weighted"), seen, 9)
    assert query.rows.tolist() == seen.candidates[:9].tolist()
    assert query.scores.tolist() == [0] * 9


@pytest.mark.parametrize("beta", [-1, "1", float("nan"), True])
def test_a_wrong_beta_is_refused(beta):
    with pytest.raises(UserError, match=r"strategy\.beta="):
        DensityWeighted(entropy, beta)
