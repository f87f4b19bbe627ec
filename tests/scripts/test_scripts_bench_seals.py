"""The benchmarks of SEALS run, on a small pool; their times are not looked at."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
from script_parts import small_tables

ROOT = Path(__file__).parents[2]
SCRIPTS = ROOT / "scripts"
sys.path.insert(0, str(SCRIPTS))

from bench_seals import INDEX, SMALL_INDEX, build, compared, index_of, words_for  # noqa: E402
from seals_pool import BLOCK, Pool, make  # noqa: E402
from web_scale import PAGE, chosen, page  # noqa: E402


@pytest.mark.slow
def test_the_small_benchmark_of_seals_runs_and_keeps_nothing():
    found = {row[0]: float(row[2]) for row in small_tables("bench_seals")[1:]}
    assert 0 < found["experiment: anonymous memory, GB"] < 6
    assert found["index: recall@100"] >= 0.9
    assert abs(found["mean average precision below that of all after round 3"]) < 0.5


@pytest.mark.slow
def test_the_model_of_the_web_scale_is_checked_and_extrapolated():
    rows = small_tables("web_scale")
    names = [row[0] for row in rows]
    assert names == ["rows", "5,000", "20,000", "20,000, predicted", "rows", "10 M", "1 B", "10 B"]
    measured, predicted = rows[2], rows[3]
    for column in (2, 3):  # bytes
        assert float(predicted[column]) == pytest.approx(float(measured[column]), rel=0.1)
    # of a run's memory nearly nothing is for so few rows
    assert float(predicted[4]) == pytest.approx(float(measured[4]), rel=0.3)


def test_any_part_of_the_pool_is_drawn_alike():
    pool = Pool(BLOCK + 500, 8, test_rows=100)
    labels = pool.labels("train")
    whole = pool.embed("train", labels, BLOCK - 100, BLOCK + 100)
    np.testing.assert_array_equal(pool.embed("train", labels, BLOCK, BLOCK + 100), whole[100:])
    np.testing.assert_allclose(np.linalg.norm(whole, axis=1), 1, rtol=1e-5)
    assert len(np.unique(labels)) == len(pool.classes)


def test_the_page_of_neighbors_holds_the_tables_that_are_kept():
    text = PAGE.read_text()
    assert page(text) == text


@pytest.fixture
def pool(tmp_path):
    """A tiny pool, and the words of runs that search it by the benchmark's index and the usual."""
    paths = make(tmp_path, Pool(20_000, 4, test_rows=2_000))
    return paths, [
        words_for(paths, "bowling", "candidates=seals", *index) for index in (INDEX, SMALL_INDEX)
    ]


def test_what_building_took_is_kept_by_index(pool, tmp_path, monkeypatch):
    asked = []

    def run(words, path):
        asked.append(words)
        index_of(words).mkdir()
        return {"log": f"index of 600 rows built in {len(asked)}.5 s: here", "peak_bytes": 7}

    monkeypatch.setattr("bench_seals.alframe", run)
    _, (big, usual) = pool
    assert index_of(big) != index_of(usual)
    for words, seconds in ((big, 1.5), (usual, 2.5), (big, 1.5), (usual, 2.5)):
        assert build(tmp_path, words)["seconds"] == seconds
    assert asked == [big, usual]


def test_a_record_of_no_index_is_that_of_the_only_one_or_refused(pool, tmp_path):
    paths, (big, usual) = pool
    (tmp_path / "build.json").write_text('{"seconds": 9.0, "peak_bytes": 7}')
    index_of(big).mkdir()
    assert build(tmp_path, big)["seconds"] == 9
    for more in (0, 1):  # the only one is another, or there are two
        with pytest.raises(SystemExit, match=r"build\.json may be of any index in .*rename it to"):
            build(tmp_path, usual)
        if not more:
            index_of(usual).mkdir()
    for words in (usual, big):  # that of the benchmark, where it was built
        (index_of(words) / "meta.json").touch()
        assert chosen(paths) == (words, index_of(words))


def test_what_a_round_took_holds_its_search():
    shared = {"scored": [100], "average_precision": [0, 0.5, 0.5, 0.5], "share_touched": 0.1}
    shared |= {"peak_bytes": 10**9, "whole_run_seconds": 1.0, "positives_found": [5, 9]}
    everywhere = shared | {"seconds": [4.0, 4.0, 4.0], "look_up_seconds": [0.0, 0.0, 0.0]}
    near = shared | {"seconds": [1.0, 0.5, 0.5], "look_up_seconds": [0.8, 0.1, 0.1]}
    found = compared({"bowling_0": {"all": everywhere, "seals": near}})
    assert found["times_less_first_round"] == 4
    assert found["times_less_first_round_but_search"] == pytest.approx(20)
    assert found["times_less_later_rounds"] == 8
    assert found["times_less_all_rounds"] == 6
    assert found["pairs_below_10"] == found["pairs"] == 1
