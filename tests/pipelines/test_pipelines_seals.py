"""Runs that look only at the neighbors of labeled rows, and runs on stored embeddings."""

import json

import numpy as np
import pytest
from scipy.spatial.distance import cdist
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler
from tiny_runs import ACTIVE, assert_same_results, metrics, selections

from alframe.cli import run
from alframe.cli.embed import main as embed
from alframe.data.digits import digits
from alframe.errors import UserError
from alframe.learners.probe import ProbeLearner

SEALS = (*ACTIVE, "logger=[]", "candidates=seals", "candidates.k=8")
DATA = ("data.subset=300", "data.validation=100", "data.test=100")


def stores(folder):
    """Fills stores of the raw inputs of the runs' dataset, and returns the words that name them."""
    for split in ("train", "test"):
        words = ("data=digits", *DATA, "encoder=raw", "trainer=cpu", f"split={split}")
        assert embed([*words, f"out={folder / split}", "store.dtype=float32"]) == 0
    return (f"embeddings.train={folder / 'train'}", f"embeddings.test={folder / 'test'}")


def test_picks_are_neighbors_of_what_was_labeled(workdir):
    path = run(*SEALS).path
    data = digits(subset=300, validation=100, test=100)
    standardized = (data.inputs - data.mean) / data.std
    points = standardized.reshape(len(data.inputs), -1)
    distances = cdist(points, points)
    np.fill_diagonal(distances, np.inf)
    near = distances.argsort(axis=1, kind="stable")[:, :8]
    picked = selections(path)
    for round_id in (1, 2):
        labeled = picked.row[picked.round_id < round_id].to_numpy()
        candidates = np.setdiff1d(np.intersect1d(near[labeled], data.pool_rows), labeled)
        assert np.isin(picked.row[picked.round_id == round_id], candidates).all()
    shares = metrics(path).groupby("round_id").share_touched.first()
    assert shares.is_monotonic_increasing
    assert shares.iloc[-1] < 1
    told = json.loads((path / "status.json").read_text())["neighbors"]
    assert (told["kind"], told["metric"], told["rows"]) == ("exact", "euclidean", data.num_rows)


def test_a_resumed_run_looks_at_the_same_rows(workdir, monkeypatch):
    expected = run(*SEALS, "run_dir=whole").path
    fit = ProbeLearner.fit

    def once(self, view, *rest):
        if len(view.rows) == 30 and not once.over:
            once.over = True
            raise KeyboardInterrupt
        return fit(self, view, *rest)

    once.over = False
    monkeypatch.setattr(ProbeLearner, "fit", once)
    with pytest.raises(KeyboardInterrupt):
        run(*SEALS, "run_dir=stopped")
    assert_same_results(run(*SEALS, "run_dir=stopped").path, expected)


def test_the_embeddings_of_a_store_stand_for_the_inputs(workdir, tmp_path):
    """Those of the raw encoder are the inputs; the index is kept beside them."""
    words = stores(tmp_path)
    expected = run(*SEALS).path
    first = run(*SEALS, *words).path
    assert_same_results(first, expected)
    (index,) = (tmp_path / "train").glob("index_*")
    before = (index / "meta.json").stat().st_mtime_ns
    again = run(*SEALS, *words, "embeddings.learn=true").path
    assert (index / "meta.json").stat().st_mtime_ns == before
    assert selections(again).row[:20].tolist() == selections(expected).row[:20].tolist()


def test_learners_may_see_the_embeddings_in_place_of_the_inputs(workdir, tmp_path):
    """A probe of them is scikit-learn's."""
    data = digits(subset=300, validation=100, test=100)
    path = run(*SEALS, *stores(tmp_path), "embeddings.learn=true").path
    learned = np.union1d(data.pool_rows, data.validation_rows)
    inputs = data.inputs.reshape(len(data.inputs), -1).astype(np.float64)
    scaler = StandardScaler().fit(inputs[learned])
    first = selections(path).query("round_id == 0")
    model = LogisticRegression(max_iter=1000).fit(scaler.transform(inputs[first.row]), first.label)
    accuracy = model.score(
        scaler.transform(data.test_inputs.reshape(-1, inputs.shape[1])), data.test_labels
    )
    table = metrics(path).query("round_id == 0 and split == 'test'")
    assert table.accuracy.item() == pytest.approx(accuracy, abs=0.011)  # one row of float32


def test_embeddings_of_other_rows_are_refused(workdir, tmp_path):
    words = stores(tmp_path)
    other = [word for word in SEALS if not word.startswith("data.test")]
    with pytest.raises(UserError, match=r"embeddings\.train=.*another inputs"):
        run(*other, "data.test=90", *words)
    with pytest.raises(UserError, match=r"embeddings\.test=null: expected the folder of a store"):
        run(*SEALS, words[0], "embeddings.learn=true")


def test_core_sets_have_no_labeled_rows_to_start_from(workdir):
    words = ("pipeline=core_set", "learner@target=probe", "pipeline.sizes=[0.5]", *DATA)
    with pytest.raises(UserError, match=r"candidates=seals .* use pipeline=active_learning"):
        run(*words, "candidates=seals", "logger=[]")
