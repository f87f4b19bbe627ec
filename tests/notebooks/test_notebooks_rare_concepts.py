"""Executes the notebook on the real CIFAR-10 and checks the numbers that its text states.

With one seed and few labels; and, as it is committed, with all of them.
"""

import os

import pytest
from notebook_runs import FOLDER, assert_committed_without_outputs, executed, printed_and_pictures

NOTEBOOK = FOLDER / "02_rare_concepts.ipynb"
needs_data = pytest.mark.skipif("ALFRAME_DATA_DIR" not in os.environ, reason="needs CIFAR-10")


def test_committed_without_outputs():
    assert_committed_without_outputs(NOTEBOOK)


@pytest.mark.slow
@needs_data
def test_one_seed_and_two_rounds(tmp_path):
    settings = {"ALFRAME_NOTEBOOK_SEEDS": 1, "ALFRAME_NOTEBOOK_BUDGET": 140}
    notebook, summary = executed(NOTEBOOK, tmp_path, **settings)
    printed, pictures = printed_and_pictures(notebook)
    assert pictures == 2
    assert "fire_engine: 145 of 50,000 training images" in printed
    assert summary["neighbors"] > 10 * summary["chance"]
    assert summary["SEALS"]["touched"] < 0.3
    assert summary["all"]["touched"] == 1


@pytest.mark.slow
@needs_data
def test_with_all_seeds_the_text_holds(tmp_path):
    _, summary = executed(NOTEBOOK, tmp_path)
    every, seals = summary["all"], summary["SEALS"]
    assert seals["found"] >= 0.9 * every["found"]
    assert seals["average_precision"] > every["average_precision"] - 0.03
    assert 0.15 < seals["touched"] < 0.3
    for arm in ("random, of SEALS's", "random, of all"):
        assert summary[arm]["found"] < seals["found"] / 2
