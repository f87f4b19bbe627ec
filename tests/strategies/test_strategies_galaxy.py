"""GALAXY by row number: the kernel's own tests hold what it picks."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
from strategy_worlds import select, strategy_of, world

from alframe.strategies.galaxy import Galaxy


def binary(cut, labeled, count=40):
    """Rows 10, 20, .. whose probability of class 1 rises; from row ``cut`` on they are of it."""
    rows = 10 * np.arange(1, count + 1)
    p = torch.linspace(0.01, 0.99, count, dtype=torch.float64)
    seen = world(rows=count, labeled=0, candidates=count)
    return replace(
        seen,
        num_rows=10 * count + 11,
        rows=rows,
        labeled=np.array(labeled),
        candidates=np.setdiff1d(rows, labeled),
        labels=(rows >= cut).astype(np.int64),
        probs=torch.stack([1 - p, p], dim=1),
    )


def test_the_row_in_the_middle_of_the_gap_where_the_labels_change():
    assert select(Galaxy(), binary(310, [10, 250, 350]), 1).rows.tolist() == [300]
    # Not the model's threshold, 200, nor between equal labels.
    assert select(Galaxy(), binary(90, [10, 30, 130, 400]), 1).rows.tolist() == [80]


def test_the_next_query_goes_on_where_the_labels_change():
    labeled = [10, 400]
    for _ in range(6):
        labeled += select(Galaxy(), binary(70, labeled), 1).rows.tolist()
    assert {60, 70} <= set(labeled)


def test_a_query_divides_the_gap_into_equal_parts():
    query = select(Galaxy(), binary(310, [10, 250, 350]), 3)
    assert query.rows[0] == 300
    assert set(query.rows[1:]) <= {270, 280, 320, 330}
    assert query.scores is None


def test_the_rows_around_a_cut_where_it_is_found():
    query = select(Galaxy(), binary(310, [10, 300, 310, 400]), 6)
    assert set(query.rows) == {270, 280, 290, 320, 330, 340}


def test_a_class_without_a_label_is_looked_for_where_it_is_likeliest():
    seen = binary(500, [10, 250])  # only class 0 has labels
    query = select(Galaxy(), seen, 4)
    assert {400, 390} <= set(query.rows)  # the turns of class 1
    assert {20, 30}.isdisjoint(query.rows)


def test_it_needs_labels_that_come_with_the_rounds():
    assert strategy_of("galaxy").pipelines == {"active_learning"}
