"""A source of embeddings."""

import numpy as np
import pytest
from twins import clusters

from alframe.neighbors.source import ArraySource

POINTS = clusters(50, 4)


def test_the_key_is_that_of_shape_type_and_values(tmp_path):
    path = tmp_path / "points.npy"
    np.save(path, POINTS)
    key = ArraySource(POINTS).key
    assert ArraySource(np.load(path, mmap_mode="r")).key == key
    assert ArraySource(np.asfortranarray(POINTS)).key == key
    changed = POINTS.copy()
    changed[7, 2] += 1
    others = [changed, POINTS[::-1], POINTS.reshape(100, 2), POINTS.view(np.float16)]
    assert len({key, *(ArraySource(other).key for other in others)}) == 5
    assert ArraySource(POINTS, "mine").key == "mine"


@pytest.mark.parametrize("step", [1, 7, 50, 99])
def test_chunks_are_the_rows_in_order(step):
    chunks = list(ArraySource(POINTS).chunks(step))
    assert [start for start, _ in chunks] == list(range(0, 50, step))
    np.testing.assert_array_equal(np.concatenate([chunk for _, chunk in chunks]), POINTS)


def test_rows_are_taken_in_their_order():
    source = ArraySource(POINTS.astype(np.float16))
    taken = source.take(np.array([9, 0, 9]))
    assert taken.dtype == np.float32
    np.testing.assert_array_equal(taken, POINTS.astype(np.float16)[[9, 0, 9]])
    for row in (-1, 50):
        with pytest.raises(IndexError, match="rows from 0 to 49"):
            source.take(np.array([row]))


@pytest.mark.parametrize("bad", [POINTS[0], POINTS.astype(np.float64), POINTS.astype(np.int32)])
def test_other_arrays_are_refused(bad):
    with pytest.raises(ValueError, match="float16 or float32"):
        ArraySource(bad)


def test_chunks_have_rows():
    with pytest.raises(ValueError, match="1 or more rows"):
        next(ArraySource(POINTS).chunks(0))
