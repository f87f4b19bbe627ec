"""Batched augmentation against slow twins that are given the same draws, and the draws."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from alframe.data.augment import Augmentation, Draws, crop_and_flip, cut_out, draw
from alframe.data.dataset import Splits, build_dataset
from alframe.errors import UserError

RNG = np.random.default_rng(0)
IMAGES = RNG.integers(0, 256, (40, 5, 4, 3), dtype=np.uint8)
MANY = 20_000


def drawn(how, count=40, shape=(5, 4, 3), seed=0, epoch=0):
    return draw(how, count, shape, seed, epoch)


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


@pytest.mark.parametrize("crop", [0, 1, 2, 7])
@pytest.mark.parametrize("flip", [False, True])
@pytest.mark.parametrize("channels", [1, 3])
def test_crops_and_flips_are_those_of_the_slow_twin(crop, flip, channels):
    images = np.ascontiguousarray(IMAGES[..., :channels])
    given = torch.from_numpy(images.copy())
    draws = drawn(Augmentation(crop, flip))
    result = crop_and_flip(given, crop, draws)
    assert result.dtype == torch.uint8
    np.testing.assert_array_equal(given, images)
    none = torch.zeros(2, 40, dtype=torch.int64)
    tops, lefts = none if draws.crops is None else draws.crops
    flips = none[0] if draws.flips is None else draws.flips
    for i, image in enumerate(images):
        expected = slow_crop(image, crop, int(tops[i]), int(lefts[i]), bool(flips[i]))
        np.testing.assert_array_equal(result[i], expected)


def slow_cutout(image, side, top, left):
    out = image.copy()
    for i in range(image.shape[0]):
        for j in range(image.shape[1]):
            if top <= i < top + side and left <= j < left + side:
                out[i, j] = 0
    return out


@pytest.mark.parametrize("side", [1, 2, 3, 4])
def test_cutouts_are_those_of_the_slow_twin(side):
    inputs = RNG.normal(size=IMAGES.shape).astype(np.float32)
    draws = drawn(Augmentation(cutout=side))
    result = cut_out(torch.from_numpy(inputs.copy()), side, draws)
    for image, made, top, left in zip(inputs, result, *draws.holes.tolist(), strict=True):
        np.testing.assert_array_equal(made, slow_cutout(image, side, top, left))


def test_nothing_is_drawn_for_nothing():
    assert drawn(Augmentation()) == Draws()
    images = torch.from_numpy(IMAGES)
    assert torch.equal(crop_and_flip(images, 0, Draws()), images)


EVERYTHING = Augmentation(2, True, 3, 0.4)


def same(one, other):
    return {
        name: torch.equal(value, getattr(other, name))
        for name, value in vars(one).items()
        if value is not None
    }


def test_draws_are_a_pure_function_of_seed_epoch_and_place():
    one = drawn(EVERYTHING, seed=3, epoch=4)
    torch.rand(7)
    np.random.random(3)  # noqa: NPY002
    assert all(same(one, drawn(EVERYTHING, seed=3, epoch=4)).values())
    for other in (drawn(EVERYTHING, seed=4, epoch=4), drawn(EVERYTHING, seed=3, epoch=5)):
        assert not any(same(one, other).values())


@pytest.mark.parametrize(
    "how", [Augmentation(2), Augmentation(0, True), Augmentation(cutout=3), Augmentation(mixup=0.4)]
)
def test_one_choice_leaves_the_draws_of_the_others_alone(how):
    alone = drawn(how)
    assert list(same(alone, drawn(EVERYTHING)).values()) == [True]


def test_a_part_of_the_draws_is_that_of_its_places():
    draws = drawn(EVERYTHING)
    part = draws.part(5, 12)
    assert torch.equal(part.crops, draws.crops[:, 5:12])
    assert torch.equal(part.flips, draws.flips[5:12])
    assert torch.equal(part.holes, draws.holes[:, 5:12])
    assert torch.equal(part.shares, draws.shares[5:12])


def assert_uniform(values, cells):
    """Every cell is hit equally often, within 5 standard deviations."""
    found, counts = np.unique(np.asarray(values), axis=-1, return_counts=True)
    assert found.shape[-1] == cells
    expected = counts.sum() / cells
    deviation = math.sqrt(expected * (1 - 1 / cells))
    assert np.abs(counts - expected).max() < 5 * deviation


def test_crops_and_flips_are_uniform_and_independent():
    draws = drawn(Augmentation(1, True), MANY)
    assert_uniform(torch.cat([draws.crops, draws.flips[None].long()]), 18)


@pytest.mark.parametrize("side", [1, 2, 3])
def test_a_cutout_is_centered_on_any_pixel(side):
    draws = drawn(Augmentation(cutout=side), MANY, shape=(5, 4, 3))
    assert_uniform(draws.holes, 20)
    assert draws.holes.amin(1).tolist() == [-(side // 2)] * 2


def test_the_area_of_a_cutout():
    """A square of 2 loses its first line (column) where its center is the first pixel."""
    inputs = torch.ones(MANY, 5, 4, 1)
    draws = drawn(Augmentation(cutout=2), MANY)
    area = (cut_out(inputs, 2, draws) == 0).flatten(1).sum(1).double()
    assert set(area.tolist()) == {1.0, 2.0, 4.0}
    expected = (2 - 1 / 5) * (2 - 1 / 4)
    assert abs(area.mean() - expected) < 5 * area.std() / math.sqrt(MANY)


@pytest.mark.parametrize("alpha", [0.2, 1.0, 8.0])
def test_shares_are_the_larger_part_of_a_beta_distribution(alpha):
    """Their moments about a half are those of Beta(alpha, alpha)."""
    shares = drawn(Augmentation(mixup=alpha), MANY).shares.double()
    assert shares.min() >= 0.5
    assert shares.max() <= 1
    squares = (shares - 0.5) ** 2
    expected = 1 / (4 * (2 * alpha + 1))
    assert abs(squares.mean() - expected) < 5 * squares.std() / math.sqrt(MANY)


def data(inputs):
    labels = np.arange(len(inputs)) % 2
    return build_dataset("toy", (inputs, labels), (inputs, labels), None, Splits())


def test_a_cutout_needs_images_that_have_room_for_it():
    Augmentation(9, True, 4, 1.0).check(data(IMAGES))
    with pytest.raises(UserError, match=r"recipe.cutout=5: expected at most 4"):
        Augmentation(cutout=5).check(data(IMAGES))
    features = data(RNG.normal(size=(40, 6)))
    with pytest.raises(UserError, match=r"recipe.cutout=1: expected 0.*features"):
        Augmentation(cutout=1).check(features)
    Augmentation(4, True, 0, 1.0).check(features)


def test_features_are_only_mixed():
    assert EVERYTHING.of(data(RNG.normal(size=(40, 6)))) == Augmentation(mixup=0.4)
    assert EVERYTHING.of(data(IMAGES)) == EVERYTHING
