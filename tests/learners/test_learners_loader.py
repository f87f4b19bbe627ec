"""Both loaders keep one contract and make the same batches, however, wherever and from where on."""

from __future__ import annotations

import math
from dataclasses import replace
from multiprocessing import active_children

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from learner_parts import assert_same_weights, features, fit, images, learner, weights, whole

from alframe.data.augment import Augmentation, Draws, crop_and_flip
from alframe.data.dataset import Loading, Splits, build_dataset
from alframe.data.device import DeviceLoader, Preparer
from alframe.data.workers import WorkerLoader
from alframe.errors import UserError
from alframe.protocols import Need, View

RNG = np.random.default_rng(0)
IMAGES = RNG.integers(0, 256, (40, 5, 4, 3), dtype=np.uint8)
LABELS = np.arange(40) % 4
CPU = torch.device("cpu")
CROP_AND_FLIP = Augmentation(2, True)
EVERYTHING = Augmentation(2, True, 3, 0.4)


def dataset(inputs=IMAGES, workers=0):
    arrays = (inputs, LABELS), (inputs[:4], LABELS[:4])
    return build_dataset("toy", *arrays, None, Splits(), loading=Loading(workers=workers))


DATA = dataset()
FEATURES = dataset(RNG.normal(5, 3, size=(40, 6)))
BOTH = pytest.mark.parametrize("kind", [DeviceLoader, WorkerLoader])


def loader(
    kind=DeviceLoader,
    rows=40,
    data=DATA,
    batch_size=7,
    how=CROP_AND_FLIP,
    seed=0,
    weights=None,
):
    order = np.random.default_rng(9).permutation(40)[:rows]
    view = View(order, data.reveal(order), weights)
    return kind(data, view, batch_size=batch_size, how=how, seed=seed, device=CPU), view


def epoch(batches, number, start=0):
    batches.set_epoch(number)
    batches.start_at(start)
    return list(batches)


def tensors(batch):
    mix = (None, None, None) if batch.mix is None else batch.mix
    return (*batch[:4], *mix)


def assert_same(one, other):
    assert len(one) == len(other)
    for before, after in zip(one, other, strict=True):
        for a, b in zip(tensors(before), tensors(after), strict=True):
            assert (a is None) == (b is None)
            assert a is None or torch.equal(a, b)


@BOTH
@settings(deadline=None, max_examples=50)
@given(st.integers(2, 40), st.integers(2, 45), st.integers(0, 2**31 - 1), st.integers(0, 300))
def test_every_row_comes_once_an_epoch_and_never_alone(kind, rows, batch_size, seed, number):
    batches, _ = loader(kind, rows, batch_size=batch_size, seed=seed)
    made = epoch(batches, number)
    assert len(made) == len(batches)
    sizes = [len(batch.positions) for batch in made]
    assert set(sizes[:-1]) <= {batch_size}
    assert 2 <= sizes[-1] <= batch_size + 1
    positions = torch.cat([batch.positions for batch in made])
    assert sorted(positions.tolist()) == list(range(rows))


@BOTH
@pytest.mark.parametrize("data", [DATA, FEATURES], ids=["images", "features"])
def test_a_batch_holds_the_normalized_inputs_labels_and_weights_of_its_positions(kind, data):
    weights = np.linspace(0.5, 2, 40)
    batches, view = loader(kind, data=data, how=Augmentation(), weights=weights)
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
        assert batch.mix is None


@BOTH
def test_images_are_channels_last(kind):
    for batch in loader(kind, how=EVERYTHING)[0]:
        assert batch.inputs.shape[1:] == (3, 5, 4)
        assert batch.inputs.is_contiguous(memory_format=torch.channels_last)


@BOTH
def test_batches_are_a_pure_function_of_seed_epoch_and_step(kind):
    fresh, _ = loader(kind, seed=3)
    expected = epoch(fresh, 4)
    used, _ = loader(kind, seed=3)
    for number in (0, 7, 4, 2):
        made = iter(used)
        used.set_epoch(number)
        next(made)
    epoch(used, 1)
    torch.rand(13)
    assert_same(epoch(used, 4), expected)
    assert_same(epoch(used, 4), expected)


