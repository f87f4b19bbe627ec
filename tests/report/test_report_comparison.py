"""Penalties, paired tests and Holm's correction against scipy, statsmodels and slow twins."""

from __future__ import annotations

import math
from collections.abc import Mapping
from itertools import permutations
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from report_runs import core_set_rows, row, write_run
from scipy import stats
from statsmodels.stats.multitest import multipletests

from alframe.report.comparison import budgets, matrix, pairs, penalties
from alframe.report.groups import make_groups
from alframe.report.paired import holm, paired_t
from alframe.report.runs import find, load
from alframe.report.settings import Setting, make_settings

PS = st.lists(st.floats(0, 1), min_size=1, max_size=12)
Curves = Mapping[str, Mapping[int, Mapping[int, float]]]


def settings_of(folder: Path) -> list[Setting]:
    return make_settings(make_groups([load(path) for path in find([folder])]))


def write(folder: Path, curves: Curves, data: str = "digits") -> Path:
    """Writes runs by strategy, seed and budget."""
    for strategy, seeds in curves.items():
        for seed, curve in seeds.items():
            rows = [row(f"f{i}", at, value, round_id=i) for i, (at, value) in
                    enumerate(curve.items())]  # fmt: skip
            write_run(folder / data / f"{strategy}{seed}", rows, seed=seed,
                      choices={"strategy": strategy, "data": data},
                      config={"data": {"_target_": f"alframe.data.{data}"}})  # fmt: skip
    return folder


def random_curves(
    seed: int, strategies: tuple[str, ...], seeds: int = 5, at: tuple[int, ...] = (10, 20, 30, 50)
) -> dict[str, dict[int, dict[int, float]]]:
    rng = np.random.default_rng(seed)
    return {
        name: {
            s: {place: round(0.5 + 0.03 * i + 0.02 * rng.standard_normal(), 4) for place in at}
            for s in range(seeds)
        }
        for i, name in enumerate(strategies)
    }


@pytest.mark.parametrize("m", [1, 2, 7, 40])
def test_holm_is_statsmodels(m: int) -> None:
    p = np.random.default_rng(m).random(m) ** 3
    assert holm(p) == pytest.approx(multipletests(p, method="holm")[1])


@given(PS)
def test_holm_is_the_slow_twins(p: list[float]) -> None:
    # the step-down procedure itself: at which level would each hypothesis be rejected?
    ranked = sorted(range(len(p)), key=lambda i: p[i])
    twin = [0.0] * len(p)
    for place, i in enumerate(ranked):
        steps = [min(1.0, (len(p) - before) * p[ranked[before]]) for before in range(place + 1)]
        twin[i] = max(steps)
    assert holm(p) == pytest.approx(twin)


def test_holm_leaves_out_what_was_not_tested() -> None:
    assert holm([0.04, math.nan, 0.01]) == pytest.approx([0.04, math.nan, 0.02], nan_ok=True)
    assert len(holm([])) == 0


@given(st.integers(3, 8), st.integers(0, 1000))
def test_the_paired_test_is_scipys(n: int, seed: int) -> None:
    first, second = np.random.default_rng(seed).random((2, n, 3))
    t, p, pairs_of = paired_t(first - second)
    scipys = stats.ttest_rel(first, second)
    assert t == pytest.approx(scipys.statistic)
    assert p == pytest.approx(scipys.pvalue)
    assert list(pairs_of) == [n] * 3


def test_a_missing_pair_is_left_out_and_two_are_no_test() -> None:
    t, p, n = paired_t([[0.1, 0.1], [math.nan, math.nan], [0.2, 0.3], [0.5, math.nan]])
    assert t[0] == pytest.approx(stats.ttest_1samp([0.1, 0.2, 0.5], 0).statistic)
    assert math.isnan(t[1])
    assert math.isnan(p[1])
    assert list(n) == [3, 2]


def test_the_same_difference_in_each_seed_is_certain_and_none_is_no_test() -> None:
    t, p, _ = paired_t([[-0.02, 0.0]] * 3)
    assert (t[0], p[0]) == (-math.inf, 0.0)
    assert math.isnan(p[1])


CONSTANT = dict.fromkeys(range(100, 1101, 100), 0.5)


def test_budgets_double_from_the_first_query_on(tmp_path: Path) -> None:
    (setting,) = settings_of(write(tmp_path, {"a": {0: CONSTANT}, "b": {0: CONSTANT}}))
    # 100 + 100 x 1, 2, 4, 8
    assert budgets(setting) == [200, 300, 500, 900]


def test_budgets_end_where_random_has_learnt(tmp_path: Path) -> None:
    # its last accuracy is 0.9, of which 99 % are 0.891: reached at 500 labels
    learning = {at: 0.895 if at >= 500 else 0.8 for at in CONSTANT} | {1100: 0.9}
    (setting,) = settings_of(write(tmp_path, {"a": {0: CONSTANT}, "random": {0: learning}}))
    assert budgets(setting) == [200, 300]


