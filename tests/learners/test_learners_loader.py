"""Batches made on the device, against a slow twin for each image."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from alframe.data.dataset import Splits, build_dataset
from alframe.data.device import Augmentation, DeviceLoader, Preparer, augment
from alframe.protocols import View

RNG = np.random.default_rng(0)
IMAGES = RNG.integers(0, 256, (40, 5, 4, 3), dtype=np.uint8)
LABELS = np.arange(40) % 4
CPU = torch.device("cpu")
CROP_AND_FLIP = Augmentation(2, True)


def dataset(inputs=IMAGES):
    return build_dataset("toy", (inputs, LABELS), (inputs[:4], LABELS[:4]), None, Splits())


DATA = dataset()
FEATURES = dataset(RNG.normal(5, 3, size=(40, 6)))


def loader(rows=40, data=DATA, batch_size=7, how=CROP_AND_FLIP, seed=0, weights=None):
    order = np.random.default_rng(9).permutation(40)[:rows]
    view = View(order, data.reveal(order), weights)
    return DeviceLoader(data, view, batch_size=batch_size, how=how, seed=seed, device=CPU), view


def epoch(batches, number):
    batches.set_epoch(number)
    return list(batches)


def assert_same(one, other):
    assert len(one) == len(other)
    for before, after in zip(one, other, strict=True):
        for a, b in zip(before, after, strict=True):
            assert (a is None and b is None) or torch.equal(a, b)


@settings(deadline=None)
@given(st.integers(2, 40), st.integers(2, 45), st.integers(0, 2**31 - 1), st.integers(0, 300))
def test_every_row_comes_once_an_epoch_and_never_alone(rows, batch_size, seed, number):
    batches, _ = loader(rows, batch_size=batch_size, seed=seed)
    made = epoch(batches, number)
    assert len(made) == len(batches)
    sizes = [len(batch.positions) for batch in made]
    assert set(sizes[:-1]) <= {batch_size}
    assert 2 <= sizes[-1] <= batch_size + 1
    positions = torch.cat([batch.positions for batch in made])
    assert sorted(positions.tolist()) == list(range(rows))


@pytest.mark.parametrize("data", [DATA, FEATURES], ids=["images", "features"])
def test_a_batch_holds_the_normalized_inputs_labels_and_weights_of_its_positions(data):
    weights = np.linspace(0.5, 2, 40)
    batches, view = loader(data=data, how=Augmentation(), weights=weights)
    for batch in batches:
        rows = view.rows[batch.positions]
        raw = data.inputs[rows].astype(np.float64)
        normal = (raw - data.mean) / data.std
        normal = np.moveaxis(normal, -1, 1) if raw.ndim == 4 else normal
        np.testing.assert_allclose(batch.inputs, normal, rtol=1e-4, atol=1e-5)
        assert batch.inputs.dtype == torch.float32
        np.testing.assert_array_equal(batch.labels, LABELS[rows])
        relative = weights / weights.mean()
        np.testing.assert_allclose(batch.weights, relative[batch.positions], rtol=1e-6)


def test_batches_are_a_pure_function_of_seed_epoch_and_step():
    fresh, _ = loader(seed=3)
    expected = epoch(fresh, 4)
    used, _ = loader(seed=3)
    for number in (0, 7, 4, 2):
        made = iter(used)
        used.set_epoch(number)
        next(made)
    epoch(used, 1)
    torch.rand(13)
    assert_same(epoch(used, 4), expected)
    assert_same(epoch(used, 4), expected)


def test_iterating_leaves_the_global_random_state_alone():
    before = torch.get_rng_state()
    epoch(loader()[0], 0)
    assert torch.equal(torch.get_rng_state(), before)


def test_seeds_and_epochs_give_other_orders():
    orders = {
        tuple(torch.cat([b.positions for b in epoch(loader(seed=seed)[0], number)]).tolist())
        for seed in (0, 1, 2, 2**31 - 2, 2**31 - 1)
        for number in (0, 1, 2)
    }
    assert len(orders) == 15


def test_augmentation_differs_between_epochs_steps_and_seeds():
    """The same positions in the same step, but for the augmentation's own draws."""

    def draws(seed, number, step):
        batches, _ = loader(seed=seed, batch_size=10)
        batches.set_epoch(number)
        return batches._batch(torch.arange(10), step).inputs

    places = [(0, 0, 0), (0, 0, 1), (0, 1, 0), (1, 0, 0)]
    made = [draws(*place) for place in places]
    for i, one in enumerate(made):
        for other in made[i + 1 :]:
            assert not torch.equal(one, other)
    assert torch.equal(draws(0, 0, 0), made[0])


