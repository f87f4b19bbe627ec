"""The search of several concepts: means over concepts first, then over seeds."""

import json
from pathlib import Path

import pandas as pd
import pytest
from report_runs import row, write_run

from alframe.report import words
from alframe.report.build import build
from alframe.report.concepts import concepts, pictures, searches
from alframe.report.runs import load
from alframe.report.statistics import mean_interval


def write(path: Path, concept: str | None, seed: int, rule: str, values: dict[int, float]) -> None:
    rows = []
    for round_id, (labeled, precision) in enumerate(values.items()):
        for split in ("validation", "test"):
            place = row(
                f"round_{round_id:03d}_target", labeled, 0.99, round_id=round_id, split=split
            )
            precise = precision if split == "test" else 0.0
            found = {"positives_found": 5 + round_id, "share_touched": 0.01 * (round_id + 1)}
            rows.append({**place, "average_precision": precise, **found})
    choices, config = {"candidates": rule}, {"concept": concept, "candidates": {"_target_": rule}}
    write_run(path / f"{rule}-{concept}-{seed}", rows, seed=seed, choices=choices, config=config)


@pytest.fixture
def runs(tmp_path):
    for seed in range(3):
        for number, concept in enumerate(("moose", "icebreaker")):
            for rule, gain in (("all", 0.0), ("seals", 0.1)):
                values = {10: 0.1 * seed + gain, 20: 0.2 + 0.1 * number + gain}
                write(tmp_path, concept, seed, rule, values)
    return [load(path.parent) for path in sorted(tmp_path.glob("*/metrics.csv"))]


def test_the_table_by_hand(runs):
    found = searches(runs)
    assert [(search.label, search.concepts) for search in found] == [
        ("candidates all", ("icebreaker", "moose")),
        ("candidates seals", ("icebreaker", "moose")),
    ]
    table = concepts(found)
    assert list(table["labeled"]) == [10, 20, 10, 20]
    assert set(table["concepts"]) == {2}
    seals = table[table["group"] == "candidates seals"]
    expected = mean_interval([0.1, 0.2, 0.3]), mean_interval([0.35] * 3)
    for line, wanted in zip(seals.to_dict("records"), expected, strict=True):
        assert (line["average_precision"], line["low"], line["high"], line["seeds"]) == (
            pytest.approx((wanted.mean, wanted.low, wanted.high, 3))
        )
    assert list(seals["positives_found"]) == [5, 6]
    assert list(seals["share_touched"]) == pytest.approx([0.01, 0.02])
    text = words.concepts_text(table)
    assert text.rows[0][3] == "10.00 %"


def test_only_what_every_concept_has_is_averaged(tmp_path, runs):
    write(tmp_path, "moose", 7, "all", {10: 0.5})  # this seed has no icebreaker
    more = [*runs, load(tmp_path / "all-moose-7")]
    pd.testing.assert_frame_equal(concepts(searches(more)), concepts(searches(runs)))


def test_a_seed_that_was_run_twice_counts_once(tmp_path, runs):
    write(tmp_path / "again", "moose", 0, "all", {10: 0.9, 20: 0.9})
    status = tmp_path / "again" / "all-moose-0" / "status.json"
    status.write_text(json.dumps({**json.loads(status.read_text()), "state": "failed"}))
    more = [*runs, load(status.parent)]
    pd.testing.assert_frame_equal(concepts(searches(more)), concepts(searches(runs)))


def test_the_report_shows_them(runs):
    report = build(runs)
    assert {
        "concepts.csv",
        "concepts_average_precision.png",
        "concepts_positives_found.svg",
    } <= set(report.files)
    page = report.files["index.html"].decode()
    assert page.index("Rare concepts") < page.index("Results")
    assert "# Rare concepts" in report.files["results.md"].decode()
    title = pictures(searches(runs))[0].title
    assert title == "Average precision against labels: 2 concepts"


@pytest.mark.parametrize("absent", [0.0, float("nan")])
def test_concepts_without_test_rows_are_left_out_and_named(tmp_path, runs, absent):
    """Older runs have an average precision of 0 for them."""
    for rule in ("all", "seals"):
        write(tmp_path, "true_toad", 0, rule, {10: absent, 20: absent})
    more = [*runs, *(load(tmp_path / f"{rule}-true_toad-0") for rule in ("all", "seals"))]
    pd.testing.assert_frame_equal(concepts(searches(more)), concepts(searches(runs)))
    assert any("are left out: true_toad" in note for note in build(more).notes)
    assert not any("left out" in note for note in build(runs).notes)
    assert searches(more[-2:]) == []


def test_runs_without_a_concept_have_no_such_part(tmp_path):
    write(tmp_path, None, 0, "all", {10: 0.5})
    report = build([load(tmp_path / "all-None-0")])
    assert searches([load(tmp_path / "all-None-0")]) == []
    assert "concepts.csv" not in report.files
