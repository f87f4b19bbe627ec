"""The ranking by area against numbers worked out by hand and by scipy."""

from __future__ import annotations

import numpy as np
import pytest
from report_runs import row, write_run
from scipy import stats

from alframe.report.build import build
from alframe.report.groups import make_groups
from alframe.report.ranking import ranking
from alframe.report.runs import find, load

CURVES = {
    "entropy": {0: (0.5, 0.9), 1: (0.6, 0.8), 2: (0.5, 1.0)},
    "random": {0: (0.4, 0.6), 1: (0.6, 0.6), 2: (0.4, 0.7)},
    "margin": {0: (0.5, 0.8), 1: (0.6, 0.9), 3: (0.5, 0.9)},
}


@pytest.fixture
def groups(tmp_path):
    for strategy, seeds in CURVES.items():
        for seed, (low, high) in seeds.items():
            rows = [row("a", 10, low), row("b", 20, high, round_id=1)]
            choices = {"strategy": strategy}
            write_run(tmp_path / f"{strategy}{seed}", rows, seed=seed, choices=choices)
    return [load(path) for path in find([tmp_path])]


def test_areas_intervals_and_gains(groups):
    table = ranking(make_groups(groups)).set_index("group")
    assert table["rank"].to_dict() == {"entropy": 1, "margin": 2, "random": 3}
    entropy = [0.7, 0.7, 0.75]
    low, high = stats.t.interval(0.95, 2, np.mean(entropy), stats.sem(entropy))
    assert table.loc["entropy", ["area", "low", "high"]].tolist() == pytest.approx(
        [np.mean(entropy), low, high]
    )
    gains = [0.7 - 0.5, 0.7 - 0.6, 0.75 - 0.55]
    low, high = stats.t.interval(0.95, 2, np.mean(gains), stats.sem(gains))
    assert table.loc["entropy", ["gain", "gain_low", "gain_high"]].tolist() == pytest.approx(
        [np.mean(gains), low, high]
    )
    # seed 3 of margin has no partner: the gain is over seeds 0 and 1
    assert table.loc["margin", "gain"] == pytest.approx((0.15 + 0.15) / 2)
    assert table.loc["random", "gain"] == 0


def test_another_range_of_budgets_is_not_ranked(groups, tmp_path):
    rows = [row("a", 10, 0.9), row("b", 30, 1.0, round_id=1)]
    write_run(tmp_path / "longer", rows, choices={"strategy": "kcenter"})
    table = ranking(make_groups([load(path) for path in find([tmp_path])]))
    assert sorted(table["group"]) == ["entropy", "margin", "random"]


def test_it_is_in_the_report_with_a_figure(groups):
    files = build(groups).files
    assert files["ranking.csv"].decode().splitlines()[1].startswith("active_learning,1,entropy,")
    assert files["ranking_active_learning.svg"].startswith(b"<svg")
    assert files["ranking_active_learning.png"].startswith(b"\x89PNG")
    assert "# Ranking" in files["results.md"].decode()
    assert ">Ranking</h2>" in files["index.html"].decode()


def test_one_group_is_no_ranking(groups):
    files = build([run for run in groups if "entropy" in run.path.name]).files
    assert "ranking_active_learning.svg" not in files
    assert "Ranking" not in files["index.html"].decode()


def test_nothing_measured_is_an_empty_table():
    assert len(ranking([])) == 0
