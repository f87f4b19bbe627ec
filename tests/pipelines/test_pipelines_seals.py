"""Runs that look only at the neighbors of labeled rows, and runs on stored embeddings."""

import json
import shutil

import numpy as np
import pandas as pd
import pytest
import yaml
from scipy.spatial.distance import cdist
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler
from tiny_runs import ACTIVE, assert_same_results, metrics, selections

from alframe import noted
from alframe.cli import run
from alframe.cli.embed import main as embed
from alframe.data.digits import digits
from alframe.errors import UserError
from alframe.learners.probe import ProbeLearner
from alframe.neighbors.approximate import FaissIndex
from alframe.neighbors.neighborhood import Neighborhood
from alframe.store import Plan, Store, StoreWriter, Work

SEALS = (*ACTIVE, "logger=[]", "candidates=seals", "candidates.k=8")
DATA = ("data.subset=300", "data.validation=100", "data.test=100")


def status(path):
    return json.loads((path / "status.json").read_text())


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
    told = status(path)
    neighbors = told["neighbors"]
    assert [neighbors[name] for name in ("kind", "metric", "rows")] == [
        "exact", "euclidean", data.num_rows,
    ]  # fmt: skip
    assert told["recall"] == {}  # it is exact
    assert told["embeddings"] == {
        "index": {"encoder": "raw", "weights": "none"},
        "selector": {"role": "target", "learner": "probe", "of": {"data": "digits"}},
    }


def test_rows_are_searched_for_when_their_labels_come(workdir, monkeypatch):
    done, of, fit = [], Neighborhood.of, ProbeLearner.fit

    def searched(self, rows, k):
        done.append(len(rows))
        return of(self, rows, k)

    def fitted(self, view, *rest):
        done.append(f"fit {len(view.rows)}")
        return fit(self, view, *rest)

    monkeypatch.setattr(Neighborhood, "of", searched)
    monkeypatch.setattr(ProbeLearner, "fit", fitted)
    table = pd.read_csv(run(*SEALS).path / "metrics.csv").groupby("round_id").first()
    assert done == [20, "fit 20", 10, "fit 30", "fit 40"]  # nothing is chosen after the last
    assert (table.seconds_look_up[1:] > 0).all()
    assert (table.seconds_observe[1:] > table.seconds_look_up[1:]).all()
    assert table.seconds_observe[0] == 0
    everywhere = pd.read_csv(run(*ACTIVE, "logger=[]").path / "metrics.csv")
    assert everywhere.groupby("round_id").seconds_look_up.first().tolist()[1:] == [0, 0]


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
    index = index_in(tmp_path)
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


def index_in(folder):
    (index,) = (folder / "train").glob("index_*")
    return index


def test_a_run_says_which_index_it_searched_and_whose_embeddings_are_whose(workdir, tmp_path):
    words = *SEALS, *stores(tmp_path), "index=ivf_flat", "index.nprobe=3", "learner@proxy=probe"
    told = status(run(*words, "embeddings.learn=true").path)
    store = Store.open(tmp_path / "train")
    neighbors, raw = told["neighbors"], {"encoder": "raw", "weights": "none", "dtype": "float32"}
    assert neighbors["factory"].startswith("IVF")
    assert (neighbors["source_key"], neighbors["nprobe"]) == (store.key, 3)
    assert told["embeddings"] == {
        "index": raw,
        "selector": {"role": "proxy", "learner": "probe", "of": raw},
    }
    recall = told["recall"]
    assert (recall["k"], recall["queries"]) == (100, 200)
    assert 0.3 < recall["recall"] < 1
    assert "embeddings" not in status(run(*ACTIVE, "logger=[]").path)


def test_an_index_is_built_and_measured_once_and_judged_in_every_run(workdir, tmp_path, capsys):
    words = *SEALS, *stores(tmp_path), "index=ivf_flat"
    poor = *words, "index.nprobe=1", "schedule.budget=30"
    found = status(run(*poor).path)["recall"]
    built = (index_in(tmp_path) / "meta.json").stat().st_mtime_ns
    first = capsys.readouterr().err
    assert f"recall@100 of the index is {found['recall']:.3f}" in first
    assert "index of 1797 rows built" in first
    assert status(run(*poor).path)["recall"] == found
    again = capsys.readouterr().err
    assert "raise index.nprobe, set index=exact, or lower index.min_recall" in again
    assert "built" not in again
    with pytest.raises(UserError, match=r"expected index\.min_recall=0\.9 or more"):
        run(*poor, "index.on_low_recall=refuse", "run_dir=refused")
    assert not (workdir / "refused").exists()
    more = status(run(*poor, "index.nprobe=20").path)
    assert more["recall"]["recall"] > found["recall"]
    assert (index_in(tmp_path) / "meta.json").stat().st_mtime_ns == built


