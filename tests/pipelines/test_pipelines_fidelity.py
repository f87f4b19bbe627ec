"""Whether the proxy selects what the target would have selected."""

import numpy as np
import pandas as pd
import pytest
from scipy import stats
from tiny_runs import CNN_FITS, CORE_SET, assert_same_results, selections

from alframe.cli import run
from alframe.errors import UserError
from alframe.files import decode_state

BOTH = *CORE_SET, "logger=[]", "pipeline.fidelity=true", "pipeline.sizes=[20,0.5]"
DIFFERENT = *BOTH, "proxy.inverse_regularization=0.01"
"""The target as it is, and a proxy that is regularized more."""


def fidelity(path):
    return pd.read_csv(path / "fidelity.csv")


def all_scores(path):
    """Of all rows, in their order, from a run that picked all of them."""
    table = selections(path)
    return table[table.round_id == table.round_id.max()].sort_values("row").score.to_numpy()


def test_a_proxy_that_is_the_target_agrees_with_it(workdir):
    table = fidelity(run(*BOTH).path)
    assert table.train_rows.tolist() == [20, 100]
    assert table.overlap.tolist() == [1, 1]
    assert table.chance.tolist() == [0.1, 0.5]
    assert table.spearman.tolist() == pytest.approx([1, 1])
    assert table.kendall.tolist() == pytest.approx([1, 1])
    assert (table[["seconds_observe", "seconds_select"]] > 0).all(axis=None)


def test_the_figures_are_those_of_two_runs_that_select_for_themselves(workdir):
    table = fidelity(run(*DIFFERENT).path)
    sizes = "pipeline.sizes=[20,0.5,1.0]"
    proxys = run(*CORE_SET, "logger=[]", sizes, "proxy.inverse_regularization=0.01").path
    targets = run(*CORE_SET, "logger=[]", sizes, "proxy=null").path
    mine, own = selections(proxys), selections(targets)
    for index, size in enumerate((20, 100)):
        common = set(mine[mine.round_id == index].row) & set(own[own.round_id == index].row)
        assert table.overlap[index] == len(common) / size
    assert 0.1 < table.overlap[0] < 1
    scores = all_scores(proxys), all_scores(targets)
    assert table.spearman[0] == pytest.approx(stats.spearmanr(*scores).statistic)
    assert table.kendall[0] == pytest.approx(stats.kendalltau(*scores).statistic)


def test_the_comparison_changes_nothing_else(workdir):
    assert_same_results(run(*DIFFERENT).path, run(*DIFFERENT, "pipeline.fidelity=false").path)


def test_it_is_a_stage_that_is_passed_again_and_keeps_the_targets_picks(workdir):
    path = run(*DIFFERENT, "run_dir=here").path
    stage = path / "stages" / "fidelity.npz"
    state, table = decode_state(stage), (path / "fidelity.csv").read_bytes()
    assert len(np.unique(state["rows_001"])) == 100
    (path / "fidelity.csv").unlink()
    run(*DIFFERENT, "run_dir=here")
    assert (path / "fidelity.csv").read_bytes() == table
    stage.unlink()
    run(*DIFFERENT, "run_dir=here")
    assert decode_state(stage)["rows_001"].tolist() == state["rows_001"].tolist()


def test_a_strategy_whose_picks_hang_together_has_an_overlap_alone(workdir):
    table = fidelity(run(*DIFFERENT, "strategy=kcenter").path)
    assert table[["spearman", "kendall"]].isna().all(axis=None)
    assert table.overlap.between(0, 1).all()


def test_histories_are_recorded_of_the_target_too(workdir):
    short = "recipe={epochs: 3, min_steps: 0}"
    words = (
        "pipeline=core_set", "strategy=forgetting", "learner@proxy=mlp", f"proxy.{short}",
        *CNN_FITS, "target.recipe.epochs=3", "pipeline.sizes=[50]",
    )  # fmt: skip
    plain, compared = run(*words).path, run(*words, "pipeline.fidelity=true").path
    assert_same_results(compared, plain)
    (row,) = fidelity(compared).to_dict("records")
    assert 0 <= row["overlap"] <= 1
    assert -1 < row["spearman"] < 1


@pytest.mark.parametrize(
    ("words", "named"),
    [
        (["proxy=null"], "learner@proxy"),
        (["pipeline.full=false"], r"pipeline\.full=true"),
        (["strategy=random"], "Random listens to no model"),
        (["strategy=el2n", "learner@proxy=mlp"], "short fits of its own"),
        (["strategy=forgetting", "learner@proxy=mlp"], "ProbeLearner does not give the dynamics"),
    ],
)
def test_what_cannot_be_compared_is_refused_before_anything_is_written(words, named, workdir):
    with pytest.raises(UserError, match=named):
        run(*BOTH, *words, "run_dir=here")
    assert not (workdir / "here").exists()


def test_a_run_of_version_0_1_0_goes_on_by_its_own_command(workdir):
    words = *CORE_SET, "logger=[]", "run_dir=here"
    path = run(*words).path
    config = path / "config.yaml"
    config.write_text(config.read_text().replace("  fidelity: false\n", ""))
    assert "fidelity" not in config.read_text()
    assert run(*words).outcome.state == "done"
    with pytest.raises(UserError, match=r"pipeline\.fidelity"):
        run(*words, "pipeline.fidelity=true")
