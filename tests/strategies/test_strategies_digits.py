"""Every strategy in every pipeline that it is defined in, on digits with a real network."""

from __future__ import annotations

import pandas as pd
import pytest
from strategy_worlds import NAMES, strategy_of

from alframe.cli import run
from alframe.errors import UserError

SMALL = (
    "data.subset=260", "data.validation=0", "data.test=100", "logger=[]", "trainer=cpu",
    "target.recipe.epochs=2", "target.recipe.min_steps=0", "target.recipe.curve_every=0",
)  # fmt: skip
PIPELINES = {
    "active_learning": (
        "learner@target=small_cnn", "target.model.dropout=0.2", "schedule.initial=20",
        "schedule.query_size=15", "schedule.budget=50",
    ),
    "core_set": (
        "pipeline=core_set", "learner@target=small_cnn", "learner@proxy=mlp",
        "proxy.model.dropout=0.2", "pipeline.sizes=[0.1,0.4]", "pipeline.full=false",
        "proxy.recipe.epochs=3", "proxy.recipe.min_steps=0", "proxy.recipe.curve_every=0",
    ),
}  # fmt: skip
SHORT_FITS = ("strategy.n_fits=2", "strategy.until_epoch=2")
PAIRS = [(name, pipeline) for name in NAMES for pipeline in sorted(strategy_of(name).pipelines)]
REFUSED = [
    (name, pipeline)
    for name in NAMES
    for pipeline in sorted(PIPELINES.keys() - strategy_of(name).pipelines)
]


def words(name, pipeline, folder):
    shorter = SHORT_FITS if name in ("el2n", "grand") else ()
    place = f"run_dir={folder / 'run'}"
    return (*PIPELINES[pipeline], *SMALL, *shorter, f"strategy={name}", "seed=3", place)


@pytest.mark.slow
@pytest.mark.parametrize(("name", "pipeline"), PAIRS)
def test_it_runs_in_a_pipeline(tmp_path, name, pipeline):
    done = run(*words(name, pipeline, tmp_path))
    picked = pd.read_parquet(done.path / "selections.parquet")
    sizes = picked.groupby("round_id").size().tolist()
    assert sizes == ([20, 15, 15] if pipeline == "active_learning" else [26, 104])
    assert (picked.groupby("round_id")["row"].nunique() == sizes).all()
    assert done.outcome.state == "done"


@pytest.mark.parametrize(("name", "pipeline"), REFUSED)
def test_the_other_pipeline_refuses_it_with_the_reason(tmp_path, name, pipeline):
    with pytest.raises(UserError, match=rf"cannot run in pipeline={pipeline}: .*, since it \w+"):
        run(*words(name, pipeline, tmp_path))
    assert not (tmp_path / "run").exists()
