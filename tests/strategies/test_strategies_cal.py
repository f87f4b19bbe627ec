"""CAL by row number against loops and scikit-activeml."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import scipy.stats
import torch
from scipy.spatial.distance import cdist
from skactiveml.base import SkactivemlClassifier
from skactiveml.pool import ContrastiveAL
from strategy_worlds import select, strategy_of, world

from alframe.errors import UserError
from alframe.functional import entropy
from alframe.strategies.cal import ContrastiveActiveLearning
from alframe.strategies.top_score import TopScore


def slow_scores(seen, k, metric):
    """The formula with dictionaries of rows."""
    points = dict(zip(seen.rows.tolist(), seen.embeddings.numpy(), strict=True))
    probs = dict(zip(seen.rows.tolist(), seen.probs.numpy(), strict=True))
    scores = {}
    for row in seen.candidates.tolist():
        far = {r: cdist(points[row][None], points[r][None], metric)[0, 0] for r in seen.labeled}
        near = sorted(far, key=lambda r: far[r])[:k]
        scores[row] = np.mean([scipy.stats.entropy(probs[r], probs[row]) for r in near])
    return scores


@pytest.mark.parametrize("metric", ["cosine", "euclidean"])
@pytest.mark.parametrize("k", [1, 5, 100])
def test_order_and_scores_against_loops(k, metric):
    seen = world(k)
    query = select(ContrastiveActiveLearning(k, metric), seen, 37)
    scores = slow_scores(seen, k, metric)
    assert query.rows.tolist() == sorted(scores, key=lambda row: -scores[row])
    np.testing.assert_allclose(query.scores, [scores[row] for row in query.rows], rtol=1e-10)


class Told(SkactivemlClassifier):
    """A classifier that knows the probabilities of the world's rows by their embeddings."""

    def __init__(self, points, probs):
        super().__init__(classes=range(probs.shape[1]))
        self.points, self.probs = points, probs

    def fit(self, x, y, sample_weight=None):
        return self

    def predict_proba(self, x):
        return self.probs[cdist(x, self.points).argmin(axis=1)]


@pytest.mark.parametrize("seed", range(3))
def test_against_scikit_activeml(seed):
    seen = world(seed)
    points, probs = seen.embeddings.numpy(), seen.probs.clamp_min(1e-3).numpy()
    probs /= probs.sum(axis=1, keepdims=True)  # they clip at 1e-7
    labels = np.where(np.isin(seen.rows, seen.labeled), seen.labels, np.nan)
    candidates = np.flatnonzero(np.isin(seen.rows, seen.candidates))
    peer = ContrastiveAL(nearest_neighbors_dict={"n_neighbors": 4}, random_state=0)
    at, _ = peer.query(
        points, labels, Told(points, probs), fit_clf=False, candidates=candidates, batch_size=20,
        return_utilities=True,
    )  # fmt: skip
    told = replace(seen, probs=torch.from_numpy(probs))
    query = select(ContrastiveActiveLearning(4, "euclidean"), told, 20)
    assert set(query.rows) == set(seen.rows[at])


def test_a_row_that_is_predicted_unlike_its_neighbors_comes_first():
    """Two clusters, each of one prediction, and a row of one that is predicted as the other."""
    seen = world()
    at = torch.arange(len(seen.rows)) % 2
    seen.embeddings[:] = torch.eye(4).double()[at] + 0.01 * seen.embeddings
    seen.probs[:] = torch.tensor([[0.9, 0.1, 0, 0, 0], [0.1, 0.9, 0, 0, 0]]).double()[at]
    odd = seen.rows == seen.candidates[7]
    seen.probs[odd] = seen.probs[odd].flip(1).roll(2, 1)
    query = select(ContrastiveActiveLearning(3), seen, 3)
    assert query.rows[0] == seen.candidates[7]
    np.testing.assert_allclose(query.scores[1:], 0, atol=1e-12)


def test_with_no_labeled_row_the_uncertain_are_taken():
    seen = replace(world(), labeled=np.empty(0, np.int64))
    query = select(strategy_of("cal"), seen, 9, pipeline="active_learning")
    np.testing.assert_array_equal(query.rows, select(TopScore(entropy), seen, 9).rows)


@pytest.mark.parametrize(
    ("options", "message"),
    [({"neighbors": 0}, "neighbors=0: expected a whole"), ({"metric": "dot"}, "metric=dot: exp")],
)
def test_wrong_options_are_refused(options, message):
    with pytest.raises(UserError, match=rf"strategy\.{message}"):
        ContrastiveActiveLearning(**options)