@BOTH
@pytest.mark.parametrize("how", [Augmentation(), EVERYTHING], ids=["plain", "augmented"])
@pytest.mark.parametrize("start", [1, 3, 5, 6])
def test_an_epoch_that_begins_at_a_step_goes_on_as_an_undisturbed_one(kind, how, start):
    whole = epoch(loader(kind, how=how)[0], 2)
    batches, _ = loader(kind, how=how)
    assert_same(epoch(batches, 2, start), whole[start:])
    assert len(batches) == len(whole)
    assert_same(epoch(batches, 2), whole)


@BOTH
def test_a_start_is_for_one_iteration_and_set_before_its_first_batch(kind):
    """Lightning makes the iterator first and sets the epoch then."""
    batches, _ = loader(kind)
    made = iter(batches)
    batches.start_at(4)
    batches.set_epoch(3)
    rest = list(made)
    batches.set_epoch(3)
    whole = list(batches)
    assert len(whole) == 6
    assert_same(rest, whole[4:])


@BOTH
def test_iterating_leaves_the_global_random_states_alone(kind):
    before = torch.get_rng_state(), np.random.get_state()[1].copy()  # noqa: NPY002
    epoch(loader(kind, how=EVERYTHING)[0], 0)
    assert torch.equal(torch.get_rng_state(), before[0])
    np.testing.assert_array_equal(np.random.get_state()[1], before[1])  # noqa: NPY002


def test_seeds_and_epochs_give_other_orders():
    orders = {
        tuple(torch.cat([b.positions for b in epoch(loader(seed=seed)[0], number)]).tolist())
        for seed in (0, 1, 2, 2**31 - 2, 2**31 - 1)
        for number in (0, 1, 2)
    }
    assert len(orders) == 15


@BOTH
def test_augmentation_differs_between_steps_epochs_and_seeds(kind):
    """All rows are one image, so that batches differ by their augmentation alone."""
    data = replace(DATA, inputs=np.repeat(IMAGES[:1], 40, axis=0))
    places = [(0, 0), (0, 1), (1, 0)]
    made = [epoch(loader(kind, data=data, batch_size=20, seed=s)[0], e) for s, e in places]
    batches = [batch.inputs for each in made for batch in each]
    assert len(batches) == 6
    for i, one in enumerate(batches):
        assert not any(torch.equal(one, other) for other in batches[i + 1 :])


@BOTH
def test_the_source_is_not_touched(kind):
    before = DATA.inputs.copy()
    for how in (Augmentation(), EVERYTHING):
        for batch in loader(kind, how=how)[0]:
            batch.inputs.mul_(0)
            batch.labels.mul_(0)
    np.testing.assert_array_equal(DATA.inputs, before)
    assert DATA.inputs.dtype == np.uint8
    again, view = loader(kind)
    for batch in again:
        np.testing.assert_array_equal(batch.labels, view.labels[batch.positions])


@BOTH
def test_features_are_not_augmented(kind):
    assert_same(
        epoch(loader(kind, data=FEATURES, how=CROP_AND_FLIP)[0], 0),
        epoch(loader(kind, data=FEATURES, how=Augmentation())[0], 0),
    )


# --- both loaders, any number of workers, any number of batches at once ---

WAYS = {"crop and flip": (DATA, CROP_AND_FLIP), "all": (DATA, EVERYTHING)}
WAYS |= {"plain": (DATA, Augmentation()), "features": (FEATURES, Augmentation(mixup=0.4))}


@pytest.mark.parametrize("way", WAYS)
def test_workers_make_the_batches_that_the_device_makes(way):
    data, how = WAYS[way]
    weights = np.linspace(0.5, 2, 40)
    for number in (0, 3):
        made, expected = (
            epoch(loader(kind, data=data, how=how, weights=weights)[0], number)
            for kind in (WorkerLoader, DeviceLoader)
        )
        assert_same(made, expected)


