import pickle

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from alframe.data.dataset import Splits, build_dataset
from alframe.errors import UserError

RNG = np.random.default_rng(0)
IMAGES = RNG.integers(0, 256, (12, 5, 4, 3), dtype=np.uint8)
FEATURES = RNG.normal(size=(12, 4))
LABELS = np.arange(12) % 3


def build(inputs=IMAGES, labels=LABELS, test=None, classes=None, splits=None, **options):
    test = (inputs[:3], labels[:3]) if test is None else test
    return build_dataset("toy", (inputs, labels), test, classes, splits or Splits(), **options)


def test_images():
    data = build(splits=Splits(validation=3))
    assert (data.kind, data.num_classes, data.num_rows) == ("images", 3, 12)
    assert data.input_shape == (5, 4, 3)
    assert data.inputs.dtype == np.uint8
    np.testing.assert_array_equal(data.inputs, IMAGES)
    assert data.test_labels.dtype == np.int64
    assert (len(data.pool_rows), len(data.validation_rows)) == (9, 3)
    assert data.mean.shape == data.std.shape == (3,)
    assert data.mean.dtype == data.std.dtype == np.float32
    assert data.classes == ("0", "1", "2")


def test_images_without_channels_get_one():
    data = build(IMAGES[..., 0])
    assert data.input_shape == (5, 4, 1)
    assert data.test_inputs.shape == (3, 5, 4, 1)


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64, ">f8"])
def test_features_of_any_precision_become_float32(dtype):
    data = build(FEATURES.astype(dtype))
    assert (data.kind, data.input_shape) == ("features", (4,))
    assert data.inputs.dtype == data.test_inputs.dtype == np.dtype("=f4")
    np.testing.assert_allclose(data.inputs, FEATURES, rtol=1e-3, atol=1e-3)


def test_a_dataset_can_be_sent_to_another_process():
    data = build()
    again = pickle.loads(pickle.dumps(data))
    assert again.fingerprint == data.fingerprint
    np.testing.assert_array_equal(again.reveal(np.arange(12)), LABELS)


def test_arrays_are_not_printed():
    assert len(repr(build())) < 200


# --- hidden labels ---


@given(st.lists(st.integers(0, 11)))
def test_reveal_answers_by_row_number(rows):
    labels = build().reveal(rows)
    assert labels.dtype == np.int64
    np.testing.assert_array_equal(labels, LABELS[np.array(rows, dtype=int)])


def test_what_reveal_gives_can_be_changed_without_harm():
    data = build()
    data.reveal(np.arange(12))[:] = 9
    np.testing.assert_array_equal(data.reveal(np.arange(12)), LABELS)


@pytest.mark.parametrize("rows", [[0, 12], [-1], [2**63], [True, False], [0.5]])
def test_reveal_refuses_what_is_no_row_number(rows):
    with pytest.raises(IndexError, match="row"):
        build().reveal(np.array(rows))


def test_labels_have_no_public_name():
    data = build()
    public = [getattr(data, name) for name in dir(data) if not name.startswith("_")]
    arrays = [value for value in public if isinstance(value, np.ndarray)]
    assert len(arrays) == 7
    assert not any(np.array_equal(value, LABELS) for value in arrays)


# --- classes ---


def test_ids_with_gaps_are_numbered_in_order():
    data = build(labels=np.array([-5, 10, 700])[LABELS])
    assert data.classes == ("-5", "10", "700")
    np.testing.assert_array_equal(data.reveal(np.arange(12)), LABELS)
    np.testing.assert_array_equal(data.test_labels, LABELS[:3])


def test_string_ids_are_numbered_in_order():
    names = np.array(["émeu", "a=b, c", "zebra <b>"])
    data = build(labels=names[LABELS])
    assert data.classes == ("a=b, c", "zebra <b>", "émeu")
    revealed = np.array(data.classes)[data.reveal(np.arange(12))]
    np.testing.assert_array_equal(revealed, names[LABELS])


def test_boolean_labels():
    data = build(labels=LABELS == 1)
    assert data.classes == ("0", "1")
    np.testing.assert_array_equal(data.reveal(np.arange(12)), LABELS == 1)


@given(st.lists(st.integers(-(2**60), 2**60), min_size=3, max_size=3, unique=True))
def test_renumbering_the_classes_in_order_moves_no_row(ids):
    splits = Splits(validation=0.25, subset=11, imbalance=0.5)
    plain, renumbered = build(splits=splits), build(labels=np.sort(ids)[LABELS], splits=splits)
    np.testing.assert_array_equal(renumbered.pool_rows, plain.pool_rows)
    np.testing.assert_array_equal(renumbered.validation_rows, plain.validation_rows)
    np.testing.assert_array_equal(renumbered.reveal(np.arange(12)), LABELS)


def test_given_names_keep_their_order_and_may_lack_rows():
    data = build(classes=["c", "a", "b", "never"])
    assert data.classes == ("c", "a", "b", "never")
    np.testing.assert_array_equal(data.reveal(np.arange(12)), LABELS)

    by_name = build(labels=np.array(["c", "a", "b"])[LABELS], classes=["c", "a", "b", "never"])
    np.testing.assert_array_equal(by_name.reveal(np.arange(12)), LABELS)
    assert by_name.fingerprint == data.fingerprint


def test_a_class_that_only_the_test_part_has_counts():
    data = build(test=(IMAGES[:2], np.array([1, 7])), splits=Splits(imbalance=0.5))
    assert data.classes == ("0", "1", "2", "7")
    np.testing.assert_array_equal(data.test_labels, [1, 3])
    # Its place counts in the imbalance too: shares 1, 0.5 ** (1 / 3), 0.5 ** (2 / 3) of 4 rows.
    np.testing.assert_array_equal(np.bincount(data.reveal(data.pool_rows)), [4, 3, 3])


