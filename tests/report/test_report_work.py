import math
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from report_runs import budget_rows, core_set_rows, curve, row, write_fidelity, write_run
from scipy import stats

from alframe.report import tables, words
from alframe.report.build import build
from alframe.report.groups import Group, make_groups
from alframe.report.points import break_even, points_of
from alframe.report.runs import load
from alframe.report.work import fidelity, work


def group_of(*paths: Path) -> Group:
    (group,) = make_groups([load(path) for path in paths])
    return group


def test_break_even_by_hand() -> None:
    # all 1,000 rows take 100 s and half of them 55: each percent less saves 0.9 s, and 12.5 s are
    # spent before, which 12.5 / 0.9 = 13.9 percent win back
    size = {
        "train_rows": 500, "target_seconds": 55.0, "selector_seconds": 10.0, "choose_seconds": 2.5
    }  # fmt: skip
    full = pd.Series({"train_rows": 1000, "seconds_fit": 100.0})
    share = break_even(size, full)
    assert share == pytest.approx(1 - 12.5 / 90)
    # at that share the whole way indeed takes what the full run takes
    assert 12.5 + 100 - 90 * (1 - share) == pytest.approx(100)


@pytest.mark.parametrize(
    ("changed", "expected"),
    [
        ({"selector_seconds": 0.0, "choose_seconds": 0.0}, 1.0),
        ({"selector_seconds": 100.0}, 0.0),
        ({"target_seconds": 101.0}, math.nan),
        ({"train_rows": 1000}, math.nan),
        ({"selector_seconds": math.nan}, math.nan),
    ],
)
def test_break_even_at_its_ends(changed: dict[str, Any], expected: float) -> None:
    size = {"train_rows": 500, "target_seconds": 50.0, "selector_seconds": 9, "choose_seconds": 1}
    full = pd.Series({"train_rows": 1000, "seconds_fit": 100.0})
    assert break_even(size | changed, full) == pytest.approx(expected, nan_ok=True)


def test_break_even_stands_among_the_costs(tmp_path: Path) -> None:
    rows = core_set_rows({100: 0.7, 500: 0.9}, proxy_seconds=10, full_seconds=100)
    run = write_run(tmp_path / "r", rows, pipeline="core_set", choices={"proxy": "p"})
    # proxy, observing and selecting take 13 s; the target's seconds are proportional to its rows
    assert list(points_of(load(run))["break_even"])[:2] == pytest.approx([0.87, 0.87])
    table = tables.costs([group_of(run)])
    assert list(table["break_even"])[:2] == pytest.approx([0.87, 0.87])
    assert math.isnan(table["break_even"][2]), "the full run is no selection"
    assert [line[-2] for line in words.costs_text(table).rows] == ["87 %", "87 %", words.DASH]


def measured(rows: list[dict[str, Any]], factor: float = 1.0) -> list[dict[str, Any]]:
    """Adds what version 0.1.0 did not measure."""
    adds = {"proxy": 40_813_184, "target": 247_646_720}
    return [
        each
        | {
            "samples_per_second_fit": factor * (5000 if each["model"] == "proxy" else 1000),
            "samples_per_second_observe": factor * 2e4 if each["seconds_observe"] else "",
            "samples_per_second_select": factor * 3e4 if each["seconds_select"] else "",
            "peak_bytes_fit": 2e9,
            "peak_bytes_observe": 1e9 if each["seconds_observe"] else "",
            "peak_bytes_select": "",
            "multiply_adds": adds[each["model"]],
        }
        for each in rows
    ]


