"""A dataset whose inputs are stored embeddings."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from alframe.data.digits import digits
from alframe.data.on_embeddings import on_embeddings, open_store
from alframe.data.one_against_rest import one_against_rest
from alframe.errors import UserError
from alframe.store.plan import Plan
from alframe.store.writer import StoreWriter, Work

OPTIONS = {"test": 100, "validation": 100, "subset": 300}


def embed(inputs):
    """Five numbers of each row."""
    flat = inputs.reshape(len(inputs), -1).astype(np.float32)
    return flat[:, 10:15] + np.arange(1, 6, dtype=np.float32)


def store(folder, data, split, invalid=(), **options):
    parts = {"encoder": "five", "weights": "none", **options.pop("parts", {})}
    about = {"inputs": data.inputs_fingerprint(split), "split": split, **parts}
    values = embed(data.inputs_of(split))
    values[list(invalid)] = np.nan
    writer = StoreWriter(folder, Plan(about, len(values), 5, **options), "drop")
    writer.fill(Work(lambda start, stop: values[start:stop], 400))
    return str(folder)


@pytest.fixture
def data():
    return digits(**OPTIONS)


@pytest.fixture
def train(tmp_path, data):
    return store(tmp_path / "train", data, "train")


def test_inputs_are_the_embeddings_and_all_else_stays(data, train, tmp_path):
    found = on_embeddings(data, train, store(tmp_path / "test", data, "test"))
    np.testing.assert_array_equal(found.inputs, embed(data.inputs).astype(np.float16))
    np.testing.assert_array_equal(found.test_inputs, embed(data.test_inputs).astype(np.float16))
    assert (found.kind, found.input_shape, found.inputs.dtype) == ("features", (5,), np.float32)
    for name in ("pool_rows", "validation_rows", "test_labels"):
        np.testing.assert_array_equal(getattr(found, name), getattr(data, name))
    rows = np.arange(data.num_rows)
    np.testing.assert_array_equal(found.reveal(rows), data.reveal(rows))
    assert found.fingerprint != data.fingerprint


def test_values_are_standardized_by_rows_that_may_be_learned_from(data, train, tmp_path):
    found = on_embeddings(data, train, store(tmp_path / "test", data, "test"))
    learned = np.concatenate([data.pool_rows, data.validation_rows])
    np.testing.assert_allclose(found.mean, found.inputs[learned].mean(axis=0), rtol=1e-5)
    np.testing.assert_allclose(found.std, found.inputs[learned].std(axis=0), rtol=1e-5)


def test_one_store_serves_every_concept(data, train):
    for concept in ("3", "7"):
        assert open_store(train, one_against_rest(data, concept), "train").num_rows == 1797


def test_another_encoder_has_another_fingerprint(data, train, tmp_path):
    one = on_embeddings(data, train, store(tmp_path / "test", data, "test"))
    parts = {"parts": {"weights": "other"}}
    others = [store(tmp_path / f"{name}_2", data, name, **parts) for name in ("train", "test")]
    assert on_embeddings(data, *others).fingerprint != one.fingerprint


@pytest.mark.parametrize("options", [{"parts": {"weights": "other"}}, {"dtype": "float32"}])
def test_train_and_test_are_of_one_encoder(data, train, tmp_path, options):
    test = store(tmp_path / "test", data, "test", **options)
    with pytest.raises(UserError, match=r"embeddings\.test=.*the encoder of embeddings\.train="):
        on_embeddings(data, train, test)


def test_no_store_is_refused_with_the_command_that_fills_one(data, train):
    for stores, key in [((None, train), "train"), ((train, None), "test")]:
        says = rf"embeddings\.{key}=null: .*alframe-embed data=digits split={key} out=FOLDER"
        with pytest.raises(UserError, match=says):
            on_embeddings(data, *stores)


def test_a_store_of_other_rows_is_refused(data, train):
    with pytest.raises(UserError, match=r"embeddings\.test=.*got another split \(train\)"):
        on_embeddings(data, train, train)
    with pytest.raises(UserError, match=r"embeddings\.train=.*another inputs"):
        open_store(train, digits(test=90), "train")


@pytest.mark.parametrize("keep_gib", [0, 1])
def test_rows_without_an_embedding_are_left_out(data, train, tmp_path, caplog, keep_gib):
    pool, validation = data.pool_rows[[3, 20]], data.validation_rows[:1]
    aside = np.setdiff1d(np.arange(data.num_rows), [*data.pool_rows, *data.validation_rows])[:5]
    bad = [*pool, *validation, *aside]
    stores = (
        store(tmp_path / "some", data, "train", invalid=bad),
        store(tmp_path / "test", data, "test", invalid=(0, 99)),
    )
    found = on_embeddings(data, *stores, keep_gib)
    assert "2 pool rows, 1 validation rows and 2 test rows are left out" in caplog.text
    np.testing.assert_array_equal(found.pool_rows, np.setdiff1d(data.pool_rows, pool))
    np.testing.assert_array_equal(found.validation_rows, data.validation_rows[1:])
    np.testing.assert_array_equal(found.test_labels, data.test_labels[1:99])
    expected = embed(data.test_inputs).astype(np.float16)[1:99]
    np.testing.assert_array_equal(found.test_inputs, expected)
    learned = np.concatenate([found.pool_rows, found.validation_rows])
    np.testing.assert_array_equal(
        found.inputs[learned], embed(data.inputs).astype(np.float16)[learned]
    )
    np.testing.assert_allclose(found.mean, found.inputs[learned].mean(axis=0), rtol=1e-4)
    assert found.num_rows == data.num_rows  # rows keep their numbers
    whole = on_embeddings(data, train, store(tmp_path / "whole", data, "test"))
    assert found.fingerprint != whole.fingerprint


def test_a_store_of_fewer_rows_is_refused(data, train, tmp_path):
    shorter = replace(data, test_inputs=data.test_inputs[:90])
    parts = {"parts": {"inputs": data.inputs_fingerprint("test")}}
    test = store(tmp_path / "test", shorter, "test", **parts)
    with pytest.raises(UserError, match=r"embeddings\.test=.*of the 100 test rows .* got 90"):
        on_embeddings(data, train, test)
