"""What scripts/bench_selection.py compares with: peers' packages, and their loops re-stated.

A re-statement is the published algorithm in plain words, not the peer's code: one full pass for
each pick. Every contender picks from the same array and starts from the same first row.
"""

from __future__ import annotations

import numpy as np
import torch
from scipy.spatial.distance import cdist


def svp_loop(points, size, first):
    """Selection via Proxy's k-center re-stated: a cdist for each pick, the matrix kept."""
    matrix = np.zeros((size, len(points)), dtype=np.float32)
    picks = [first]
    matrix[0] = cdist(points[[first]], points)
    nearest = matrix[0].copy()
    for i in range(1, size):
        picks.append(int(nearest.argmax()))
        matrix[i] = cdist(points[[picks[-1]]], points)
        nearest = np.minimum(nearest, matrix[i])
    return np.array(picks)


def deepcore_loop(points, size, first):
    """DeepCore's k-center re-stated: distances to the rows not yet picked, the matrix kept."""
    points = torch.from_numpy(points)
    matrix = -torch.ones(size, len(points))
    free = torch.ones(len(points), dtype=torch.bool)
    picks = [first]
    nearest = torch.full((len(points),), torch.inf)
    for i in range(size):
        free[picks[-1]] = False
        row = matrix[i]
        row[free] = torch.cdist(points[picks[-1]][None], points[free])[0]
        nearest = torch.minimum(nearest, row)
        if i + 1 < size:
            picks.append(int(nearest.argmax()))
    return np.array(picks)


def gemv_loop(points, size, first):
    """Greedy k-center as one matrix-vector product for each pick, with cached norms."""
    points = torch.from_numpy(points)
    norms = (points * points).sum(1)
    nearest = torch.full((len(points),), torch.inf)
    picks = [first]
    for _ in range(1, size):
        last = picks[-1]
        distances = torch.addmv(norms, points, points[last], alpha=-2).add_(norms[last])
        torch.minimum(nearest, distances, out=nearest)
        nearest[last] = -torch.inf
        picks.append(int(nearest.argmax()))
    return np.array(picks)


def activeml_kcenter(points, size, first):
    """scikit-activeml's CoreSet."""
    from skactiveml.pool import CoreSet

    labels = np.full(len(points), np.nan)
    labels[first] = 0
    rows = CoreSet(random_state=0).query(points, labels, batch_size=size - 1)
    return np.concatenate([[first], rows])


def apricot_facility_location(points, size):
    """Apricot's FacilityLocationSelection on squared distances, lazy greedy."""
    from apricot import FacilityLocationSelection

    model = FacilityLocationSelection(size, metric="euclidean", optimizer="lazy", random_state=0)
    return model.fit(points).ranking


def submodlib_facility_location(points, size):
    """Submodlib's FacilityLocationFunction on cosine similarity, lazy greedy."""
    from submodlib import FacilityLocationFunction

    function = FacilityLocationFunction(n=len(points), mode="dense", data=points, metric="cosine")
    picked = function.maximize(budget=size, optimizer="LazyGreedy", show_progress=False)
    return np.array([row for row, _ in picked])


def coverage(points, rows, metric):
    """Returns how well rows cover the points, in float64: what facility location raises."""
    distances = cdist(points.astype(np.float64), points[rows].astype(np.float64), metric)
    # Minus the distances: the constant of a similarity would hide a difference.
    return (
        np.maximum(1 - distances, 0).max(1).sum() if metric == "cosine" else -distances.min(1).sum()
    )


def gemv_badge(probs, embeddings, size, rng):
    """BADGE on materialized gradient embeddings: k-means++ with a product for each pick.

    It draws as alframe does (the largest of squared distance / exponential), to compare the rows.
    """
    rows = torch.arange(len(probs))
    probs, embeddings = torch.from_numpy(probs), torch.from_numpy(embeddings)
    errors = probs.clone()
    errors[rows, probs.argmax(1)] -= 1
    gradients = (errors[:, :, None] * embeddings[:, None, :]).flatten(1)
    norms = (gradients * gradients).sum(1)
    picks = [int(norms.argmax())]
    nearest = torch.full((len(probs),), torch.inf)
    for _ in range(1, size):
        last = picks[-1]
        distances = torch.addmv(norms, gradients, gradients[last], alpha=-2).add_(norms[last])
        torch.minimum(nearest, distances.clamp_min_(0), out=nearest)
        nearest[last] = 0
        arrival = torch.from_numpy(rng.standard_exponential(len(probs)))
        picks.append(int((nearest.double() / arrival).argmax()))
    return np.array(picks)


def _classifier(probs):
    """Builds what scikit-activeml asks for its probabilities and embeddings."""
    from skactiveml.base import SkactivemlClassifier

    class Given(SkactivemlClassifier):
        def fit(self, X, y, sample_weight=None):  # noqa: ARG002, N803
            """Keeps nothing: the probabilities are given."""
            return self

        def predict_proba(self, X, return_embeddings=False):  # noqa: N803
            """Returns what was given."""
            return (probs, X) if return_embeddings else probs

    return Given(classes=np.arange(probs.shape[1]))


def activeml_badge(probs, embeddings, size):
    """scikit-activeml's Badge."""
    from skactiveml.pool import Badge

    query = Badge(random_state=0, clf_embedding_flag_name="return_embeddings")
    labels = np.full(len(probs), np.nan)
    classifier = _classifier(probs)
    return query.query(embeddings, labels, clf=classifier, fit_clf=False, batch_size=size)


def exact_loop(points, size, first):
    """Greedy k-center by its definition: direct differences in float64."""
    points = points.astype(np.float64)
    nearest = np.full(len(points), np.inf)
    picks = [first]
    for i in range(1, size + 1):
        difference = points - points[picks[-1]]
        np.minimum(nearest, np.einsum("ij,ij->i", difference, difference), out=nearest)
        nearest[picks[-1]] = -1
        if i < size:
            picks.append(int(nearest.argmax()))
    return np.array(picks)
