"""Embeddings with labels as a dataset, in memory and on disk."""

import os
from pathlib import Path

import numpy as np
import pytest

from alframe import noted
from alframe.data.embedded import embedded
from alframe.data.one_against_rest import one_against_rest
from alframe.data.statistics import Moments, mean_and_std, standardizing
from alframe.data.stored import StoredRows, check_in_memory
from alframe.errors import UserError
from alframe.store import Store
from alframe.store.manifest import Layout, Manifest
from alframe.store.plan import Plan
from alframe.store.writer import StoreWriter, Work

POINTS = np.random.default_rng(0).normal(5, 2, size=(500, 4)).astype(np.float16)
LABELS = np.arange(500) % 3


@pytest.fixture
def words(tmp_path):
    for split, rows in (("train", 400), ("test", 100)):
        parts = {"inputs": f"of {split}", "split": split, "encoder": "raw", "weights": "none"}
        points = POINTS[:rows] if split == "train" else POINTS[400:]
        writer = StoreWriter(tmp_path / split, Plan(parts, rows, 4, rows_per_shard=150))
        writer.fill(Work(lambda start, stop, points=points: points[start:stop], 64))
    np.savez(
        tmp_path / "labels.npz", labels=LABELS[:400], test_labels=LABELS[400:], classes=list("abc")
    )
    return {name: str(tmp_path / name) for name in ("train", "test")} | {
        "labels": str(tmp_path / "labels.npz")
    }


@pytest.mark.parametrize("keep_gib", [0.0, 1.0])
def test_rows_and_labels_are_those_of_the_files(words, keep_gib):
    data = embedded(**words, keep_gib=keep_gib, validation=50)
    assert isinstance(data.inputs, StoredRows) == (keep_gib == 0)
    assert (data.num_rows, data.input_shape, data.kind) == (400, (4,), "features")
    rows = np.array([399, 0, 17])
    np.testing.assert_array_equal(data.inputs[rows], POINTS[rows])
    np.testing.assert_array_equal(data.inputs[5:9], POINTS[5:9])
    np.testing.assert_array_equal(data.test_inputs, POINTS[400:])
    np.testing.assert_array_equal(data.reveal(rows), LABELS[rows])
    assert data.classes == ("a", "b", "c")
    assert (len(data.pool_rows), len(data.validation_rows)) == (350, 50)
    expected = mean_and_std(POINTS[:400].astype(np.float32))
    for _ in range(2):  # the second time what was kept is read
        again = embedded(**words, keep_gib=keep_gib)
        np.testing.assert_allclose([again.mean, again.std], expected, rtol=1e-5)


def test_what_is_made_of_stored_rows_is_told_apart_by_store_and_moments(words, tmp_path):
    data = embedded(**words)
    own = data.inputs_fingerprint("train")
    assert own == embedded(**words, keep_gib=0, validation=9).inputs_fingerprint("train")
    assert own != embedded(**words, subset=200).inputs_fingerprint("train")  # another mean
    assert own != data.inputs_fingerprint("test")
    made = [data.stores["train"].parts | {"inputs": inputs} for inputs in (own, "of train", "mine")]
    stores = [Store(tmp_path, Manifest(parts, Layout(400, 4, "float16", 150))) for parts in made]
    assert [data.is_embedded_in(store, "train") for store in stores] == [True, True, False]


def test_altered_rows_are_refused_though_their_moments_are_kept(words, monkeypatch):
    verified = []
    verify = Store.verify
    monkeypatch.setattr(
        Store, "verify", lambda store: (verified.append(store.parts["split"]), verify(store))
    )
    monkeypatch.setattr(noted, "MOMENT", -(10**12))  # files were touched long ago
    embedded(**words, keep_gib=0.0)
    embedded(**words, keep_gib=0.0)
    assert verified == ["test", "train", "test"]  # test rows are in memory, and read each time
    shard = Path(words["train"]) / "shard_00001.npy"
    whole = shard.read_bytes()
    os.utime(shard)
    embedded(**words, keep_gib=0.0)
    assert verified[3:] == ["test", "train"]
    shard.write_bytes(bytes([*whole[:-1], whole[-1] ^ 1]))
    for _ in range(2):
        with pytest.raises(UserError, match=r"shard_00001\.npy is altered: expected sha256"):
            embedded(**words, keep_gib=0.0)
    shard.write_bytes(whole)
    embedded(**words, keep_gib=0.0)


def test_where_rows_stay_changes_no_fingerprint(words):
    first, second = (embedded(**words, keep_gib=keep) for keep in (0.0, 1.0))
    assert first.fingerprint == second.fingerprint
    other = embedded(**words, validation=10)
    assert other.fingerprint != first.fingerprint


def test_a_concept_that_does_not_exist_names_the_data(words):
    says = r"concept=d: expected one of the 3 classes of data=embedded"
    with pytest.raises(UserError, match=says):
        one_against_rest(embedded(**words), "d")


def test_labels_of_other_rows_are_refused(words, tmp_path):
    np.savez(tmp_path / "labels.npz", labels=LABELS[:399], test_labels=LABELS[400:])
    with pytest.raises(UserError, match=r"data\.labels=.*: labels: expected one .* 400 rows"):
        embedded(**words)
    np.savez(tmp_path / "labels.npz", labels=LABELS[:400])
    with pytest.raises(UserError, match=r"test_labels: expected one .* got none"):
        embedded(**words)


def test_learners_that_need_memory_say_so(words):
    data = embedded(**words, keep_gib=0)
    with pytest.raises(UserError, match=r"raise embeddings\.keep_gib"):
        check_in_memory(data.inputs)
    check_in_memory(embedded(**words).inputs)


@pytest.mark.parametrize("dtype", [np.float16, np.float32])
def test_moments_of_chunks_are_those_of_all(dtype):
    rng = np.random.default_rng(0)
    points = (rng.normal(size=(3000, 5)) * [1, 5, 0.1, 1, 0] + [0, 10, 3, -7, 2]).astype(dtype)
    before = points.copy()
    moments = Moments(5)
    for start in range(0, 3000, 700):
        moments.add(points[start : start + 700])
    np.testing.assert_array_equal(points, before)
    wide = points.astype(np.float64)
    np.testing.assert_allclose(moments.mean, wide.mean(0), rtol=1e-6, atol=1e-7)
    np.testing.assert_allclose(moments.variance, wide.var(0), rtol=1e-4, atol=1e-10)
    assert standardizing(moments.mean, moments.variance)[1][-1] == 1