@pytest.mark.parametrize("together", [2, 3, 6, 100])
def test_it_does_not_matter_how_many_batches_are_made_at_once(monkeypatch, together):
    expected = epoch(loader(how=EVERYTHING)[0], 1)
    monkeypatch.setattr(DeviceLoader, "_at_once", together)
    batches, _ = loader(how=EVERYTHING)
    assert_same(epoch(batches, 1), expected)
    assert_same(epoch(batches, 1, start=4), expected[4:])
    for batch in epoch(batches, 1):
        assert batch.inputs.is_contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize("workers", [1, 2])
def test_the_number_of_workers_does_not_matter(workers):
    """With real processes, that outlive epochs, also one that was left in its middle."""
    before = torch.get_rng_state()
    expected = loader(how=EVERYTHING)[0]
    batches, _ = loader(WorkerLoader, data=dataset(workers=workers), how=EVERYTHING)
    try:
        assert_same(epoch(batches, 0), epoch(expected, 0))
        assert torch.equal(torch.get_rng_state(), before)
        processes = batches._feed._iterator._workers
        next(iter(batches))
        assert_same(epoch(batches, 3, start=2), epoch(expected, 3, start=2))
        assert batches._feed._iterator._workers is processes
        assert len(processes) == workers
    finally:
        batches.close()
    assert not any(process.is_alive() for process in processes)
    batches.close()


def test_a_closed_loader_can_be_used_again():
    batches, _ = loader(WorkerLoader, data=dataset(workers=1))
    made = []
    for _ in range(2):
        made.append(epoch(batches, 0))
        batches.close()
    assert_same(*made)


# --- the distribution of what both make, which the paths above have in common ---


@BOTH
def test_what_an_epoch_looks_like(kind):
    """A row of 16 known pixels, so that each crop tells where it began, by 900 rows."""
    count, crop = 900, 1
    image = np.arange(1, 17, dtype=np.uint8).reshape(1, 4, 4, 1)
    data = replace(
        build_dataset("one", *[(np.repeat(image, count, 0), np.arange(count) % 2)] * 2, None,
                      Splits(), standardize=False, loading=Loading(workers=0)),
    )  # fmt: skip
    view = View(data.pool_rows, data.reveal(data.pool_rows))
    options = {"batch_size": 128, "how": Augmentation(crop, True), "seed": 0, "device": CPU}
    made = torch.cat([batch.inputs for batch in kind(data, view, **options)])
    looks, counts = torch.unique(made.flatten(1), dim=0, return_counts=True)
    assert len(looks) == 18, "nine places, mirrored or not"
    deviation = math.sqrt(count * (1 / 18) * (17 / 18))
    assert (counts - count / 18).abs().max() < 5 * deviation
    every = [
        crop_and_flip(
            torch.from_numpy(image), crop, Draws(torch.tensor([[y], [x]]), torch.tensor([flip]))
        )
        for y in range(3) for x in range(3) for flip in (False, True)
    ]  # fmt: skip
    expected = torch.cat(every).float()
    spread = expected.mean((1, 2, 3)).std() / math.sqrt(count)
    assert abs(made.mean() - expected.mean()) < 5 * spread
    torch.testing.assert_close(made.var(), expected.var(), rtol=0.05, atol=0)


# --- mixup ---


@BOTH
@pytest.mark.parametrize("data", [DATA, FEATURES], ids=["images", "features"])
def test_a_mixture_against_the_slow_twin(kind, data):
    weights = np.linspace(0.5, 2, 40)
    plain = list(loader(kind, data=data, how=Augmentation(1, True), weights=weights)[0])
    mixing = Augmentation(1, True, mixup=0.7)
    mixed = list(loader(kind, data=data, how=mixing, weights=weights)[0])
    for one, batch in zip(plain, mixed, strict=True):
        assert torch.equal(one.positions, batch.positions)
        assert torch.equal(one.labels, batch.labels)
        for i, share in enumerate(batch.mix.shares.tolist()):
            other = i - 1  # of the first row: the last
            expected = share * one.inputs[i] + (1 - share) * one.inputs[other]
            torch.testing.assert_close(batch.inputs[i], expected)
            assert batch.mix.labels[i] == one.labels[other]
            assert batch.mix.weights[i] == one.weights[other]


