"""How the rows of a batch are dealt, and who looks at which."""

import numpy as np
import pytest
import torch

from alframe.data.augment import Augmentation
from alframe.data.deal import dealt
from alframe.data.device import DeviceLoader
from alframe.data.digits import digits
from alframe.data.workers import WorkerLoader
from alframe.learners.dealt import part_of
from alframe.protocols import View
from alframe.world import World, within


def world(rank, size):
    made = World(rank, processes=size)
    made.size = size
    return made


@pytest.mark.parametrize("size", [1, 2, 3, 8])
@pytest.mark.parametrize("rows", [0, 1, 127, 128, 129, 1000])
def test_each_row_is_looked_at_once_in_whole_batches(rows, size):
    parts = [part_of(rows, 128, world(rank, size)) for rank in range(size)]
    assert [p.start for p in parts[1:]] == [p.stop for p in parts[:-1]]
    assert (parts[0].start, parts[-1].stop) == (0, rows)
    assert all(p.start % 128 == 0 or p.start == rows for p in parts)
    assert rows == 0 or parts[0].stop > 0  # the first has a batch wherever there is one


def test_each_place_of_a_batch_is_dealt_once_and_counts_the_same():
    steps = [range(16), range(16, 29)]
    deals = [dealt(steps, world(rank, 3), mixed=False) for rank in range(3)]
    for number, step in enumerate(steps):
        places = [deal.places[list(deal.steps[number])].tolist() for deal in deals]
        assert [place for own in places for place in own] == list(step)
        shares = [deal.share(deal.steps[number]) for deal in deals]
        assert shares == [len(own) / len(step) for own in places]
        assert max(map(len, places)) - min(map(len, places)) <= 1


def test_a_batch_smaller_than_the_number_of_processes_counts_once():
    deals = [dealt([range(2)], world(rank, 4), mixed=True) for rank in range(4)]
    shares = [deal.share(deal.steps[0]) for deal in deals]
    assert sorted(shares) == [0, 0, 0.5, 0.5]
    assert all(len(deal.own(deal.steps[0])) == 1 for deal in deals)


def test_a_single_process_is_dealt_nothing():
    assert dealt([range(4)], World(), mixed=True) is None


@pytest.mark.parametrize("made_by", [DeviceLoader, WorkerLoader])
@pytest.mark.parametrize("mixup", [0.0, 0.4])
def test_the_parts_of_a_batch_together_are_the_batch(made_by, mixup):
    data = digits(subset=100, validation=10, test=10, workers=0)
    rows = data.pool_rows[:45]
    weights = np.linspace(0.5, 1.5, 45)
    view = View(rows, data.reveal(rows), weights)
    how = Augmentation(crop=1, flip=True, cutout=3, mixup=mixup)
    options = {"batch_size": 8, "how": how, "seed": 3, "device": torch.device("cpu")}

    def batches(own):
        loader = made_by(data, view, **options)
        loader.set_epoch(2)
        loader.start_at(1)
        with within(own):
            return list(loader)

    losses = torch.rand(10, generator=torch.Generator().manual_seed(0))
    alone = batches(World())
    parts = [batches(world(rank, 3)) for rank in range(3)]
    assert [len(own) for own in parts] == [len(alone)] * 3 == [5] * 3
    for whole, *some in zip(alone, *parts, strict=True):
        for name in ("inputs", "labels", "weights", "positions"):
            together = torch.cat([getattr(each, name) for each in some])
            assert torch.equal(together, getattr(whole, name)), name
        assert sum(each.share for each in some) == pytest.approx(1)
        mean = sum(each.share * each.mean_loss(lambda labels: losses[labels]) for each in some)
        assert float(mean) == pytest.approx(float(whole.mean_loss(lambda labels: losses[labels])))
