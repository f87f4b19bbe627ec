"""Executes the notebook as it is committed, and checks the numbers that its text states."""

import pytest
from notebook_runs import FOLDER, assert_committed_without_outputs, executed, printed_and_pictures

NOTEBOOK = FOLDER / "01_passive_vs_active.ipynb"


def test_committed_without_outputs():
    assert_committed_without_outputs(NOTEBOOK)


@pytest.mark.slow
def test_the_text_holds(tmp_path):
    notebook, summary = executed(NOTEBOOK, tmp_path)
    printed, pictures = printed_and_pictures(notebook)
    assert pictures == 3
    assert "budget reached" not in printed  # nor the tables of the runs
    for kind in ("uniform", "gaussians"):
        active, passive, ratio = (
            summary[kind][name] for name in ("active", "passive", "passive / active")
        )
        assert 5 <= active[0] <= 8
        assert active[2] <= 9
        assert 60 <= passive[0] <= 180
        assert passive[1] <= 100 <= passive[2]
        assert ratio[1] >= 4
    for labels in ("9", "14", "21", "31"):
        mean, low, high = summary["overlapping"][labels]
        assert 0.02 < mean < high
        assert low < mean
