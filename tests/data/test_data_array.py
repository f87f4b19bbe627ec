import pickle

import numpy as np
import pytest

from alframe.data.array import array
from alframe.errors import UserError

RNG = np.random.default_rng(0)
IMAGES = RNG.integers(0, 256, (20, 6, 6), dtype=np.uint8)
FEATURES = RNG.normal(size=(20, 3))
LABELS = np.arange(20) % 2


@pytest.fixture
def save(tmp_path):
    def write(**arrays):
        path = tmp_path / "my =, données.npz"
        np.savez(path, **arrays)
        return str(path)

    return write


@pytest.mark.parametrize("key", ["inputs", "images", "features"])
def test_without_a_test_part_one_is_cut(save, key):
    data = array(path=save(**{key: FEATURES, "labels": LABELS}), test=0.2, validation=4)
    assert data.name == "my =, données"
    assert (data.kind, data.num_rows, len(data.test_labels)) == ("features", 20, 4)
    assert (len(data.pool_rows), len(data.validation_rows)) == (12, 4)
    np.testing.assert_array_equal(np.bincount(data.test_labels), [2, 2])
    # a row of the dataset is a row of the file
    np.testing.assert_array_equal(data.inputs, FEATURES.astype(np.float32))
    used = np.concatenate([data.pool_rows, data.validation_rows])
    together = np.concatenate([data.inputs[used], data.test_inputs])
    np.testing.assert_array_equal(np.sort(together, axis=0), np.sort(data.inputs, axis=0))


def test_inputs_keep_their_labels(save):
    data = array(path=save(inputs=LABELS[:, None] * 2.0, labels=LABELS))
    np.testing.assert_array_equal(data.inputs[:, 0], data.reveal(np.arange(20)) * 2)
    np.testing.assert_array_equal(data.test_inputs[:, 0], data.test_labels * 2)


def test_the_cut_does_not_move_with_the_split_seed(save):
    path = save(inputs=FEATURES, labels=LABELS)
    first, second = (array(path=path, validation=0.5, split_seed=seed) for seed in (0, 1))
    np.testing.assert_array_equal(first.test_inputs, second.test_inputs)
    np.testing.assert_array_equal(first.inputs, second.inputs)
    assert not np.array_equal(first.validation_rows, second.validation_rows)


@pytest.mark.parametrize("key", ["test_inputs", "test_images"])
def test_a_test_part_in_the_file_is_taken(save, key):
    tests = {key: IMAGES[:5], "test_labels": LABELS[:5]}
    data = array(path=save(images=IMAGES, labels=LABELS, **tests), test=0.9)
    assert (data.kind, data.num_rows, data.input_shape) == ("images", 20, (6, 6, 1))
    np.testing.assert_array_equal(data.test_inputs[..., 0], IMAGES[:5])


def test_class_names_from_the_file(save):
    names = np.array(["yes", "no"])
    assert array(path=save(inputs=FEATURES, labels=LABELS, classes=names)).classes == ("yes", "no")
    by_name = array(path=save(inputs=FEATURES, labels=names[LABELS]))
    assert by_name.classes == ("no", "yes")


def test_standardize_can_be_switched_off(save):
    path = save(inputs=FEATURES + 7, labels=LABELS)
    assert np.all(array(path=path).mean > 5)
    np.testing.assert_array_equal(array(path=path, standardize=False).mean, [0, 0, 0])


def test_options_reach_the_splits(save):
    data = array(path=save(inputs=FEATURES, labels=LABELS), subset=10, imbalance=0.5)
    np.testing.assert_array_equal(np.bincount(data.reveal(data.pool_rows)), [5, 2])
    with pytest.raises(TypeError, match="validaton"):
        array(path=save(inputs=FEATURES, labels=LABELS), validaton=0.1)


REFUSED = {
    "no inputs": ({"labels": LABELS}, "just one of inputs, images, features .* found labels"),
    "no labels": ({"inputs": FEATURES}, "expected labels and .* found inputs"),
    "nothing": ({}, "found nothing"),
    "two inputs": (
        {"inputs": FEATURES, "images": IMAGES, "labels": LABELS},
        "just one of inputs, images, features",
    ),
    "half a test part": (
        {"inputs": FEATURES, "labels": LABELS, "test_inputs": FEATURES},
        "expected test_labels and just one of test_inputs, ",
    ),
    "misspelt test part": (
        {"inputs": FEATURES, "labels": LABELS, "test_label": LABELS, "test_inputs": FEATURES},
        "expected test_labels",
    ),
    "pickled labels": (
        {"inputs": FEATURES, "labels": LABELS.astype(object)},
        "without pickled objects",
    ),
    "lengths": ({"inputs": FEATURES, "labels": LABELS[:4]}, "got 4 labels for 20 inputs"),
    "nan": ({"inputs": FEATURES * np.nan, "labels": LABELS}, "NaN or infinite values in 20 of 20"),
    "nan in test": (
        {
            "inputs": FEATURES,
            "labels": LABELS,
            "test_inputs": FEATURES * np.nan,
            "test_labels": LABELS,
        },
        "test part: .* NaN or infinite values in 20 of 20",
    ),
    "shapes": (
        {"images": IMAGES, "labels": LABELS, "test_images": IMAGES[:, 1:], "test_labels": LABELS},
        "one type and shape",
    ),
    "class names": ({"inputs": FEATURES, "labels": LABELS, "classes": ["one"]}, "0 to 0"),
}


@pytest.mark.parametrize(("arrays", "message"), REFUSED.values(), ids=REFUSED.keys())
def test_refused_by_path(save, arrays, message):
    path = save(**arrays)
    with pytest.raises(UserError, match=message) as refusal:
        array(path=path)
    assert str(refusal.value).startswith(f"data.path={path}")


def test_a_missing_file_is_refused(tmp_path):
    with pytest.raises(UserError, match=r"data\.path=.*nowhere\.npz: expected a \.npz file"):
        array(path=str(tmp_path / "nowhere.npz"))


def test_pickles_are_never_opened(tmp_path):
    opened = tmp_path / "opened"

    class Bomb:
        def __reduce__(self):
            return opened.touch, ()

    path = tmp_path / "bomb.npz"
    path.write_bytes(pickle.dumps(Bomb()))
    with pytest.raises(UserError, match="without pickled objects"):
        array(path=str(path))
    assert not opened.exists()


def test_other_and_damaged_files_are_refused(tmp_path):
    whole = tmp_path / "whole.npz"
    np.savez_compressed(whole, inputs=FEATURES, labels=LABELS)
    content = whole.read_bytes()
    middle = len(content) // 2
    damaged = {
        "cut.npz": content[:middle],
        "flipped.npz": content[:200] + bytes([content[200] ^ 255]) + content[201:],
        "empty.npz": b"",
        "text.npz": b"a,b\n1,2\n",
    }
    for name, text in damaged.items():
        (tmp_path / name).write_bytes(text)
        with pytest.raises(UserError, match=rf"data\.path=.*{name}: expected a \.npz file"):
            array(path=str(tmp_path / name))
    with (tmp_path / "single.npz").open("wb") as file:
        np.save(file, FEATURES)
    with pytest.raises(UserError, match=r"data\.path=.*single\.npz: expected a \.npz file"):
        array(path=str(tmp_path / "single.npz"))


@pytest.mark.parametrize("part", [1.5, 20, 0, -1])
def test_a_wrong_test_part_is_refused(save, part):
    with pytest.raises(UserError, match=rf"data\.test={part}: expected"):
        array(path=save(inputs=FEATURES, labels=LABELS), test=part)