def test_the_first_query_counts_even_where_random_knew_all_before(tmp_path: Path) -> None:
    (setting,) = settings_of(write(tmp_path, {"a": {0: CONSTANT}, "random": {0: CONSTANT}}))
    assert budgets(setting) == [200]


def test_budgets_that_already_double_all_count(tmp_path: Path) -> None:
    curve = dict.fromkeys((100, 200, 400, 800, 1600), 0.5)
    (setting,) = settings_of(write(tmp_path, {"a": {0: curve}, "b": {0: curve}}))
    assert budgets(setting) == [200, 400, 800, 1600]


def test_every_size_of_a_core_set_counts(tmp_path: Path) -> None:
    for strategy in ("a", "b"):
        rows = core_set_rows({100: 0.7, 200: 0.8, 500: 0.9})
        write_run(tmp_path / strategy, rows, pipeline="core_set", choices={"strategy": strategy})
    (setting,) = settings_of(tmp_path)
    assert (setting.pipeline, budgets(setting)) == ("core_set", [100, 200, 500])


def penalties_slowly(all_curves: list[Curves], at: list[int]) -> dict[tuple[str, str], float]:
    """The paper's definition, one comparison at a time, for five seeds (t > 2.776)."""
    found: dict[tuple[str, str], float] = {}
    for curves in all_curves:
        for i, j in permutations(curves, 2):
            for place in at:
                gaps = [curves[i][seed][place] - curves[j][seed][place] for seed in range(5)]
                mean = sum(gaps) / 5
                spread = math.sqrt(sum((gap - mean) ** 2 for gap in gaps) / 4)
                beats = math.sqrt(5) * mean / spread > 2.776445
                found[i, j] = found.get((i, j), 0.0) + beats / len(at)
    return found


def test_the_penalty_matrix_is_the_papers(tmp_path: Path) -> None:
    names = ("a", "b", "c", "d")
    both = [random_curves(1, names), random_curves(2, names)]
    for curves, data in zip(both, ("digits", "cifar10"), strict=True):
        write(tmp_path, curves, data)
    found = settings_of(tmp_path)
    assert sorted(setting.label for setting in found) == ["cifar10", "digits"]
    table = penalties(found)
    twin = penalties_slowly(both, [20, 30, 50])
    ours = {(r["winner"], r["loser"]): r["penalty"] for r in table.to_dict("records")}
    assert ours == pytest.approx(twin)
    assert {0 < value < 2 for value in twin.values()} == {True, False}, "a case that can fail"
    average = {j: sum(twin.get((i, j), 0.0) for i in names) / 4 for j in names}
    assert dict(zip(table["loser"], table["loser_average"], strict=True)) == pytest.approx(average)
    square = matrix(table, "active_learning")
    assert list(square.columns) == sorted(names, key=lambda name: (average[name], name))
    assert square.loc["d", "a"] == pytest.approx(twin["d", "a"])
    assert set(table["settings"]) == {2}
    assert set(table["fewest_seeds"]) == {5}


def test_two_common_seeds_are_not_tested(tmp_path: Path) -> None:
    curves = random_curves(3, ("a", "b"))
    curves["b"] = {s: curves["b"][min(s, 4)] for s in (3, 4, 5, 6)}
    found = settings_of(write(tmp_path, curves))
    table = penalties(found)
    assert table["penalty"].isna().all()
    assert set(table["fewest_seeds"]) == {2}
    assert set(table["settings"]) == {0}
    (pair,) = pairs(found).to_dict("records")
    assert math.isnan(pair["p"])
    assert math.isnan(pair["p_holm"])
    assert (pair["seeds"], pair["left_out"]) == (2, 5)


def test_budgets_without_common_seeds_do_not_count(tmp_path: Path) -> None:
    better = {s: {10: 0.5, 20: 0.7 + s / 100, 30: 0.7} for s in range(5)}
    # b has three seeds at 20 labels, and one at 30: 1 / n is 1
    worse = {s: {10: 0.5, 20: 0.6 + s / 90} for s in range(2)} | {2: {10: 0.5, 20: 0.62, 30: 0.7}}
    table = penalties(settings_of(write(tmp_path, {"a": better, "b": worse})))
    assert table.set_index("winner")["penalty"].to_dict() == {"a": 1.0, "b": 0.0}