def test_what_each_part_takes_is_a_mean_over_seeds(tmp_path: Path) -> None:
    paths = [
        write_run(
            tmp_path / f"r{seed}", measured(core_set_rows({100: 0.7, 500: 0.9}), 1 + seed),
            seed=seed, pipeline="core_set", choices={"proxy": "p"},
        )
        for seed in range(2)
    ]  # fmt: skip
    table = work([group_of(*paths)])
    assert [*zip(table["part"], table["train_rows"], strict=True)] == [
        ("train the proxy", 1000), ("observe", 100), ("observe", 500), ("select", 100),
        ("select", 500), ("train the target", 100), ("train the target", 500),
        ("train the target on all rows", 1000),
    ]  # fmt: skip
    assert list(table["seconds"]) == pytest.approx([10, 2, 2, 1, 1, 10, 50, 100])
    assert list(table["samples_per_second"]) == pytest.approx(
        [7500, 3e4, 3e4, 4.5e4, 4.5e4, 1500, 1500, 1500]
    )
    assert list(table["seeds"]) == [2] * 8
    shown = words.work_text(table)
    assert shown.columns[5:8] == (
        "Rows a second", "Peak device memory, MB", "Multiply-adds a row, M"
    )  # fmt: skip
    assert shown.rows[0][5:8] == ("7,500", "2,000", "40.8")
    assert shown.rows[3][6:8] == (words.DASH, words.DASH)


def test_a_run_of_version_0_1_0_has_its_seconds_alone(tmp_path: Path) -> None:
    run = write_run(tmp_path / "r", core_set_rows({100: 0.7}), pipeline="core_set")
    table = work([group_of(run)])
    assert table["seconds"].notna().all()
    unknown = table[["samples_per_second", "peak_bytes", "multiply_adds"]]
    assert unknown.isna().all(axis=None)
    columns = words.work_text(table).columns
    assert not [name for name in columns if name.startswith(("Peak", "Multiply"))]


def test_of_active_learning_the_last_round_is_told(tmp_path: Path) -> None:
    run = write_run(tmp_path / "r", measured(budget_rows({10: 0.5, 20: 0.7, 30: 0.8})))
    table = work([group_of(run)])
    assert list(table["part"]) == ["observe", "select", "train the target"]
    assert list(table["train_rows"]) == [30, 30, 30]
    assert list(table["seconds"]) == pytest.approx([0.25, 0.5, 3])


def agreement(size: int, overlap: float, spearman: object = 0.8) -> dict[str, Any]:
    return {
        "round_id": 0, "train_rows": size, "candidates": 1000, "overlap": overlap,
        "chance": size / 1000, "spearman": spearman, "kendall": spearman, "seconds_observe": 20.0,
        "seconds_select": 10.0,
    }  # fmt: skip


def compared_runs(tmp_path: Path, spearman: object = 0.8, device: str = "cpu") -> list[Path]:
    paths = []
    for seed in range(2):
        path = write_run(
            tmp_path / f"r{seed}", core_set_rows({100: 0.7, 500: 0.9}), seed=seed,
            pipeline="core_set", choices={"proxy": "p"},
            status={"device": device if seed else "cpu"},
        )  # fmt: skip
        write_fidelity(
            path, [agreement(s, s / 1000 + 0.1 * (seed + 1), spearman) for s in (100, 500)]
        )
        paths.append(path)
    return paths


def test_fidelity_is_a_mean_over_seeds_with_its_interval(tmp_path: Path) -> None:
    table = fidelity([group_of(*compared_runs(tmp_path))])
    assert list(table["train_rows"]) == [100, 500]
    assert list(table["overlap"]) == pytest.approx([0.25, 0.65])
    low, high = stats.t.interval(0.95, 1, 0.25, stats.sem([0.2, 0.3]))
    assert (table["low"][0], table["high"][0]) == pytest.approx((low, high))
    assert list(table["chance"]) == [0.1, 0.5]
    # the full run and its choice take 100 + 20 + 10 s, proxy, observing and selecting 10 + 2 + 1
    assert list(table["selection_speed_up"]) == pytest.approx([10, 10])
    assert words.fidelity_text(table).rows[0][5:8] == ("0.800", "0.800", "10.00x")


