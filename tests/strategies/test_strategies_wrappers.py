"""Class balance, mixtures and the exclusion of near duplicates against plain loops."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from strategy_worlds import select, strategy_of, world

from alframe.errors import UserError
from alframe.functional import entropy
from alframe.strategies.class_balance import ClassBalance
from alframe.strategies.distinct import Distinct
from alframe.strategies.kcenter import KCenter
from alframe.strategies.mixture import Mixture
from alframe.strategies.random import Random
from alframe.strategies.top_score import TopScore


def by_row(seen, values):
    return dict(zip(seen.rows.tolist(), values, strict=True))


# --- class balance ---


@pytest.mark.parametrize("size", [1, 5, 17, 37])
@pytest.mark.parametrize("seed", range(3))
def test_each_pick_is_the_most_uncertain_of_the_label_with_fewest(seed, size):
    seen = world(seed)
    labels = by_row(seen, seen.labels.tolist())
    guess = by_row(seen, seen.probs.argmax(1).tolist())
    score = by_row(seen, entropy(seen.probs).tolist())
    held = [labels[row] for row in seen.labeled.tolist()]
    left, picks = seen.candidates.tolist(), []
    for _ in range(size):
        least = min({guess[row] for row in left}, key=lambda label: (held.count(label), label))
        picks.append(max((r for r in left if guess[r] == least), key=lambda r: score[r]))
        left.remove(picks[-1])
        held.append(least)
    query = select(ClassBalance(TopScore(entropy)), seen, size, pipeline="active_learning")
    assert sorted(query.rows.tolist()) == sorted(picks)


def test_true_labels_in_core_sets_come_out_even():
    seen = world(rows=80, labeled=0, candidates=80)
    query = select(ClassBalance(Random(), by="labels"), seen, 25, pipeline="core_set")
    labels = by_row(seen, seen.labels.tolist())
    counts = np.bincount([labels[row] for row in query.rows.tolist()])
    assert counts.tolist() == [5] * 5


def test_true_labels_are_for_core_sets_and_labeled_rows_may_be_ignored():
    assert ClassBalance(Random(), by="labels").pipelines == {"core_set"}
    seen = replace(world(), labels=np.zeros(53, dtype=np.int64))
    balanced = ClassBalance(TopScore(entropy), count_labeled=False)
    query = select(balanced, seen, 10, pipeline="active_learning")
    guess = by_row(seen, seen.probs.argmax(1).tolist())
    assert np.bincount([guess[row] for row in query.rows.tolist()]).tolist() == [2] * 5
    with pytest.raises(UserError, match=r"strategy\.by=guess"):
        ClassBalance(Random(), by="guess")


def test_weights_of_the_strategy_inside_are_kept():
    inner = strategy_of("craig")
    query = select(ClassBalance(inner, by="labels"), world(), 20)
    assert query.weights.shape == (20,)


# --- mixture ---


@pytest.mark.parametrize(("first", "expected"), [(1, 10), (3, 15), (19, 19)])
def test_shares_follow_the_weights(first, expected):
    seen = world()
    parts = {"sure": TopScore(entropy), "wide": KCenter()}
    query = select(Mixture(parts, {"sure": first, "wide": 1}), seen, 20, pipeline="core_set")
    uncertain = select(TopScore(entropy), seen, expected).rows
    assert set(uncertain) <= set(query.rows)
    left = np.setdiff1d(seen.candidates, uncertain)
    wide = select(
        KCenter(), replace(seen, candidates=left), 20 - expected, pipeline="core_set"
    ).rows
    assert set(query.rows) == {*uncertain, *wide}


def test_needs_of_one_kind_in_two_forms_live_together():
    """Entropy wants one number a row, BADGE the probabilities themselves."""
    mixed = Mixture({"a": TopScore(entropy), "b": strategy_of("badge")}, {"a": 1, "b": 1})
    assert len(select(mixed, world(), 20).rows) == 20
    assert mixed.stochastic


def test_pipelines_are_those_of_all_parts():
    mixed = Mixture({"a": Random(), "b": strategy_of("forgetting")}, {"a": 1, "b": 1})
    assert mixed.pipelines == {"core_set"}


def test_weights_for_other_parts_are_refused():
    with pytest.raises(UserError, match="one weight for each of"):
        Mixture({"a": Random()}, {"b": 1})
    with pytest.raises(UserError, match=r"strategy\.weights\.a=0"):
        Mixture({"a": Random()}, {"a": 0})


# --- near duplicates ---


def test_copies_come_last():
    seen = world()
    copies = torch.arange(len(seen.rows)) // 3
    seen = replace(seen, embeddings=seen.embeddings[copies], probs=seen.probs)
    group = by_row(seen, copies.tolist())
    labeled = {group[row] for row in seen.labeled.tolist()}
    fresh = {group[row] for row in seen.candidates.tolist()} - labeled
    query = select(Distinct(TopScore(entropy), 1 - 1e-9), seen, 37, pipeline="active_learning")
    kept = [group[row] for row in query.rows.tolist()][: len(fresh)]
    assert sorted(kept) == sorted(fresh)
    score = by_row(seen, entropy(seen.probs).tolist())
    best = {g: max(score[r] for r in seen.candidates.tolist() if group[r] == g) for g in fresh}
    assert sorted(score[row] for row in query.rows.tolist()[: len(fresh)]) == sorted(best.values())


def test_without_duplicates_nothing_changes():
    plain = select(TopScore(entropy), world(), 20).rows
    query = select(Distinct(TopScore(entropy), similarity=1.0), world(), 20)
    np.testing.assert_array_equal(query.rows, plain)
    with pytest.raises(UserError, match=r"strategy\.similarity=2"):
        Distinct(Random(), similarity=2)


def test_parts_without_a_pipeline_in_common_are_refused():
    parts = {"first": strategy_of("cal"), "second": strategy_of("craig")}
    with pytest.raises(UserError, match=r"first in active_learning, second in core_set"):
        Mixture(parts, {"first": 1, "second": 1})
    with pytest.raises(UserError, match=r"strategy\.by=labels .* set strategy\.by=predicted"):
        ClassBalance(strategy_of("cal"), by="labels")
