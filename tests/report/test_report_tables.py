import math
from pathlib import Path

import numpy as np
import pytest
from report_runs import budget_rows, core_set_rows, write_run
from scipy import stats

from alframe.report import tables, words
from alframe.report.groups import Group, make_groups
from alframe.report.runs import load

CURVES = [{10: 0.5, 20: 0.7, 30: 0.8}, {10: 0.4, 20: 0.8, 30: 0.9}, {10: 0.6, 20: 0.75}]


def budget_group(tmp_path: Path, devices: tuple[str, str, str] = ("cpu", "cpu", "cpu")) -> Group:
    paths = [
        write_run(tmp_path / f"r{i}", budget_rows(curve), seed=i, status={"device": device})
        for i, (curve, device) in enumerate(zip(CURVES, devices, strict=True))
    ]
    (group,) = make_groups([load(path) for path in paths])
    return group


def core_group(tmp_path: Path) -> Group:
    paths = [
        write_run(
            tmp_path / f"c{seed}",
            core_set_rows({100: 0.7 + seed / 100, 500: 0.9}, full_seconds=100 + 10 * seed),
            seed=seed,
            pipeline="core_set",
            choices={"proxy": "p"},
        )
        for seed in range(2)
    ]
    (group,) = make_groups([load(path) for path in paths])
    return group


def test_results_are_means_at_equal_labels(tmp_path: Path) -> None:
    table = tables.results([budget_group(tmp_path)])
    assert list(table["labeled"]) == [10, 20, 30]
    assert list(table["seeds"]) == [3, 3, 2]
    assert list(table["accuracy"]) == pytest.approx([0.5, 0.75, 0.85])
    low, high = stats.t.interval(0.95, 2, 0.5, stats.sem([0.5, 0.4, 0.6]))
    assert (table["low"][0], table["high"][0]) == pytest.approx((low, high))
    assert list(table["seconds"]) == pytest.approx([1, 3.75, 7.5])


def test_seconds_of_different_devices_are_not_averaged(tmp_path: Path) -> None:
    group = budget_group(tmp_path, ("cpu", "gpu", "cpu"))
    assert tables.results([group])["seconds"].isna().all()
    assert list(tables.results([group])["accuracy"]) == pytest.approx([0.5, 0.75, 0.85])
    costs = tables.costs([group])
    assert list(costs["device"]) == ["cpu", "gpu"]
    assert list(costs["seconds"]) == pytest.approx([7.5, 7.5])
    assert list(costs["seeds"]) == [1, 1]
    assert tables.reached([group], 0.7)["seconds"].isna().all()


def test_the_headline_is_the_last_budget_with_the_area_of_whole_curves(tmp_path: Path) -> None:
    table = tables.headline([budget_group(tmp_path)])
    assert list(table["labeled"]) == [30]
    # the third run ends at 20 labels, so that its area is over another range
    areas = [np.trapezoid(list(c.values()), list(c)) / 20 for c in CURVES[:2]]
    assert list(table["area"]) == pytest.approx([np.mean(areas)])
    assert list(table["area_seeds"]) == [2]


def test_each_run_has_its_own_area(tmp_path: Path) -> None:
    table = tables.run_list([budget_group(tmp_path)])
    twins = [np.trapezoid(list(c.values()), list(c)) / (max(c) - min(c)) for c in CURVES]
    assert list(table["area"]) == pytest.approx(twins)
    assert list(table["accuracy"]) == [0.8, 0.9, 0.75]
    assert list(table["versions"].unique()) == ["alframe 0.1.0, python 3.11.9, torch 2.9.0"]
    assert list(table["revision"].unique()) == ["0123456789ab"]


def test_what_it_takes_to_reach_an_accuracy(tmp_path: Path) -> None:
    (row,) = tables.reached([budget_group(tmp_path)], 0.8).to_dict("records")
    # seed 0 at 30 labels (7.5 s), seed 1 at 20 labels (3.75 s), seed 2 never
    assert row["needed"] == 25
    assert row["seconds"] == pytest.approx((7.5 + 3.75) / 2)
    assert (row["reached"], row["seeds"]) == (2, 3)
    low, high = stats.t.interval(0.95, 1, 25, stats.sem([30, 20]))
    assert (row["low"], row["high"]) == pytest.approx((low, high))


def test_an_accuracy_that_no_run_reaches_has_no_price(tmp_path: Path) -> None:
    (row,) = tables.reached([budget_group(tmp_path)], 1.0).to_dict("records")
    assert row["reached"] == 0
    assert math.isnan(row["needed"])
    assert math.isnan(row["seconds"])


def test_core_set_costs_average_the_speed_ups_of_the_seeds(tmp_path: Path) -> None:
    table = tables.costs([core_group(tmp_path)])
    assert list(table["train_rows"]) == [100, 500, 1000]
    ratios = [100 / (10 + 3 + 10), 110 / (10 + 3 + 11)]
    assert table["speed_up"][0] == pytest.approx(np.mean(ratios))
    low, high = stats.t.interval(0.95, 1, np.mean(ratios), stats.sem(ratios))
    assert (table["low"][0], table["high"][0]) == pytest.approx((low, high))
    assert list(table["selector_seconds"]) == [10, 10, 0]
    assert list(table["choose_seconds"]) == [3, 3, 0]


def test_core_set_results_hold_the_ceiling(tmp_path: Path) -> None:
    table = tables.results([core_group(tmp_path)])
    assert list(table["trained_on"]) == ["selected rows", "selected rows", "all rows"]
    assert list(table["accuracy"]) == pytest.approx([0.705, 0.9, 0.95])
    (row,) = tables.reached([core_group(tmp_path / "again")], 0.93).to_dict("records")
    assert row["reached"] == 0, "the full run is no core-set"


def test_tables_of_nothing_are_empty() -> None:
    for table in (tables.results([]), tables.headline([]), tables.costs([])):
        assert table.empty
    assert words.results_text(tables.headline([])).rows == ()


def test_markdown_escapes_what_would_end_a_cell() -> None:
    table = words.TextTable(("A", "B"), (("x|y\nz", "<b>"),), (False, True))
    assert table.markdown() == "| A | B |\n| --- | ---: |\n| x\\|y z | &lt;b> |\n"


@pytest.mark.parametrize(
    ("shown", "expected"),
    [
        (words.percent(0.91234), "91.23 %"),
        (words.percent(math.nan), words.DASH),
        (words.count(12500.0), "12,500"),
        (words.count(12.25), "12.2"),
        (words.seconds(0.01234), "0.0123"),
        (words.seconds(12345.6), "12,346"),
        (words.times(1.666), "1.67x"),
        (words.between(0.1, 0.2, words.percent), "10.00 to 20.00 %"),
        (words.between(math.nan, math.nan, words.percent), words.DASH),
    ],
)
def test_numbers_as_words(shown: str, expected: str) -> None:
    assert shown == expected
