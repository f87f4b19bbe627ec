"""A run whose training steps are compiled, or taken several at a time, is the plain run."""

import pytest
from tiny_runs import CNN_FITS, assert_same_results, metrics, selections
from torch._dynamo.utils import counters

from alframe.cli import run

ROUNDS = (
    *CNN_FITS,
    "target.recipe.epochs=6",
    "target.recipe.batch_size=16",
    "schedule.initial=40",
    "schedule.query_size=20",
    "schedule.budget=80",
    "strategy=margin",
)


def test_several_steps_to_a_call_change_nothing_in_a_run(workdir):
    plain = run(*ROUNDS, "run_dir=plain").path
    assert_same_results(run(*ROUNDS, "trainer.steps_per_call=3", "run_dir=several").path, plain)


@pytest.mark.slow
def test_a_compiled_run_compiles_once_and_picks_the_same_rows(workdir):
    plain = run(*ROUNDS, "run_dir=plain").path
    before = counters["stats"]["unique_graphs"]
    compiled = run(*ROUNDS, "trainer.compile=true", "run_dir=compiled").path
    assert counters["stats"]["unique_graphs"] == before + 1
    assert selections(compiled).row.tolist() == selections(plain).row.tolist()
    assert metrics(compiled).loss.tolist() == pytest.approx(metrics(plain).loss.tolist(), rel=1e-3)