def test_the_source_is_not_touched():
    before = DATA.inputs.copy()
    batches, _ = loader()
    for batch in batches:
        batch.inputs.mul_(0)
        batch.labels.mul_(0)
    np.testing.assert_array_equal(DATA.inputs, before)
    assert DATA.inputs.dtype == np.uint8
    again, view = loader()
    for batch in again:
        np.testing.assert_array_equal(batch.labels, view.labels[batch.positions])


def test_features_are_not_augmented():
    assert_same(
        epoch(loader(data=FEATURES, how=Augmentation(2, True))[0], 0),
        epoch(loader(data=FEATURES, how=Augmentation())[0], 0),
    )


def slow_crop(image, crop, top, left, flip):
    """One image, pixel by pixel: padded with black, cut, then mirrored."""
    height, width, channels = image.shape
    out = np.zeros_like(image)
    for i in range(height):
        for j in range(width):
            y = i + top - crop
            x = (width - 1 - j if flip else j) + left - crop
            if 0 <= y < height and 0 <= x < width:
                for c in range(channels):
                    out[i, j, c] = image[y, x, c]
    return out


def draws_of(image, result, crop):
    """All (top, left, flip) that turn the image into the result."""
    size = range(2 * crop + 1)
    return [
        (top, left, flip)
        for top in size
        for left in size
        for flip in (False, True)
        if np.array_equal(slow_crop(image, crop, top, left, flip), result)
    ]


@pytest.mark.parametrize("crop", [0, 1, 2])
@pytest.mark.parametrize("flip", [False, True])
def test_augmentation_against_the_slow_twin(crop, flip):
    images = torch.from_numpy(IMAGES)
    before = images.clone()
    result = augment(images, Augmentation(crop, flip), torch.Generator().manual_seed(0))
    assert result.dtype == torch.uint8
    assert torch.equal(images, before)
    found = [draws_of(a, b, crop) for a, b in zip(IMAGES, result.numpy(), strict=True)]
    assert all(len(draws) == 1 for draws in found), "each image is one crop and flip of itself"
    each = [draws[0] for draws in found]
    tops, lefts, flips = (set(values) for values in zip(*each, strict=True))
    assert tops == lefts == set(range(2 * crop + 1))
    assert flips == ({False, True} if flip else {False})
    assert len(set(each)) > min(10, (2 * crop + 1) ** 2 * (1 + flip) - 1)


def test_crops_and_flips_are_uniform_and_independent():
    """18 equally likely cells over 20,000 images: 5.5 standard deviations at most."""
    count, crop = 20_000, 1
    images = torch.arange(1, 13, dtype=torch.uint8).reshape(1, 3, 4, 1).expand(count, 3, 4, 1)
    result = augment(images, Augmentation(crop, True), torch.Generator().manual_seed(1))
    kinds, counts = torch.unique(result.flatten(1), dim=0, return_counts=True)
    assert len(kinds) == 18
    deviation = math.sqrt(count * (1 / 18) * (17 / 18))
    assert (counts - count / 18).abs().max() < 5.5 * deviation


def test_the_preparer_gives_channels_last_images_as_they_are():
    prepared = Preparer(DATA, CPU)(torch.from_numpy(IMAGES))
    assert prepared.shape == (40, 3, 5, 4)
    assert prepared.is_contiguous(memory_format=torch.channels_last)
    np.testing.assert_allclose(prepared.mean((0, 2, 3)), np.zeros(3), atol=1e-5)
    np.testing.assert_allclose(prepared.std((0, 2, 3)), np.ones(3), atol=1e-2)
