"""Profiles against rliable and a slow twin."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from report_runs import row, write_run
from rliable_here import library

from alframe.report.groups import make_groups
from alframe.report.profiles import RATIO, SCORE, Profile, profiles, ratio_shares, score_shares
from alframe.report.runs import find, load
from alframe.report.settings import make_settings

SCORES = {
    "digits": {"a": [0.80, 0.90, 0.85, 0.86], "b": [0.70, 0.75, 0.92, 0.71]},
    "cifar10": {"a": [0.50, 0.52, 0.51, 0.49], "b": [0.60, 0.61, 0.62, 0.60]},
    "svhn": {"a": [0.30, 0.34, 0.33, 0.32], "b": [0.32, 0.30, 0.31, 0.33]},
}


def profile_of(folder: Path, scores: dict[str, dict[str, list[float]]]) -> list[Profile]:
    for data, strategies in scores.items():
        for strategy, values in strategies.items():
            for seed, value in enumerate(values):
                rows = [row("f0", 10, value - 0.1), row("f1", 20, value + 0.1, round_id=1)]
                choices = {"strategy": strategy, "data": data}
                place = folder / data / f"{strategy}{seed}"
                write_run(place, rows, seed=seed, choices=choices, config={"data": data})
    return profiles(make_settings(make_groups([load(path) for path in find([folder])])))


def test_the_score_profile_is_rliables() -> None:
    scores = np.random.default_rng(0).normal(0.8, 0.05, 12)
    at = np.linspace(0.6, 1.0, 33)
    np.random.seed(0)  # noqa: NPY002 (rliable draws from the global state)
    means, bounds = library.create_performance_profile({"us": scores[:, None]}, at, reps=2000)
    share, low, high = score_shares(scores, at)
    assert share == pytest.approx(means["us"])
    # bounds are multiples of 1/12: with the draws they move by one step at most
    for ours, theirs in ((low, bounds["us"][0]), (high, bounds["us"][1])):
        assert np.abs(ours - theirs).max() <= 1 / 12 + 1e-9
        assert np.mean(np.abs(ours - theirs) < 1e-9) > 0.8


def test_a_run_is_not_above_its_own_score() -> None:
    assert score_shares([0.5, 0.7, 0.9], [0.5, 0.9])[0].tolist() == pytest.approx([2 / 3, 0])


def test_fewer_than_three_runs_have_no_band() -> None:
    share, low, high = score_shares([0.5, 0.7], [0.4, 0.6, 0.8])
    assert list(share) == [1.0, 0.5, 0.0]
    assert np.isnan([low, high]).all()


def test_ratios_are_the_slow_twins() -> None:
    costs = np.random.default_rng(1).random((4, 6)) + 0.1
    at = [1.0, 1.2, 2.0, 5.0]
    for strategy in range(4):
        for place, factor in enumerate(at):
            near = sum(
                costs[strategy, k] <= factor * min(costs[i, k] for i in range(4)) for k in range(6)
            )
            assert ratio_shares(costs, at)[strategy, place] == pytest.approx(near / 6)
    both = ratio_shares(np.stack([costs, 2 * costs]), at)
    assert both[0] == pytest.approx(both[1]), "a common factor changes nothing"


def test_a_cost_of_zero_is_the_best_and_nothing_is_near_it() -> None:
    assert ratio_shares([[0.0, 0.2], [0.1, 0.1]], [1.0, 2.0, 100.0]).tolist() == [
        [0.5, 1.0, 1.0],
        [0.5, 0.5, 0.5],
    ]


def test_several_settings_give_the_share_of_settings(tmp_path: Path) -> None:
    (profile,) = profile_of(tmp_path, SCORES)
    assert (profile.kind, profile.seeds, profile.left_out) == (RATIO, 4, ())
    assert profile.settings == ("cifar10", "digits", "svhn")
    errors = {name: [1 - np.mean(SCORES[d][name]) for d in profile.settings] for name in "ab"}
    table = profile.table.set_index("strategy")
    for name in "ab":
        mine = table.loc[name]
        for at, share in zip(mine["at"], mine["share"], strict=True):
            near = [errors[name][k] <= at * min(errors["a"][k], errors["b"][k]) for k in range(3)]
            assert share == pytest.approx(np.mean(near))
        assert mine["share"].iloc[-1] == 1, "the axis reaches the worst one"
        assert (mine["low"] <= mine["share"] + 1e-9).all()
        assert (mine["share"] <= mine["high"] + 1e-9).all()
    assert table.loc["a", "share"].iloc[0] + table.loc["b", "share"].iloc[0] == pytest.approx(1)


def test_one_setting_gives_the_share_of_runs(tmp_path: Path) -> None:
    (profile,) = profile_of(tmp_path, {"digits": SCORES["digits"]})
    assert (profile.kind, profile.settings) == (SCORE, ("digits",))
    for name, mine in profile.table.groupby("strategy"):
        scores = np.array(SCORES["digits"][str(name)])
        shares = [(scores > at).mean() for at in mine["at"]]
        # areas are means of two sums: equal to the scores but for rounding
        assert np.mean(np.abs(mine["share"] - shares) < 1e-9) > 0.98
        assert mine["share"].iloc[0] == 1
        assert mine["share"].iloc[-1] == 0


def test_who_lacks_a_setting_is_left_out_and_named(tmp_path: Path) -> None:
    scores = {data: dict(found) for data, found in SCORES.items()}
    scores["digits"]["c"] = [0.9, 0.9, 0.9]
    (profile,) = profile_of(tmp_path, scores)
    assert profile.left_out == ("c",)
    assert set(profile.table["strategy"]) == {"a", "b"}


def test_two_seeds_have_no_band(tmp_path: Path) -> None:
    few = {data: {n: v[:2] for n, v in found.items()} for data, found in SCORES.items()}
    (profile,) = profile_of(tmp_path, few)
    assert profile.seeds == 2
    assert profile.table[["low", "high"]].isna().all(axis=None)
