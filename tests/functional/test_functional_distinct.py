"""Near duplicates against a loop over pairs."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from alframe.functional.distinct import distinct_rows


def twin(points, limit, known=()):
    kept, marks = [np.asarray(row, dtype=np.float64) for row in known], []
    for point in np.asarray(points, dtype=np.float64):
        length = np.linalg.norm(point)
        cosines = [point @ k / (length * np.linalg.norm(k)) if length else 0 for k in kept]
        marks.append(all(c < limit for c in cosines))
        if marks[-1]:
            kept.append(point)
    return marks


@pytest.mark.parametrize("limit", [-0.2, 0.3, 0.8, 0.999])
@pytest.mark.parametrize("rows", [1, 40, 700])
@pytest.mark.parametrize("known", [0, 5])
def test_against_pairs(limit, rows, known):
    rng = np.random.default_rng(rows)
    points, before = rng.normal(size=(rows, 3)), rng.normal(size=(known, 3))
    marks = distinct_rows(points, limit, before)
    assert marks.dtype == bool
    assert marks.tolist() == twin(points, limit, before)


@pytest.mark.parametrize("scale", [1e-300, 1.0, 1e300])
def test_length_is_no_difference(scale):
    points = np.array([[1.0, 2.0], [3.0, 6.0], [2.0, -1.0], [-1.0, -2.0]]) * scale
    assert distinct_rows(points, 1 - 1e-9).tolist() == [True, False, True, True]


def test_zero_vectors_are_like_nothing_and_torch_stays_torch():
    marks = distinct_rows(torch.zeros(3, 2).half(), 0.9)
    assert (marks.dtype, marks.tolist()) == (torch.bool, [True] * 3)


def test_nan_is_refused():
    with pytest.raises(ValueError, match=r"1 bad rows of 2: 1$"):
        distinct_rows(np.array([[0.0], [np.nan]]), 0.9)
