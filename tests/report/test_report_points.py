import math
from pathlib import Path
from typing import Any

import pytest
from report_runs import budget_rows, core_set_rows, row, write_run

from alframe.report.points import points_of
from alframe.report.runs import load


def test_seconds_without_a_proxy_are_all_so_far(tmp_path: Path) -> None:
    run = load(write_run(tmp_path / "r", budget_rows({10: 0.5, 20: 0.7, 30: 0.8})))
    points = points_of(run)
    assert list(points["labeled"]) == [10, 20, 30]
    assert list(points["accuracy"]) == [0.5, 0.7, 0.8]
    # fits take 1, 2 and 3 s; observing and selecting 0.75 s before rounds 1 and 2
    assert list(points["seconds"]) == pytest.approx([1, 1 + 2 + 0.75, 1 + 2 + 3 + 1.5])


def test_earlier_target_fits_are_not_needed_where_a_proxy_selects(tmp_path: Path) -> None:
    rows: list[dict[str, Any]] = []
    for r in range(3):
        spent = (10.0, 2.0 * (r > 0), 1.0 * (r > 0))
        for split in ("validation", "test"):
            common: dict[str, Any] = {"round_id": r, "split": split}
            name = f"round_{r:03d}"
            rows += [
                row(f"{name}_proxy", 10 * r + 10, 0.4, model="proxy", seconds=spent, **common),
                row(f"{name}_target", 10 * r + 10, 0.6, seconds=(100.0 + r, 0, 0), **common),
            ]
    points = points_of(load(write_run(tmp_path / "r", rows, choices={"proxy": "small"})))
    assert list(points["seconds"]) == pytest.approx([100, 10 + 3 + 101, 20 + 6 + 102])
    assert list(points["selector_seconds"]) == [0, 10, 20]
    assert list(points["choose_seconds"]) == [0, 3, 6]
    assert list(points["target_seconds"]) == [100, 101, 102]


def test_the_target_need_not_be_evaluated_in_every_round(tmp_path: Path) -> None:
    rows = [
        row(f"round_00{r}_proxy", 10 + r, 0.4, model="proxy", round_id=r, seconds=(5.0, 1.0, 0.0))
        for r in range(3)
    ]
    rows.append(row("round_002_target", 12, 0.9, round_id=2, seconds=(50.0, 0, 0)))
    points = points_of(load(write_run(tmp_path / "r", rows, choices={"proxy": "small"})))
    assert list(points["seconds"]) == [10 + 3 + 50]


def test_core_set_seconds_and_speed_up(tmp_path: Path) -> None:
    rows = core_set_rows({100: 0.7, 500: 0.9}, proxy_seconds=10, full_seconds=100)
    run = load(write_run(tmp_path / "r", rows, pipeline="core_set", choices={"proxy": "p"}))
    points = points_of(run)
    assert list(points["train_rows"]) == [100, 500, 1000]
    assert list(points["full"]) == [False, False, True]
    assert list(points["seconds"]) == pytest.approx([10 + 3 + 10, 10 + 3 + 50, 100])
    assert list(points["speed_up"]) == pytest.approx([100 / 23, 100 / 63, 1])


def test_without_a_proxy_the_full_run_is_the_selectors_cost(tmp_path: Path) -> None:
    rows = core_set_rows({100: 0.7}, proxy_seconds=None, full_seconds=100)
    points = points_of(load(write_run(tmp_path / "r", rows, pipeline="core_set")))
    assert list(points["seconds"]) == pytest.approx([100 + 3 + 10, 100])
    assert points["speed_up"][0] == pytest.approx(100 / 113)


def test_a_strategy_that_observes_nothing_needs_no_selector(tmp_path: Path) -> None:
    rows = core_set_rows({100: 0.7}, proxy_seconds=None, full_seconds=100)
    run = write_run(tmp_path / "r", rows, pipeline="core_set", status={"observes": False})
    points = points_of(load(run))
    assert list(points["seconds"]) == pytest.approx([3 + 10, 100])


def short_fits(seconds: float = 4.0) -> list[dict[str, Any]]:
    return [
        row(f"short_{i:02d}_proxy", 1000, 0.6, model="proxy", split=split, round_id=-1,
            seconds=(seconds, 0, 0))
        for i in range(3)
        for split in ("validation", "test")
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("observes", "proxy", "selector"),
    [
        (["short fits"], None, 12),
        (["short fits"], "p", 12),
        (["fit", "short fits"], None, 112),
        (["fit", "short fits"], "p", 22),
        (["fit"], None, 100),
        (["fit"], "p", 10),
        ([], None, 0),
    ],
)
def test_every_fit_that_the_strategy_listened_to_is_paid_for(
    tmp_path: Path, observes: list[str], proxy: str | None, selector: float
) -> None:
    ordinary = 10.0 if proxy and "fit" in observes else None
    rows = core_set_rows({100: 0.7}, proxy_seconds=ordinary, full_seconds=100)
    rows = [*(short_fits() if "short fits" in observes else []), *rows]
    run = write_run(
        tmp_path / "r", rows, pipeline="core_set", choices={"proxy": proxy},
        status={"observes": observes},
    )  # fmt: skip
    points = points_of(load(run))
    assert list(points["fit"]) == ["size_000_target", "full_target"]
    assert list(points["selector_seconds"]) == [selector, 0]
    assert points["speed_up"][0] == pytest.approx(100 / (selector + 3 + 10))


def test_without_a_full_run_there_is_no_speed_up(tmp_path: Path) -> None:
    rows = core_set_rows({100: 0.7}, full=None)
    run = load(write_run(tmp_path / "r", rows, pipeline="core_set", choices={"proxy": "p"}))
    points = points_of(run)
    assert list(points["seconds"]) == pytest.approx([23])
    assert math.isnan(points["speed_up"][0])


def test_a_size_of_all_rows_is_not_the_ceiling(tmp_path: Path) -> None:
    rows = core_set_rows({1000: 0.94}, full=0.95)
    points = points_of(load(write_run(tmp_path / "r", rows, pipeline="core_set")))
    assert list(points["full"]) == [False, True]


def test_a_missing_time_makes_the_sum_unknown(tmp_path: Path) -> None:
    rows = budget_rows({10: 0.5, 20: 0.7})
    for each in rows[:2]:
        each["seconds_fit"] = ""
    points = points_of(load(write_run(tmp_path / "r", rows)))
    assert points["seconds"].isna().all()
    assert list(points["accuracy"]) == [0.5, 0.7]


def test_empty_cells_of_choosing_are_zero(tmp_path: Path) -> None:
    rows = [row("round_000_target", 10, 0.5, seconds=(4.0, 0, 0))]
    rows[0]["seconds_observe"] = rows[0]["seconds_select"] = ""
    assert list(points_of(load(write_run(tmp_path / "r", rows)))["seconds"]) == [4.0]


def test_only_test_accuracies_of_the_target_count(tmp_path: Path) -> None:
    rows = [
        row("round_000_target", 10, 0.5, split="validation"),
        row("round_000_proxy", 10, 0.6, model="proxy"),
        row("round_001_target", 20, math.nan, round_id=1),
    ]
    assert points_of(load(write_run(tmp_path / "r", rows))).empty
