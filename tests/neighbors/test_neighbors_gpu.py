"""On a GPU the same rows are found as on a CPU."""

import numpy as np
import pytest
from twins import clusters

from alframe.neighbors.exact import ExactIndex
from alframe.neighbors.kinds import faiss
from alframe.neighbors.source import ArraySource

POINTS = clusters(4000, 16)
SOURCE, ROWS = ArraySource(POINTS), np.arange(0, 4000, 50)


def found(index):
    index.build(SOURCE)
    return index.search(POINTS[ROWS], 20, ROWS)


@pytest.mark.gpu
@pytest.mark.parametrize("metric", ["euclidean", "cosine", "dot"])
def test_exact_search(metric):
    values, rows = found(ExactIndex(metric=metric, device="cuda"))
    expected, expected_rows = found(ExactIndex(metric=metric, device="cpu"))
    np.testing.assert_array_equal(rows, expected_rows)
    np.testing.assert_allclose(values, expected, rtol=1e-6)


@pytest.mark.gpu
@pytest.mark.parametrize("factory", ["Flat", "IVF16,Flat"])
def test_search_by_faiss(factory, caplog):
    caplog.set_level("INFO")
    words = {"factory": factory, "nprobe": 4, "refine": 2}
    rows = found(faiss(**words))[1]
    assert f"index {factory} is searched on GPUs" in caplog.text
    np.testing.assert_array_equal(rows, found(faiss(**words, gpu=False))[1])
