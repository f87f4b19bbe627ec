"""BADGE, BAIT, CRAIG, GradMatch, herding, facility location, graph cut: by row, in plain loops."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from strategy_worlds import select, strategy_of, world

from alframe.errors import UserError
from alframe.functional.badge import badge_select
from alframe.functional.fisher import bait_greedy
from alframe.strategies.badge import Badge
from alframe.strategies.bait import Bait
from alframe.strategies.facility_location import FacilityLocation
from alframe.strategies.grad_match import GradMatch
from alframe.strategies.graph_cut import GraphCut
from alframe.strategies.herding import Herding


def by_row(seen, values):
    return dict(zip(seen.rows.tolist(), values, strict=True))


def labels_of(seen):
    return by_row(seen, seen.labels.tolist())


def groups(seen):
    labels = labels_of(seen)
    rows = seen.candidates.tolist()
    return {
        label: [r for r in rows if labels[r] == label] for label in sorted(set(labels.values()))
    }


@pytest.mark.parametrize("centers", [False, True])
def test_badge_draws_from_the_candidates_in_the_order_of_their_rows(centers):
    seen = world()
    rows = np.union1d(seen.candidates, seen.labeled) if centers else seen.candidates
    probs, points = by_row(seen, seen.probs), by_row(seen, seen.embeddings)
    table = [torch.stack([values[row] for row in rows.tolist()]) for values in (probs, points)]
    known = [i for i, row in enumerate(rows.tolist()) if centers and row in seen.labeled]
    picks = badge_select(*table, 9, np.random.default_rng(4), known)
    query = select(Badge(centers), seen, 9, seed=4, pipeline="active_learning")
    assert query.rows.tolist() == rows[picks].tolist()


def test_bait_weighs_labeled_rows_and_asks_for_what_is_new():
    seen = world()
    rows = np.union1d(seen.candidates, seen.labeled)
    at = [np.flatnonzero(seen.rows == row)[0] for row in rows]
    known = [i for i, row in enumerate(rows) if row in seen.labeled]
    picks = bait_greedy(seen.probs[at], seen.embeddings[at], 8, given=known)
    query = select(Bait(), seen, 8, pipeline="active_learning")
    assert query.rows.tolist() == rows[picks].tolist()
    for key, value in (("ridge", 0), ("oversample", 0.5)):
        with pytest.raises(UserError, match=rf"strategy\.{key}={value}"):
            Bait(**{key: value})


@pytest.mark.parametrize("size", [5, 20])
def test_craig_weighs_each_pick_by_the_rows_that_are_nearest_to_it(size):
    seen = world(rows=90, candidates=75)
    query = select(strategy_of("craig"), seen, size)
    probs, labels = by_row(seen, seen.probs.numpy()), labels_of(seen)
    weight = dict(zip(query.rows.tolist(), query.weights.tolist(), strict=True))
    for label, members in groups(seen).items():
        picks = [row for row in query.rows.tolist() if labels[row] == label]
        if not picks:
            continue
        nearest = [min(picks, key=lambda p: np.linalg.norm(probs[p] - probs[r])) for r in members]
        assert [weight[p] for p in picks] == [nearest.count(p) for p in picks]


def test_craig_picks_the_medoids():
    """Two tight groups of gradients in one label: one pick of each, weighted by their numbers."""
    seen = world(rows=40, labeled=0, candidates=40)
    first = torch.arange(40) < 28
    probs = torch.where(first[:, None], torch.tensor([0.9, 0.1, 0, 0, 0]).double(), 0.2)
    probs = probs + 1e-3 * world(rows=40).probs
    seen = replace(seen, probs=probs / probs.sum(1, keepdim=True), labels=np.zeros(40, dtype=int))
    query = select(strategy_of("craig"), seen, 2)
    assert sorted(query.weights.tolist()) == [12.0, 28.0]


def test_grad_match_meets_the_gradient_of_each_label():
    seen = world(rows=200, labeled=0, candidates=200)
    query = select(GradMatch(ridge=1e-3), seen, 60)
    labels, probs, points = labels_of(seen), by_row(seen, seen.probs), by_row(seen, seen.embeddings)
    weight = dict(zip(query.rows.tolist(), query.weights.tolist(), strict=True))
    for label, members in groups(seen).items():
        gradient = {r: ((probs[r][label] - 1) * points[r]).numpy() for r in members}
        goal = sum(gradient.values())
        picks = [row for row in query.rows.tolist() if labels[row] == label]
        matched = sum(weight[row] * gradient[row] for row in picks)
        plain = sum(gradient[row] for row in picks) * (len(members) / len(picks))
        assert np.linalg.norm(matched - goal) < 0.2 * np.linalg.norm(plain - goal) + 0.05
        assert abs(len(picks) - 60 * len(members) / 200) < 1
    with pytest.raises(UserError, match=r"strategy\.ridge=0"):
        GradMatch(ridge=0)


@pytest.mark.parametrize("by_label", [True, False])
def test_herding_starts_with_the_rows_nearest_to_the_means(by_label):
    seen = world(rows=80, labeled=0, candidates=80)
    points = by_row(seen, seen.embeddings.numpy())
    query = select(Herding(by_label), seen, 5)
    parts = groups(seen).values() if by_label else [seen.candidates.tolist()]
    first = []
    for members in parts:
        mean = np.mean([points[row] for row in members], axis=0)
        first.append(min(members, key=lambda row: np.linalg.norm(points[row] - mean)))
    if by_label:
        assert set(first) <= set(select(Herding(), seen, 40).rows.tolist())
    else:
        assert query.rows[0] == first[0]
    with pytest.raises(UserError, match=r"strategy\.by_label=5"):
        Herding(5)


def cosines(seen):
    rows = np.union1d(seen.candidates, seen.labeled).tolist()
    points = by_row(seen, seen.embeddings.numpy())
    unit = {row: points[row] / np.linalg.norm(points[row]) for row in rows}
    return rows, {(a, b): float(unit[a] @ unit[b]) for a in rows for b in rows}


@pytest.mark.parametrize("labeled", [0, 12])
def test_facility_location_covers_labeled_rows_and_candidates(labeled):
    seen = world(rows=60, labeled=labeled, candidates=40)
    rows, cosine = cosines(seen)
    chosen, picks, gains = seen.labeled.tolist(), [], []

    def value(members):
        return sum(max([cosine[row, m] for m in members] + [0]) for row in rows)

    for _ in range(8):
        free = [row for row in seen.candidates.tolist() if row not in picks]
        best = max(free, key=lambda row: round(value([*chosen, *picks, row]), 9))
        gains.append(value([*chosen, *picks, best]) - value([*chosen, *picks]))
        picks.append(best)
    query = select(FacilityLocation(), seen, 8, pipeline="active_learning")
    assert query.rows.tolist() == picks
    np.testing.assert_allclose(query.scores, gains, rtol=1e-9)


@pytest.mark.parametrize("trade_off", [0.2, 0.5, 1.5])
def test_graph_cut_is_like_all_and_unlike_the_labeled(trade_off):
    seen = world()
    rows, cosine = cosines(seen)
    chosen = seen.labeled.tolist()
    picks = []
    for _ in range(8):
        free = [row for row in seen.candidates.tolist() if row not in picks]
        members = [*chosen, *picks]

        def gain(row, members=members):
            own = cosine[row, row] + 2 * sum(cosine[row, m] for m in members)
            return sum(cosine[row, other] for other in rows) - trade_off * own

        picks.append(max(free, key=gain))
    query = select(GraphCut(trade_off), seen, 8, pipeline="active_learning")
    assert query.rows.tolist() == picks


@pytest.mark.parametrize("strategy", [FacilityLocation, GraphCut])
def test_another_metric_is_refused(strategy):
    with pytest.raises(UserError, match=r"strategy\.metric=taxi"):
        strategy(metric="taxi")
