"""What fits, observations and selections cost, as ``metrics.csv`` has it."""

import pytest
from tiny_runs import ACTIVE, CNN_FITS, DATA, metrics

from alframe.cli import run
from alframe.pipelines.costs import choice_costs

NETWORKS = (
    "pipeline=core_set", "pipeline.sizes=[50]", "learner@proxy=mlp", "proxy.recipe.epochs=2",
    "proxy.recipe.min_steps=0", "target.recipe.epochs=2", *CNN_FITS,
)  # fmt: skip
MLP = 64 * 64 + 64 * 10  # multiply-adds of one hidden layer on 8 x 8 digits


def of(table, fit):
    return table[(table.fit == fit) & (table.split == "test")].iloc[0]


def test_a_core_set_run_tells_what_each_part_costs(workdir):
    table = metrics(run(*NETWORKS).path, timings=True)
    for fit, samples in (("proxy", 2 * 200), ("size_000_target", 2 * 50), ("full_target", 400)):
        row = of(table, fit)
        assert row.samples_per_second_fit == pytest.approx(samples / row.seconds_fit)
    chosen = of(table, "size_000_target")
    assert chosen.samples_per_second_observe == pytest.approx(200 / chosen.seconds_observe)
    assert chosen.samples_per_second_select == pytest.approx(200 / chosen.seconds_select)
    assert table[table.fit != "size_000_target"].samples_per_second_observe.isna().all()
    assert of(table, "full_target").multiply_adds == chosen.multiply_adds > MLP
    peaks = ["peak_bytes_fit", "peak_bytes_observe", "peak_bytes_select"]
    assert table[peaks].isna().all(axis=None), "a CPU has none"


def test_an_ensemble_costs_what_its_members_cost(workdir):
    words = "learner@target=ensemble", "target.members=3", "schedule.budget=30"
    recipe = "target.member.recipe={epochs: 2, min_steps: 0}"
    member = "learner@target.member=mlp"
    shared = "schedule.initial=20", "schedule.query_size=10", "trainer=cpu", "logger=[]", *DATA
    table = metrics(run(*words, member, recipe, *shared).path, timings=True)
    row = of(table, "round_001_target")
    assert row.samples_per_second_fit == pytest.approx(3 * 2 * 30 / row.seconds_fit)
    single = run(
        "learner@target=mlp",
        "target.recipe={epochs: 1, min_steps: 0}",
        *shared,
        "schedule.budget=30",
    )
    alone = of(metrics(single.path, timings=True), "round_001_target")
    assert row.multiply_adds == 3 * alone.multiply_adds


def test_a_round_of_active_learning_tells_what_choosing_its_rows_took(workdir):
    table = metrics(run(*ACTIVE, "logger=[]").path, timings=True)
    rows = table[table.split == "test"].set_index("round_id")
    assert rows.samples_per_second_observe.isna().tolist() == [True, False, False]
    looked = rows.samples_per_second_observe * rows.seconds_observe
    assert looked[1:].tolist() == pytest.approx([180, 170])  # what is not labeled yet
    assert (rows.multiply_adds == 64 * 10).all()


def test_a_choice_that_version_0_1_0_stored_has_its_seconds_alone():
    old = {"rows": [1], "candidates": 9, "seconds_observe": 2.0, "seconds_select": 0.0}
    costs = choice_costs(old)
    assert costs.pop("seconds_observe") == 2.0
    assert costs.pop("seconds_select") == 0.0
    assert set(costs.values()) == {None}
