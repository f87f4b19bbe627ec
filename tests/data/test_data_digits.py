import numpy as np
import pytest
from sklearn.datasets import load_digits

from alframe.data.digits import digits
from alframe.errors import UserError


def test_shapes_and_counts():
    data = digits(validation=0.1)
    assert (data.name, data.kind, data.num_classes) == ("digits", "images", 10)
    assert data.inputs.shape == (1797, 8, 8, 1)
    assert data.test_inputs.shape == (539, 8, 8, 1)
    assert (len(data.validation_rows), len(data.pool_rows)) == (126, 1132)
    assert data.classes == tuple("0123456789")


def test_every_digit_is_there_once_with_its_label():
    data = digits()
    images = np.concatenate([data.inputs[data.pool_rows], data.test_inputs])[..., 0]
    labels = np.concatenate([data.reveal(data.pool_rows), data.test_labels])
    table = load_digits()
    original = {(image * 255 / 16).round().astype(np.uint8).tobytes() for image in table.images}
    assert {image.tobytes() for image in images} == original
    assert (images.min(), images.max()) == (0, 255)
    np.testing.assert_array_equal(np.bincount(labels), np.bincount(table.target))
    by_image = {
        (image * 255 / 16).round().astype(np.uint8).tobytes(): label
        for image, label in zip(table.images, table.target, strict=True)
    }
    assert [by_image[image.tobytes()] for image in images] == labels.tolist()


def test_the_test_part_stays_when_the_split_moves():
    first, second = (digits(validation=0.1, split_seed=seed) for seed in (0, 1))
    np.testing.assert_array_equal(first.test_inputs, second.test_inputs)
    assert not np.array_equal(first.validation_rows, second.validation_rows)


def test_options():
    data = digits(test=97, validation=100, subset=500)
    assert (data.num_rows, len(data.test_labels)) == (1797, 97)
    assert (len(data.pool_rows), len(data.validation_rows)) == (400, 100)
    with pytest.raises(UserError, match=r"data\.subset=1259: expected at most the 1258 training"):
        digits(subset=1259)
    with pytest.raises(UserError, match=r"data\.test=1\.0: "):
        digits(test=1.0)
    with pytest.raises(TypeError, match="tets"):
        digits(tets=0.2)