# --- fingerprint ---


def changed(array, index):
    array = array.copy()
    array[index] = array[index] ^ 1 if array.dtype == np.uint8 else array[index] + 1e-3
    return array


def test_equal_data_have_equal_fingerprints():
    first, second = build(splits=Splits(validation=2)), build(splits=Splits(validation=2))
    assert first.fingerprint == second.fingerprint
    assert len(first.fingerprint) == 64
    # Layout in memory is no content.
    turned = np.asfortranarray(IMAGES)
    assert build(turned).fingerprint == build().fingerprint


def test_everything_moves_the_fingerprint():
    names = ["ant", "bee", "cat"]
    test = IMAGES[:3], LABELS[:3]
    other_labels = LABELS.copy()
    other_labels[-1] = 0
    variants = [
        build(classes=names),
        build(changed(IMAGES, (11, 4, 3, 2)), test=test, classes=names),
        build(labels=other_labels, test=test, classes=names),
        build(test=(changed(IMAGES[:3], (0, 0, 0, 0)), LABELS[:3]), classes=names),
        build(test=(IMAGES[:3], LABELS[1:4]), classes=names),
        build(classes=["ant", "bee", "dog"]),
        build(classes=[*names, "dog"]),
        build(IMAGES.reshape(12, 4, 5, 3), classes=names),
        build(classes=names, splits=Splits(validation=2)),
        build(classes=names, splits=Splits(subset=11)),
        build(classes=names, standardize=False),
        build(FEATURES, classes=names),
        build(changed(FEATURES, (11, 3)), test=(FEATURES[:3], LABELS[:3]), classes=names),
    ]
    assert len({data.fingerprint for data in variants}) == len(variants)


def test_without_standardizing_nothing_is_moved():
    for inputs in (IMAGES, FEATURES):
        data = build(inputs, standardize=False)
        width = inputs.shape[-1]
        np.testing.assert_array_equal(data.mean, np.zeros(width))
        np.testing.assert_array_equal(data.std, np.ones(width))
        assert data.mean.dtype == data.std.dtype == np.float32


# --- refusals ---


def with_values(*cells, value):
    features = FEATURES.copy()
    for cell in cells:
        features[cell] = value
    return features


REFUSED = {
    "nan": (
        {"inputs": with_values((2, 0), (2, 1), (9, 3), value=np.nan)},
        r"data=toy, training part: .* in 2 of 12 rows \(2, 9\)",
    ),
    "inf": ({"inputs": with_values((4, 0), value=-np.inf)}, r"in 1 of 12 rows \(4\)"),
    "too large for float32": (
        {"inputs": with_values((4, 0), value=1e300)},
        r"expected finite float32 features",
    ),
    "many nan": (
        {"inputs": np.full((12, 4), np.nan)},
        r"in 12 of 12 rows \(0, 1, 2, 3, 4, \.\.\.\)",
    ),
    "nan in test": (
        {"inputs": FEATURES, "test": (with_values((1, 0), value=np.nan)[:3], LABELS[:3])},
        r"data=toy, test part: .* in 1 of 3 rows \(1\)",
    ),
    "lengths": ({"labels": LABELS[:9]}, "one label per input, got 9 labels for 12 inputs"),
    "object inputs": ({"inputs": FEATURES.astype(object)}, r"got object \[12, 4\]"),
    "object labels": ({"labels": LABELS.astype(object)}, r"got object \[12\]"),
    "float labels": ({"labels": LABELS.astype(float)}, "expected labels .* got float64"),
    "label matrix": ({"labels": np.eye(12, dtype=int)}, r"expected labels \[n\]"),
    "integer features": ({"inputs": FEATURES.astype(int)}, r"expected uint8 images .* got int64"),
    "float images": ({"inputs": IMAGES / 255}, r"expected uint8 images .* got float64"),
    "channels first": (
        {"inputs": np.zeros((12, 3, 32, 32), np.uint8)},
        "expected images with the channels last",
    ),
    "no rows": ({"inputs": IMAGES[:0], "labels": LABELS[:0]}, r"none of them empty; got uint8 \[0"),
    "no features": ({"inputs": FEATURES[:, :0]}, "none of them empty"),
    "no test rows": ({"test": (IMAGES[:0], LABELS[:0])}, "data=toy, test part: .*empty"),
    "test of another shape": (
        {"test": (IMAGES[:2, :4], LABELS[:2])},
        r"one type and shape, got uint8 \[12, 5, 4, 3\] and uint8 \[2, 4, 4, 3\]",
    ),
    "test of another type": ({"test": (FEATURES[:2], LABELS[:2])}, "one type and shape"),
    "labels of two types": (
        {"test": (IMAGES[:2], np.array(["0", "1"]))},
        "expected one type of labels, got int64 in the training part and <U1 in the test part",
    ),
    "label without a name": (
        {"classes": ["ant", "bee"]},
        "expected every label to be 0 to 1, .* got '2', and 4 such labels",
    ),
    "misspelt label": (
        {"labels": np.array(["ant", "bee", "catt"])[LABELS], "classes": ["ant", "bee", "cat"]},
        "the nearest is 'cat'.*got 'catt', and 4",
    ),
    "a class named twice": ({"classes": ["ant", "bee", "ant"]}, "got 'ant' twice"),
}


@pytest.mark.parametrize(("options", "message"), REFUSED.values(), ids=REFUSED.keys())
def test_refused(options, message):
    with pytest.raises(UserError, match=message) as refusal:
        build(**options)
    assert str(refusal.value).startswith("data=toy")
