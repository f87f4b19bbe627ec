"""Every public kernel: numpy in means numpy out, torch in means torch out, with the same values."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from alframe import functional

ROWS, CLASSES = 40, 3
POINTS = np.random.default_rng(0).normal(size=(ROWS, 4))
PROBS = np.random.default_rng(1).dirichlet(np.ones(CLASSES), ROWS)
DRAWS = np.random.default_rng(2).dirichlet(np.ones(CLASSES), (ROWS, 5))
LABELS = PROBS.argmax(1)
NEAR = functional.pairwise_topk(POINTS, POINTS, 3, exclude_self=True)[1]

# Arrays, then what is no array. A generator is made anew for each call.
CALLS = {
    "assign_counts": ([POINTS, np.array([3, 9])], []),
    "average_linkage": ([POINTS], [4]),
    "badge_select": ([PROBS, POINTS], [5, "rng"]),
    "bait_greedy": ([PROBS, POINTS], [5]),
    "bald": ([DRAWS], []),
    "batch_bald_greedy": ([DRAWS], [4, "rng"]),
    "coverage_centric": ([POINTS[:, 0]], [5, "rng", {"beta": 0.1, "strata": 3}]),
    "d2_greedy": ([POINTS, POINTS[:, 0]], [5]),
    "distinct_rows": ([POINTS], [0.9]),
    "entropy": ([PROBS], []),
    "facility_location_greedy": ([POINTS], [5]),
    "facility_location_sparse": ([NEAR, np.full(NEAR.shape, 0.5)], [5]),
    "galaxy_bisect": ([PROBS, np.array([3, 9]), LABELS[[3, 9]]], [5]),
    "graph_cut_greedy": ([POINTS], [5]),
    "gumbel_top_k": ([PROBS[:, 0]], [5, "rng"]),
    "herding_greedy": ([POINTS], [5]),
    "joint_entropy_exact": ([DRAWS[:4]], []),
    "joint_entropy_sampled": ([DRAWS[:4], "rng"], []),
    "kcenter_greedy": ([POINTS], [5]),
    "kmeans_pp": ([POINTS], [5, "rng"]),
    "last_layer_gradients": ([PROBS, POINTS, LABELS], []),
    "least_confidence": ([PROBS], []),
    "margin": ([PROBS], []),
    "max_coverage_greedy": ([POINTS], [5, 0.5]),
    "mean_cosine": ([POINTS], []),
    "mean_std": ([DRAWS], []),
    "most_likely_positive": ([PROBS], []),
    "nearest_center": ([POINTS, POINTS[:3]], []),
    "nearest_to_centroids": ([POINTS, POINTS[:3] + 0.1], []),
    "neighbor_divergence": ([PROBS, PROBS, NEAR], []),
    "omp_match": ([POINTS], [3]),
    "pairwise_topk": ([POINTS[:5], POINTS], [3]),
    "purity_radius": ([POINTS, LABELS], []),
    "residuals": ([PROBS, LABELS], []),
    "variation_ratio": ([DRAWS], []),
}


def outcome(name, convert):
    arrays, rest = CALLS[name]
    given = [
        np.random.default_rng(0) if value == "rng" else value
        for value in rest
        if not isinstance(value, dict)
    ]
    arrays = [
        np.random.default_rng(0) if isinstance(value, str) else convert(value) for value in arrays
    ]
    options = next((value for value in rest if isinstance(value, dict)), {})
    found = getattr(functional, name)(*arrays, *given, **options)
    return found if isinstance(found, tuple) else (found,)


def test_all_are_here():
    assert set(CALLS) == set(functional.__all__)


@pytest.mark.parametrize("name", CALLS)
def test_the_kind_and_the_values(name):
    ours = outcome(name, np.array)
    theirs = outcome(name, torch.tensor)
    for one, other in zip(ours, theirs, strict=True):
        if isinstance(one, np.ndarray):
            assert isinstance(other, torch.Tensor)
            assert one.dtype == other.numpy().dtype
            np.testing.assert_array_equal(one, other.numpy())
        elif isinstance(one, float):
            assert one == other
        else:  # gradients that are never built
            assert torch.equal(one.build(), other.build())


@pytest.mark.parametrize("dtype", ["<u2", "<u4", "<u8", ">f4", ">i2", "g"])
def test_every_real_dtype_is_taken(dtype):
    points = np.random.default_rng(0).integers(0, 50, (40, 3)).astype(np.float64)
    expected, _ = functional.kcenter_greedy(points, 9)
    rows, _ = functional.kcenter_greedy(points.astype(dtype), 9)
    assert rows.tolist() == expected.tolist()
    found, _ = functional.herding_greedy(points.astype(dtype), 9)
    assert found.tolist() == functional.herding_greedy(points, 9)[0].tolist()


@pytest.mark.parametrize(
    "points", [np.ones((5, 2), complex), torch.ones(5, 2) * 1j, np.full((5, 2), "a")]
)
def test_what_is_no_real_number_is_refused(points):
    with pytest.raises(ValueError, match="expected real numbers, got"):
        functional.kcenter_greedy(points, 2)
