"""Where batches are made: the keys, the choice, and what is refused."""

from __future__ import annotations

import logging
import os

import numpy as np
import pytest
import torch

from alframe.data import device as device_module
from alframe.data import loaders
from alframe.data.augment import Augmentation
from alframe.data.dataset import Loading, Splits, build_dataset, parted
from alframe.data.device import DeviceLoader, is_resident, resident
from alframe.data.loaders import choose, make_loader
from alframe.data.workers import WorkerLoader
from alframe.errors import UserError
from alframe.protocols import View

CPU, GPU = torch.device("cpu"), torch.device("cuda", 0)
IMAGES = np.random.default_rng(0).integers(0, 256, (50, 4, 4, 3), dtype=np.uint8)
LABELS = np.arange(50) % 2


def dataset(*loading):
    arrays = (IMAGES, LABELS)
    return build_dataset("toy", arrays, arrays, None, Splits(), loading=Loading(*loading))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"loader": "gpu"}, "data.loader=gpu: expected one of auto, device, workers"),
        ({"device_share": 1.5}, "data.device_share=1.5"),
        ({"device_share": -0.1}, "data.device_share"),
        ({"workers": -1}, "data.workers=-1"),
        ({"workers": 1.5}, "data.workers=1.5"),
    ],
)
def test_promise_5_is_refused_with_the_key(options, message):
    with pytest.raises(UserError, match=message):
        Loading(**options)


def test_options_are_shared_out():
    splits, loading = parted({"validation": 3, "workers": 2, "split_seed": 4, "loader": "device"})
    assert splits == Splits(validation=3, split_seed=4)
    assert loading == Loading("device", workers=2)


@pytest.mark.parametrize(("cores", "processes"), [(1, 1), (2, 1), (8, 7), (16, 15), (64, 16)])
def test_as_many_processes_as_cores_but_one(monkeypatch, cores, processes):
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: range(cores), raising=False)
    assert Loading().processes == processes
    assert Loading(workers=3).processes == 3
    assert Loading(workers=0).processes == 0


NEEDED = IMAGES.nbytes


@pytest.mark.parametrize(
    ("loading", "device", "free", "expected"),
    [
        (("auto",), CPU, 0, "device"),
        (("device",), CPU, 0, "device"),
        (("workers",), CPU, 1e9, "workers"),
        (("workers",), GPU, 1e9, "workers"),
        (("auto",), GPU, 2 * NEEDED, "device"),
        (("auto",), GPU, 2 * NEEDED - 1, "workers"),
        (("auto", 0.1), GPU, 10 * NEEDED, "device"),
        (("auto", 0.1), GPU, 9 * NEEDED, "workers"),
        (("auto", 0.0), GPU, 1e12, "workers"),
        (("device",), GPU, NEEDED, "device"),
    ],
)
def test_the_choice(monkeypatch, loading, device, free, expected):
    monkeypatch.setattr(loaders, "available_bytes", lambda where: {str(device): free}[where])
    assert choose(dataset(*loading), device)[0] == expected


def test_inputs_that_lie_on_the_device_are_not_counted_again(monkeypatch):
    monkeypatch.setattr(loaders, "available_bytes", lambda _: 0)
    monkeypatch.setattr(loaders, "is_resident", lambda inputs, _: inputs is data.inputs)
    data = dataset()
    assert choose(data, GPU)[0] == "device"


def test_what_does_not_fit_at_all_is_refused(monkeypatch):
    monkeypatch.setattr(loaders, "available_bytes", lambda _: NEEDED - 1)
    with pytest.raises(UserError, match=r"data.loader=device: expected inputs that fit"):
        choose(dataset("device"), GPU)


def test_the_choice_is_logged_once_with_its_reason(caplog, monkeypatch):
    monkeypatch.setattr(loaders, "_said", set())
    monkeypatch.setattr(logging.getLogger("alframe"), "propagate", True)
    caplog.set_level(logging.INFO, "alframe")
    options = {"batch_size": 5, "how": Augmentation(), "seed": 0, "device": CPU}
    data, forced = dataset(), dataset("workers", 0.5, 0)
    view = View(data.pool_rows, LABELS)
    made = [make_loader(each, view, **options) for each in (data, data, forced)]
    assert [type(each) for each in made] == [DeviceLoader, DeviceLoader, WorkerLoader]
    assert [record.getMessage() for record in caplog.records] == [
        "training batches are made by data.loader=device: the device is the CPU",
        "training batches are made by data.loader=workers: as configured, 0 processes",
    ]


def test_on_the_cpu_resident_inputs_share_memory():
    assert resident(IMAGES, CPU).data_ptr() == IMAGES.ctypes.data
    assert is_resident(IMAGES, CPU)


def test_elsewhere_all_share_one_copy_while_one_holds_it():
    meta = torch.device("meta")  # as good as a GPU here: it is not the CPU
    inputs = IMAGES.copy()
    assert not is_resident(inputs, meta)
    one, other = resident(inputs, meta), resident(inputs, meta)
    assert one is other
    assert is_resident(inputs, meta)
    assert not is_resident(IMAGES, meta)
    del one, other
    assert not is_resident(inputs, meta)
    held = resident(inputs, meta)
    key = id(inputs), meta
    del inputs
    assert key not in device_module._residents, "another array may get this id"
    assert held.shape == IMAGES.shape