def test_the_loss_of_a_mixture_against_the_slow_twin():
    weights = np.linspace(0.5, 2, 40)
    table = RNG.normal(size=(4, 7))
    for how in (Augmentation(), Augmentation(mixup=0.7)):
        for given_weights in (None, weights):
            batch = next(iter(loader(how=how, weights=given_weights)[0]))
            losses = torch.from_numpy(table)  # by label and row of the batch

            def of(labels, losses=losses):
                return losses[labels, torch.arange(len(labels))]

            terms = []
            for i in range(7):
                own = table[batch.labels[i], i]
                own *= 1 if given_weights is None else float(batch.weights[i])
                if batch.mix is not None:
                    share = float(batch.mix.shares[i])
                    other = table[batch.mix.labels[i], i]
                    other *= 1 if given_weights is None else float(batch.weights[i - 1])
                    own = share * own + (1 - share) * other
                terms.append(own)
            assert float(batch.mean_loss(of)) == pytest.approx(np.mean(terms), rel=1e-6)


def test_a_cutout_leaves_the_mean_of_the_training_images():
    plain = list(loader(how=Augmentation())[0])
    cut = list(loader(how=Augmentation(cutout=2))[0])
    for one, batch in zip(plain, cut, strict=True):
        hole = batch.inputs == 0
        assert hole.any(1).flatten(1).any(1).all(), "one in every image"
        assert torch.equal(hole.any(1), hole.all(1)), "in all channels"
        assert torch.equal(batch.inputs[~hole], one.inputs[~hole])


def test_the_preparer_gives_channels_last_images_as_they_are():
    prepared = Preparer(DATA, CPU)(torch.from_numpy(IMAGES))
    assert prepared.shape == (40, 3, 5, 4)
    assert prepared.is_contiguous(memory_format=torch.channels_last)
    np.testing.assert_allclose(prepared.mean((0, 2, 3)), np.zeros(3), atol=1e-5)
    np.testing.assert_allclose(prepared.std((0, 2, 3)), np.ones(3), atol=1e-2)


# --- fits ---

CORRECT = Need("dynamics", fields=("correct",))
VARIED = {"crop": 1, "flip": True, "cutout": 2, "mixup": 0.4}


def test_a_fit_by_workers_is_that_by_the_device_and_leaves_no_process():
    data = replace(images(), loading=Loading("workers", workers=1))
    by_device, by_workers = (fit(learner(data=d, **VARIED), (CORRECT,)) for d in (images(), data))
    assert_same_weights(weights(by_device), weights(by_workers))
    assert torch.equal(by_device.dynamics.values, by_workers.dynamics.values)
    plain = fit(learner())
    assert not np.array_equal(weights(plain)["head.weight"], weights(by_device)["head.weight"])
    assert not active_children()


def test_dynamics_are_those_of_a_row_s_own_label_on_the_mixed_input():
    how = learner("mlp", learning_rate=1e-12, epochs=2, mixup=2.0)
    view = whole(how.data)
    fitted = fit(how, (CORRECT,), view=view)
    seen = fitted.observe({CORRECT: how.data.pool_rows}).dynamics(view.rows, "correct")
    seed = int(np.random.default_rng(5).integers(2**31))
    batches = DeviceLoader(
        how.data, view, batch_size=16, how=how.recipe.augmentation, seed=seed, device=CPU
    )
    for number in range(2):
        for batch in epoch(batches, number):
            right = fitted.model(batch.inputs).argmax(1) == batch.labels
            np.testing.assert_array_equal(seen[number, batch.positions], right)


def test_a_cutout_of_features_is_refused_before_a_fit():
    with pytest.raises(UserError, match=r"recipe.cutout=2: expected 0"):
        learner("mlp", data=features(), cutout=2)
    fit(learner("mlp", data=features(), mixup=0.4))
