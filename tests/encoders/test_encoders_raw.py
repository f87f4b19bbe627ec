"""Raw encoders give what a linear probe sees; equal inputs have equal fingerprints."""

from __future__ import annotations

import numpy as np
import pytest
from encoder_parts import arrays, dataset

from alframe.data.dataset import Splits, build_dataset
from alframe.encoders.raw import RawEncoder


def test_images_are_flattened_and_standardized():
    data = dataset()
    encoder = RawEncoder(data)
    embedded = encoder.embed(data.inputs)
    pixels = data.inputs.astype(np.float64)
    expected = ((pixels - pixels.mean()) / pixels.std()).reshape(len(pixels), -1)
    assert (encoder.width, embedded.dtype) == (64, np.float32)
    np.testing.assert_allclose(embedded, expected, rtol=1e-5, atol=1e-6)


def test_features_that_the_dataset_does_not_standardize_stay_as_they_are():
    features = np.random.default_rng(0).normal(size=(30, 5)).astype(np.float32)
    part = features, np.arange(30) % 2
    data = build_dataset("toy", part, part, None, Splits(), standardize=False)
    np.testing.assert_array_equal(RawEncoder(data).embed(data.inputs), features)


def built(labels=None, validation=9, standardize=True, inputs=None):
    parts = arrays()
    inputs = parts["inputs"] if inputs is None else inputs
    labels = parts["labels"] if labels is None else labels
    test = parts["test_inputs"], parts["test_labels"]
    splits = Splits(validation=validation)
    return build_dataset("toy", (inputs, labels), test, None, splits, standardize)


def test_the_fingerprint_of_inputs_is_of_them_and_their_standardization_alone():
    whole = built()
    print_of = {split: whole.inputs_fingerprint(split) for split in ("train", "test")}
    assert print_of["train"] != print_of["test"]
    for same in (built(labels=arrays()["labels"][::-1]), built(validation=20)):
        assert same.fingerprint != whole.fingerprint
        assert {split: same.inputs_fingerprint(split) for split in print_of} == print_of
    changed = arrays()["inputs"].copy()
    changed[3, 2, 1] ^= 1
    for other in (built(inputs=changed), built(standardize=False)):
        assert other.inputs_fingerprint("train") != print_of["train"]


@pytest.mark.parametrize("split", ["train", "test"])
def test_the_inputs_of_a_split(split):
    data = dataset()
    expected = arrays()["inputs" if split == "train" else "test_inputs"]
    np.testing.assert_array_equal(data.inputs_of(split), expected)
