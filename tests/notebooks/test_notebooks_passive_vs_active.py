"""Executes the notebook and checks the numbers that its text states.

Without the `slow` mark with few seeds; with it as it is committed.
"""

import pytest
from notebook_runs import FOLDER, assert_committed_without_outputs, executed, printed_and_pictures

NOTEBOOK = FOLDER / "01_passive_vs_active.ipynb"


@pytest.fixture(scope="module")
def execute(tmp_path_factory):
    """Executes the notebook with so many seeds."""

    def run(seeds=None):
        settings = {} if seeds is None else {"ALFRAME_NOTEBOOK_SEEDS": seeds}
        return executed(NOTEBOOK, tmp_path_factory.mktemp("notebook"), **settings)

    return run


@pytest.fixture(scope="module")
def few(execute):
    return execute(seeds=3)


def test_committed_without_outputs():
    assert_committed_without_outputs(NOTEBOOK)


def test_shows_figures_and_hides_the_tables_of_the_runs(few):
    printed, pictures = printed_and_pictures(few[0])
    assert pictures == 3
    assert "budget reached" not in printed


@pytest.mark.parametrize("kind", ["uniform", "gaussians"])
def test_active_needs_far_fewer_labels(few, kind):
    needed = few[1][kind]
    assert needed["active"][0] <= 10
    assert needed["passive"][0] >= 4 * needed["active"][0]


def test_no_advantage_where_classes_overlap(few):
    for labels in ("9", "14", "21", "31"):
        mean, low, high = few[1]["overlapping"][labels]
        assert low < mean < high
        assert high > 0


@pytest.mark.slow
def test_with_all_seeds_the_text_holds(execute):
    _, summary = execute()
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
        mean, _, high = summary["overlapping"][labels]
        assert 0.02 < mean < high
