"""Exact search against the definition."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from twins import Chunked, brute, clusters

from alframe.errors import UserError
from alframe.neighbors import exact, running
from alframe.neighbors.exact import ExactIndex
from alframe.neighbors.source import ArraySource

METRICS = ("euclidean", "cosine", "dot")


def built(points, metric="euclidean", **options):
    index = ExactIndex(metric, device="cpu", **options)
    index.build(points if hasattr(points, "chunks") else ArraySource(points))
    return index


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("k", [1, 9, 70, 700])
@pytest.mark.parametrize("keep_gib", [0, 1])
def test_is_the_definition(monkeypatch, metric, k, keep_gib):
    monkeypatch.setattr(exact, "_TILE_CPU", (7, 96))
    points = clusters(700, 12)
    queries = clusters(20, 12, seed=1)
    source = Chunked(ArraySource(points), 101)
    values, rows = built(source, metric, keep_gib=keep_gib).search(queries, k)
    expected, by_hand = brute(points, queries, k, metric)
    assert values.dtype == np.float32
    assert rows.dtype == np.int64
    np.testing.assert_array_equal(rows, by_hand)
    np.testing.assert_allclose(values, expected, rtol=1e-5, atol=1e-5)


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    n=st.integers(2, 150),
    d=st.integers(1, 6),
    metric=st.sampled_from(METRICS),
    whole=st.booleans(),
)
def test_ties_go_to_the_lowest_row_and_a_query_never_finds_its_own(seed, n, d, metric, whole):
    rng = np.random.default_rng(seed)
    # whole numbers: float64 is exact, and there are many ties and duplicates
    points = rng.integers(1, 3 if whole else 9, (n, d)).astype(np.float32)
    own = rng.integers(0, n, 5)
    k = int(rng.integers(1, n))
    values, rows = built(points, metric).search(points[own], k, own)
    expected, by_hand = brute(points, points[own], k, metric, own)
    if metric == "cosine":  # where roots round, equal directions need not give equal numbers
        np.testing.assert_allclose(values, expected, rtol=1e-6)
    else:
        np.testing.assert_array_equal(rows, by_hand)
    assert not (rows == own[:, None]).any()
    assert all(len(set(line)) == k for line in rows.tolist())


def test_all_rows_equal(monkeypatch):
    monkeypatch.setattr(exact, "_TILE_CPU", (4, 256))
    points = np.full((3000, 5), 0.1, dtype=np.float32)
    values, rows = built(points).search(points[:3], 20, np.array([0, 7, 2999]))
    assert (values == 0).all()
    assert rows[0].tolist() == list(range(1, 21))
    assert rows[1].tolist() == [row for row in range(21) if row != 7]
    assert rows[2].tolist() == list(range(20))


def test_many_near_ties_are_trimmed_and_still_right(monkeypatch):
    decided = []
    keep = running.decide
    monkeypatch.setattr(running, "decide", lambda *a: decided.append(a[1].shape) or keep(*a))
    monkeypatch.setattr(exact, "_TILE_CPU", (4, 512))
    rng = np.random.default_rng(0)
    points = (1 + 1e-7 * rng.integers(-5, 5, (4000, 3))).astype(np.float32)
    points[::2] *= -1  # far apart, so that no center helps float32
    queries = points[rng.integers(0, 4000, 6)]
    _, rows = built(points).search(queries, 5)
    np.testing.assert_array_equal(rows, brute(points, queries, 5, "euclidean")[1])
    assert len(decided) > 2  # more often than once for each block: memory stays bounded


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("scale", [1e-36, 1e-20, 1e15, 1e30])
def test_extreme_values_change_no_neighbor(metric, scale):
    points = clusters(400, 8) * np.float32(scale)
    queries = points[:9] * np.float32(1.25)
    rows = built(points, metric).search(queries, 12)[1]
    np.testing.assert_array_equal(rows, brute(points, queries, 12, metric)[1])


def test_a_large_common_offset_changes_no_neighbor():
    points = (clusters(400, 8) + 5000).astype(np.float32)
    rows = built(points).search(points[:50], 12)[1]
    np.testing.assert_array_equal(rows, brute(points, points[:50], 12, "euclidean")[1])


def test_one_row_far_away_changes_no_neighbor():
    points = clusters(400, 8)
    points[33] = 1e12
    rows = built(points).search(points[:30], 12)[1]
    np.testing.assert_array_equal(rows, brute(points, points[:30], 12, "euclidean")[1])


@pytest.mark.parametrize("metric", METRICS)
def test_shuffled_rows_give_the_shuffled_answer(metric):
    points, order = clusters(300, 9), np.random.default_rng(3).permutation(300)
    queries = clusters(11, 9, seed=4)
    rows = built(points, metric).search(queries, 10)[1]
    shuffled = built(points[order], metric).search(queries, 10)[1]
    np.testing.assert_array_equal(order[shuffled], rows)


def test_float16_is_searched_in_float32():
    points = clusters(300, 9).astype(np.float16)
    rows = built(points).search(points[:20].astype(np.float64), 10)[1]
    np.testing.assert_array_equal(rows, brute(points, points[:20], 10, "euclidean")[1])


def test_more_queries_than_are_kept_at_a_time(monkeypatch):
    monkeypatch.setattr(exact, "_PAIRS", 50)
    points = clusters(200, 4)
    rows = built(points).search(points, 10)[1]
    np.testing.assert_array_equal(rows, brute(points, points, 10, "euclidean")[1])


def test_no_queries():
    values, rows = built(clusters(20, 4)).search(np.empty((0, 4), np.float32), 3)
    assert values.shape == rows.shape == (0, 3)


@pytest.mark.parametrize("threads", [1, 2])
def test_the_number_of_threads_changes_nothing(threads):
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        points = clusters(500, 16)
        rows = built(points).search(points[:40], 25)[1]
    finally:
        torch.set_num_threads(before)
    np.testing.assert_array_equal(rows, brute(points, points[:40], 25, "euclidean")[1])


def test_another_device_is_refused():
    with pytest.raises(UserError, match=r"index\.device=nonsense"):
        ExactIndex(device="nonsense")


def test_queries_too_far_away_are_refused():
    index = built(clusters(50, 4))
    with pytest.raises(UserError, match="embed both alike"):
        index.search(np.full((1, 4), 1e30, np.float32), 3)
