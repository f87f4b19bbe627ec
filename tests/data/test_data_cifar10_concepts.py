"""CIFAR-10 by the names of its files, in a tiny copy of the official layout and in the real one."""

from __future__ import annotations

import hashlib
import os
import pickle

import numpy as np
import pytest
import torchvision.datasets

from alframe.data.cifar10_concepts import cifar10_concepts, concept_of
from alframe.data.vision import torchvision_dataset
from alframe.errors import UserError

NAMES = {
    "data_batch_1": ["icebreaker_s_000001.png", "tabby_s_000002.png", "sea_s_horse_s_000001.png"],
    "data_batch_2": ["tabby_s_000009.png", "icebreaker_s_000007.png"],
    "test_batch": ["tabby_s_000003.png", "tow_truck_s_000001.png"],
}


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """Writes batches as CIFAR-10 has them, with the names that are given."""
    reader = torchvision.datasets.CIFAR10
    (tmp_path / reader.base_folder).mkdir()

    def write(name, content):
        data = pickle.dumps(content)
        (tmp_path / reader.base_folder / name).write_bytes(data)
        return [name, hashlib.md5(data).hexdigest()]

    def write_all(names=NAMES, key="filenames"):
        rng = np.random.default_rng(0)
        lists = {}
        for file, images in names.items():
            pixels = rng.integers(0, 256, (len(images), 3072), dtype=np.uint8)
            content = {"data": pixels, "labels": [0] * len(images), key: images}
            lists.setdefault("test" if "test" in file else "train", []).append(write(file, content))
        monkeypatch.setattr(reader, "train_list", lists["train"])
        monkeypatch.setattr(reader, "test_list", lists["test"])
        classes = {"label_names": [f"class {i}" for i in range(10)]}
        name, md5 = write("batches.meta", classes)
        meta = {"filename": name, "key": "label_names", "md5": md5}
        monkeypatch.setattr(reader, "meta", meta)
        return str(tmp_path)

    return write_all


def test_the_class_of_a_row_is_the_concept_in_its_files_name(folder):
    data = cifar10_concepts(root=folder(), download=False)
    assert data.classes == ("icebreaker", "sea_s_horse", "tabby", "tow_truck")
    named = [data.classes[label] for label in data.reveal(np.arange(5))]
    assert named == ["icebreaker", "tabby", "sea_s_horse", "tabby", "icebreaker"]
    assert [data.classes[label] for label in data.test_labels] == ["tabby", "tow_truck"]


def test_the_rows_are_those_of_cifar10(folder):
    root = folder()
    fine, coarse = cifar10_concepts(root=root), torchvision_dataset(name="cifar10", root=root)
    np.testing.assert_array_equal(fine.inputs, coarse.inputs)
    assert fine.fingerprint != coarse.fingerprint
    for split in ("train", "test"):  # so that one store of embeddings serves both
        assert fine.inputs_fingerprint(split) == coarse.inputs_fingerprint(split)


@pytest.mark.parametrize("name", ["icebreaker.png", "icebreaker-s-1.png"])
def test_a_name_without_a_concept_is_refused(folder, name):
    with pytest.raises(ValueError, match="expected a name like"):
        concept_of(name)
    root = folder({**NAMES, "data_batch_2": [name]})
    with pytest.raises(UserError, match=rf"paths\.data_dir=.*got '{name}'.*use data=cifar10"):
        cifar10_concepts(root=root, download=False)


def test_files_without_names_are_refused(folder):
    with pytest.raises(UserError, match=r"paths\.data_dir=.*with the names of the images"):
        cifar10_concepts(root=folder(key="other"), download=False)


def test_absent_data_are_refused(tmp_path):
    with pytest.raises(UserError, match=r"paths\.data_dir=.*absent or damaged"):
        cifar10_concepts(root=str(tmp_path), download=False)


@pytest.mark.skipif("ALFRAME_DATA_DIR" not in os.environ, reason="needs CIFAR-10")
def test_the_real_concepts():
    data = cifar10_concepts(root=os.environ["ALFRAME_DATA_DIR"], download=False)
    counts = np.bincount(data.reveal(data.pool_rows), minlength=data.num_classes)
    of = dict(zip(data.classes, counts.tolist(), strict=True))
    assert (data.num_classes, (counts > 0).sum()) == (396, 389)
    wanted = {"tabby_cat": 876, "icebreaker": 52, "tow_truck": 60, "stealth_bomber": 434}
    assert {name: of[name] for name in wanted} == wanted