def test_fidelity_without_scores_and_on_two_devices(tmp_path: Path) -> None:
    table = fidelity([group_of(*compared_runs(tmp_path, spearman="", device="gpu"))])
    assert table[["spearman", "kendall", "selection_speed_up"]].isna().all(axis=None)
    assert list(table["overlap"]) == pytest.approx([0.25, 0.65])


def test_the_report_shows_fidelity_where_there_is_some(tmp_path: Path) -> None:
    runs = [load(path) for path in compared_runs(tmp_path)]
    files = build(runs).files
    assert b"Proxy fidelity" in files["index.html"]
    assert b"# Proxy fidelity" in files["results.md"]
    assert len(files["fidelity.csv"].splitlines()) == 3
    plain = load(write_run(tmp_path / "plain", [row("round_000_target", 10, 0.5)]))
    files = build([plain]).files
    assert b"Proxy fidelity" not in files["index.html"]
    assert b"What each part takes" in files["index.html"]


def test_compiling_stands_beside_the_speed_up(tmp_path: Path) -> None:
    rows = core_set_rows({500: 0.9}, proxy_seconds=10, full_seconds=100)
    # the target's network is compiled in its first fit: that of the part, then not again
    compiling = {"proxy": 5.0, "size_000_target": 20.0, "full_target": 0.0}
    rows = [each | {"seconds_compile": compiling[each["fit"]]} for each in rows]
    run = write_run(tmp_path / "r", rows, pipeline="core_set", choices={"proxy": "p"})
    part, full = points_of(load(run)).to_dict("records")
    assert part["speed_up"] == pytest.approx(100 / 63)
    assert (part["compile_seconds"], full["compile_seconds"]) == (25, 20)
    assert part["speed_up_compiled"] == pytest.approx((100 + 20) / (63 + 25))
    table = words.costs_text(tables.costs([group_of(run)]))
    assert "Speed-up with it" in table.columns
    parts = work([group_of(run)])
    assert sorted(parts["compile_seconds"].dropna()) == [0, 5, 20]


def test_where_nothing_was_compiled_no_column_says_so(tmp_path: Path) -> None:
    run = write_run(tmp_path / "r", core_set_rows({500: 0.9}), pipeline="core_set")
    assert "Speed-up with it" not in words.costs_text(tables.costs([group_of(run)])).columns


@pytest.mark.parametrize("pipeline", ["core_set", "active_learning"])
def test_seconds_of_a_run_that_changed_devices_are_not_counted(
    tmp_path: Path, pipeline: str
) -> None:
    rows = core_set_rows({500: 0.9}) if pipeline == "core_set" else budget_rows({10: 0.7, 20: 0.8})
    common = {"pipeline": pipeline, "choices": {"proxy": "p"}}
    curves = {"proxy": curve(10.0, 0.2), "full_target": curve(100.0, 0.1)}
    for seed in range(2):
        resumed = [{"at": "later"}, {"at": "later", "device": "another GPU"}] if seed else []
        write_run(
            tmp_path / str(seed),
            rows,
            seed=seed,
            status={"resumed": resumed},
            curves=curves,
            **common,
        )
    first, mixed = (points_of(load(tmp_path / str(seed))) for seed in range(2))
    times = ["selector_seconds", "choose_seconds", "target_seconds", "seconds", "speed_up"]
    assert mixed[times].isna().all(axis=None)
    assert first["seconds"].notna().all()
    assert list(mixed["accuracy"]) == list(first["accuracy"])
    group = group_of(tmp_path / "0", tmp_path / "1")
    assert group.devices == [
        "cpu: 2 threads of a test",
        "cpu: 2 threads of a test, then another GPU",
    ]
    costs = tables.costs([group]).set_index("device")["seconds"]
    assert costs.groupby(level=0).apply(lambda part: part.isna().all()).tolist() == [False, True]
    report = build([load(tmp_path / "0"), load(tmp_path / "1")])
    assert any("Resumed on another device" in note and "/1 " in note for note in report.notes)
