"""Tiny data, models and workspaces for the tests of learners."""

from __future__ import annotations

from functools import cache, partial
from pathlib import Path

import numpy as np
from torch import nn

from alframe.data.dataset import Splits, build_dataset
from alframe.learners.hardware import Hardware
from alframe.learners.lightning import LightningLearner
from alframe.learners.recipe import Recipe
from alframe.models.mlp import MLP
from alframe.models.small_cnn import SmallCNN
from alframe.protocols import View
from alframe.tasks.classification import Classification

FIELDS = ("probability", "margin", "correct", "error_norm", "gradient_norm")


@cache
def images(validation=10):
    """60 gray images of 6 x 6 pixels in 3 classes, which are told apart by brightness."""
    rng = np.random.default_rng(0)
    labels = np.arange(70) % 3
    noise = rng.integers(-40, 41, (70, 6, 6, 1))
    inputs = np.clip(60 + 60 * labels[:, None, None, None] + noise, 0, 255).astype(np.uint8)
    train, test = (inputs[:50], labels[:50]), (inputs[50:], labels[50:])
    return build_dataset("toy", train, test, None, Splits(validation=validation))


@cache
def features(classes=3, rows=60, width=4):
    """Features in overlapping classes, not standardized by hand."""
    rng = np.random.default_rng(1)
    labels = np.arange(rows) % classes
    inputs = rng.normal(size=(rows, width)) * [1.0, 10.0, 0.1, 3.0][:width]
    inputs[:, 0] += labels
    train, test = (inputs[: rows - 15], labels[: rows - 15]), (inputs[-15:], labels[-15:])
    return build_dataset("toy", train, test, None, Splits(validation=9))


class Dropout(nn.Module):
    """A perceptron whose training draws from torch's global random state."""

    def __init__(self, num_classes, input_shape):
        super().__init__()
        width = int(np.prod(input_shape))
        self.embed = nn.Sequential(nn.Flatten(), nn.Linear(width, 8), nn.ReLU(), nn.Dropout(0.5))
        self.head = nn.Linear(8, num_classes)

    def forward(self, inputs):
        return self.head(self.embed(inputs))


MODELS = {"cnn": partial(SmallCNN, width=2), "dropout": Dropout, "mlp": partial(MLP, hidden=[5])}


def learner(model="cnn", data=None, precision="32-true", hardware=None, **recipe):
    """A Lightning learner on the CPU that saves a checkpoint after every step."""
    data = images() if data is None else data
    defaults = {"epochs": 3, "learning_rate": 0.05, "batch_size": 16, "checkpoint_seconds": 0}
    hardware = Hardware("cpu", precision, **(hardware or {}))
    how = Recipe(**{**defaults, **recipe})
    return LightningLearner(data, Classification(data), MODELS[model], how, hardware)


def whole(data):
    """All rows of the pool with their labels, in no order."""
    rows = np.random.default_rng(2).permutation(data.pool_rows)
    return View(rows, data.reveal(rows))


class Desk:
    """A workspace that can stop a fit at the end of an epoch, as a kill would."""

    def __init__(self, folder: Path | None = None, stop_at=None, error=InterruptedError):
        self.folder = folder
        self.stop_at = stop_at
        self.error = error
        self.logged = {}

    def log(self, epoch, values):
        self.logged[epoch] = dict(values)
        if epoch == self.stop_at:
            raise self.error("stopped by the test")


def fit(how, needs=(), desk=None, seed=5, view=None):
    """Fits on the whole pool."""
    view = whole(how.data) if view is None else view
    return how.fit(view, np.random.default_rng(seed), needs, desk or Desk())


def weights(fitted):
    """The model's parameters and buffers, by name."""
    return {name: value.numpy().copy() for name, value in fitted.model.state_dict().items()}


def assert_same_weights(one, other):
    assert one.keys() == other.keys()
    for name, value in one.items():
        np.testing.assert_array_equal(value, other[name], err_msg=name)


def undated(curve):
    """A fit's curve without its wall-clock."""
    return [{key: value for key, value in point.items() if key != "seconds"} for point in curve]