def test_pairs_are_scipys_test_of_the_areas(tmp_path: Path) -> None:
    both = [random_curves(4, ("a", "b", "c")), random_curves(5, ("a", "b", "c"))]
    for curves, data in zip(both, ("digits", "cifar10"), strict=True):
        write(tmp_path, curves, data)
    table = pairs(settings_of(tmp_path)).set_index(["first", "second"])
    assert list(table.index) == [("a", "b"), ("a", "c"), ("b", "c")]

    def area(name: str, seed: int) -> float:
        """Mean over the two settings of the area from 10 to 50 labels."""
        curves = [c[name][seed] for c in both]
        return float(np.mean([np.trapezoid(list(c.values()), list(c)) / 40 for c in curves]))

    ps = []
    for first, second in table.index:
        ours = table.loc[(first, second)]
        a, b = ([area(name, s) for s in range(5)] for name in (first, second))
        test = stats.ttest_rel(a, b)
        assert [ours["t"], ours["p"]] == pytest.approx([test.statistic, test.pvalue])
        ci = test.confidence_interval()
        gap = np.mean(a) - np.mean(b)
        assert ours[["difference", "low", "high"]].tolist() == pytest.approx([gap, ci.low, ci.high])
        assert (ours["settings"], ours["seeds"], ours["left_out"]) == (2, 5, 0)
        ps.append(test.pvalue)
    assert list(table["p_holm"]) == pytest.approx(multipletests(ps, method="holm")[1])


def test_seeds_without_a_partner_are_left_out(tmp_path: Path) -> None:
    curves = random_curves(6, ("a", "b"))
    del curves["b"][4]
    (pair,) = pairs(settings_of(write(tmp_path, curves))).to_dict("records")
    assert (pair["seeds"], pair["left_out"]) == (4, 1)
    areas = {n: [np.trapezoid(list(c.values()), list(c)) for c in curves[n].values()] for n in "ab"}
    assert pair["p"] == pytest.approx(stats.ttest_rel(areas["a"][:4], areas["b"]).pvalue)


def test_a_seed_counts_where_all_settings_have_it(tmp_path: Path) -> None:
    both = [random_curves(8, ("a", "b")), random_curves(9, ("a", "b"), seeds=3)]
    for curves, data in zip(both, ("digits", "cifar10"), strict=True):
        write(tmp_path, curves, data)
    (pair,) = pairs(settings_of(tmp_path)).to_dict("records")
    assert (pair["settings"], pair["seeds"], pair["left_out"]) == (2, 3, 2)
    a, b = (
        [np.mean([np.trapezoid(list(c[n][s].values()), list(c[n][s])) for c in both])
         for s in range(3)] for n in "ab"
    )  # fmt: skip
    assert pair["p"] == pytest.approx(stats.ttest_rel(a, b).pvalue)


def test_the_log_budget_changes_the_areas(tmp_path: Path) -> None:
    curves = {
        "early": {s: {10: 0.5, 20: 0.9 + s / 100, 80: 0.9} for s in range(3)},
        "late": {s: {10: 0.5, 20: 0.6 - s / 100, 80: 0.9} for s in range(3)},
    }
    found = settings_of(write(tmp_path, curves))
    plain, log = (pairs(found, log=log)["difference"].item() for log in (False, True))
    # the gap of 0.3 + 2 s / 100 at 20 labels weighs (10 + 60) / 2 of 70, or 3 / 2 of 3 doublings
    assert plain == pytest.approx(0.32 * 35 / 70)
    assert log == pytest.approx(0.32 * 1.5 / 3)


def test_what_differs_besides_the_strategy_is_another_setting(tmp_path: Path) -> None:
    rows = [row("a", 10, 0.5), row("b", 20, 0.6, round_id=1)]
    for size in (5, 9):
        for strategy, k in (("entropy", 1), ("typiclust", 1), ("typiclust", 2)):
            write_run(tmp_path / f"{size}{strategy}{k}", rows, choices={"strategy": strategy},
                      config={"batch": size, "strategy": {"k": k}})  # fmt: skip
    write_run(tmp_path / "alone", rows, config={"batch": 7, "strategy": {"k": 1}})
    found = settings_of(tmp_path)
    assert [setting.label for setting in found] == ["batch=5", "batch=9"], "7 has one strategy"
    for setting in found:
        assert list(setting.groups) == ["entropy", "typiclust, k=1", "typiclust, k=2"]


def test_another_range_of_budgets_has_no_area(tmp_path: Path) -> None:
    curves = random_curves(7, ("a", "b", "c"))
    curves["c"] = {s: {10: 0.5, 70: 0.9} for s in range(5)}
    (setting,) = settings_of(write(tmp_path, curves))
    assert list(setting.areas().columns) == ["a", "b"]
    table = pairs([setting]).set_index(["first", "second"])
    assert table["settings"].to_dict() == {("a", "b"): 1, ("a", "c"): 0, ("b", "c"): 0}
    assert table["p"].notna().to_list() == [True, False, False]


def test_nothing_to_compare_gives_empty_tables() -> None:
    for table in (penalties([]), pairs([])):
        assert isinstance(table, pd.DataFrame)
        assert len(table) == 0