def test_an_index_whose_building_was_killed_is_built(workdir, tmp_path, monkeypatch):
    words = *SEALS, *stores(tmp_path), "index=hnsw"
    save = FaissIndex.save_state

    def killed(self, *args):
        raise KeyboardInterrupt

    monkeypatch.setattr(FaissIndex, "save_state", killed)
    with pytest.raises(KeyboardInterrupt):
        run(*words)
    assert not (index_in(tmp_path) / "meta.json").exists()
    monkeypatch.setattr(FaissIndex, "save_state", save)
    assert run(*words).outcome.state == "done"


def test_an_altered_index_or_shard_is_refused_and_says_what_to_remove(workdir, tmp_path):
    found = stores(tmp_path)
    words = *SEALS, *found
    run(*words)
    index = index_in(tmp_path)
    state = index / "state.npz"
    before = state.read_bytes()
    state.write_bytes(before[:-1])
    with pytest.raises(UserError, match=rf"state\.npz is not what was written.*remove {index}"):
        run(*words, "run_dir=refused")
    state.write_bytes(before)
    shard = tmp_path / "train" / "shard_00000.npy"
    whole = shard.read_bytes()
    content = bytearray(whole)
    content[-3] ^= 1
    shard.write_bytes(content)  # while the index is there
    for wrong in (words, (*ACTIVE, *found, "embeddings.learn=true")):
        with pytest.raises(UserError, match=r"shard_00000\.npy is altered: expected sha256"):
            run(*wrong, "run_dir=refused")
    shutil.rmtree(index)
    with pytest.raises(UserError, match=r"shard_00000\.npy is altered: expected sha256"):
        run(*words, "run_dir=refused")
    shard.write_bytes(whole)
    run(*words)
    shard.write_bytes(content[:-8])
    with pytest.raises(UserError, match=r"shard_00000\.npy is truncated"):
        run(*words, "run_dir=refused")
    assert not (workdir / "refused").exists()


def test_a_store_that_cannot_be_written_is_searched_all_the_same(
    workdir, tmp_path, monkeypatch, capsys
):
    words = *SEALS, *stores(tmp_path), "index=ivf_flat"
    expected = run(*words).path
    shutil.rmtree(index_in(tmp_path))

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("alframe.cli.kept.take_lock", full)
    assert_same_results(run(*words).path, expected)
    assert "index is for this run alone" in capsys.readouterr().err


def test_an_index_that_the_disk_has_no_room_for_is_searched_all_the_same(
    workdir, tmp_path, monkeypatch, capsys
):
    words = *SEALS, *stores(tmp_path), "index=ivf_flat"
    expected = run(*words).path
    shutil.rmtree(index_in(tmp_path))
    built, build = [], FaissIndex.build

    def full(*_):
        raise RuntimeError("Error: 'ret == (nitems)' failed: No space left on device")

    def counted(self, source):
        built.append(self)
        build(self, source)

    monkeypatch.setattr("faiss.write_index", full)
    monkeypatch.setattr(FaissIndex, "build", counted)
    assert_same_results(run(*words).path, expected)
    said = capsys.readouterr().err
    assert "index is for this run alone" in said
    assert "No space left on device" in said
    assert len(built) == 1
    assert not list(index_in(tmp_path).glob("index.faiss"))


def test_a_store_that_may_only_be_read_keeps_its_index(workdir, tmp_path, monkeypatch, capsys):
    words = *SEALS, *stores(tmp_path), "index=ivf_flat"
    expected = run(*words).path
    capsys.readouterr()

    def refused(*_):
        raise OSError(30, "Read-only file system")

    monkeypatch.setattr("alframe.cli.kept.take_lock", refused)
    monkeypatch.setattr("alframe.cli.kept.write_json", refused)
    monkeypatch.setattr("alframe.noted.write_json", refused)
    assert_same_results(run(*words).path, expected)
    said = capsys.readouterr().err
    assert "built" not in said
    assert "this run alone" not in said
    assert status(run(*words, "index.nprobe=5").path)["recall"]  # measured anew: nobody has yet
    assert "recall is for this run alone" in capsys.readouterr().err


def test_shards_are_compared_again_only_where_they_changed(workdir, tmp_path, monkeypatch):
    words, verify, seen = (*SEALS, *stores(tmp_path), "index=ivf_flat"), Store.verify, []

    def counted(self):
        if self.folder.name == "train":
            seen.append(self)
        verify(self)

    monkeypatch.setattr(Store, "verify", counted)
    monkeypatch.setattr(noted, "MOMENT", -(10**12))  # files were touched long ago
    run(*words)
    run(*words)
    assert len(seen) == 1
    (tmp_path / "train" / "shard_00000.npy").touch()
    run(*words)
    run(*words, "index.memory_gib=1")  # of the same index
    assert len(seen) == 2


def broken_stores(folder, rows):
    """Stores whose rows are partly NaN, as those of an encoder that fails on them."""
    words = stores(folder / "whole")
    for split in ("train", "test"):
        whole = Store.open(folder / "whole" / split)
        values = whole.take(np.arange(whole.num_rows))
        values[rows if split == "train" else []] = np.nan
        parts = {name: part for name, part in whole.parts.items() if name != "dtype"}
        plan = Plan(parts, whole.num_rows, whole.width, "float32")
        writer = StoreWriter(folder / split, plan, "drop")
        writer.fill(Work(lambda start, stop, values=values: values[start:stop], 500))
    return [word.replace("whole/", "") for word in words]


def test_rows_without_an_embedding_are_refused_or_left_out(workdir, tmp_path):
    labeled = selections(run(*ACTIVE, "logger=[]").path).row[:5].tolist()
    words = *SEALS, *broken_stores(tmp_path, [*labeled, 1000])
    with pytest.raises(UserError, match=r"6 bad rows of 1797: .*index\.drop_invalid=true"):
        run(*words)
    path = run(*words, "index.drop_invalid=true").path  # some of the labeled rows are among them
    assert status(path)["neighbors"]["indexed"] == 1791
    picked = selections(path)
    assert set(labeled) <= set(picked.row[picked.round_id == 0])
    assert not np.isin(picked.row[picked.round_id > 0], [*labeled, 1000]).any()
    with pytest.raises(UserError, match=r"candidates\.k=1791: expected at most 1790, the other"):
        run(*words, "index.drop_invalid=true", "candidates.k=1791")


@pytest.mark.parametrize("rule", ["seals", "anchors"])
def test_random_selection_runs_inside_the_candidates(workdir, rule):
    small = ("candidates.k=4", *(["candidates.size=30"] if rule == "anchors" else []))
    words = *ACTIVE, "logger=[]", f"candidates={rule}", *small, "strategy=random"
    path = run(*words).path
    picked = selections(path)
    everywhere = selections(run(*ACTIVE, "logger=[]", "strategy=random").path)
    assert picked.row[:20].tolist() == everywhere.row[:20].tolist()
    assert picked.row.tolist() != everywhere.row.tolist()
    assert metrics(path).share_touched.max() < 0.7
    data = digits(subset=300, validation=100, test=100)
    assert np.isin(picked.row, data.pool_rows).all()


SHORT = (*ACTIVE, "logger=[]", "candidates=seals", "candidates.k=1", "schedule.query_size=40")


@pytest.mark.parametrize("when_short", ["random", "widen"])
def test_candidates_that_run_short_are_filled_up(workdir, when_short, capsys):
    path = run(*SHORT, "schedule.budget=100", f"candidates.when_short={when_short}").path
    assert selections(path).row.nunique() == 100
    assert ("random rows are added" in capsys.readouterr().err) == (when_short == "random")


def test_candidates_that_run_short_may_end_the_run(workdir):
    with pytest.raises(UserError, match=r"candidates\.k=1: expected 40 unlabeled neighbors of"):
        run(*SHORT, "schedule.budget=60", "candidates.when_short=refuse")


@pytest.mark.parametrize("given", ["IVF8,Flat", "'IVF8,Flat'", '"IVF8,Flat"', "IVF{lists},Flat"])
def test_a_factory_string_may_be_given_as_faiss_writes_it(workdir, given):
    path = run(*SEALS, "schedule.budget=30", "index=faiss", f"index.factory={given}").path
    expected = "IVF28,Flat" if "lists" in given else "IVF8,Flat"
    assert status(path)["neighbors"]["factory"] == expected


def test_a_key_of_another_index_is_refused_with_those_that_have_it(workdir):
    says = r"index\.min_recall: expected a key of the chosen option; index=auto, .*index=lsh have"
    with pytest.raises(UserError, match=says):
        run(*SEALS, "index=exact", "index.min_recall=0.5")
    with pytest.raises(UserError, match=r"index\.nprobes: .*did you mean index\.nprobe\?"):
        run(*SEALS, "index=ivf_flat", "index.nprobes=5")


def test_a_run_that_began_before_there_were_indexes_goes_on(workdir):
    words = *ACTIVE, "logger=[]", "run_dir=here"
    path = run(*words).path
    config = yaml.safe_load((path / "config.yaml").read_text())
    for name in ("index", "embeddings", "concept"):
        del config[name]
    (path / "config.yaml").write_text(yaml.safe_dump(config))
    assert run(*words).outcome.state == "done"
    with pytest.raises(UserError, match=r"embeddings\.learn: \(absent\) -> True"):
        run(*words, *stores(workdir / "stores"), "embeddings.learn=true")


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
