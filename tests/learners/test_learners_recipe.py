"""Learning rates by step, and what a recipe refuses."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from omegaconf import OmegaConf
from torch import nn

from alframe.data.device import Augmentation
from alframe.errors import UserError
from alframe.learners.recipe import Recipe

CONFIGS = Path(__file__).parents[2] / "configs" / "recipe"


def recipe_of(name):
    config = OmegaConf.to_container(OmegaConf.load(CONFIGS / f"{name}.yaml"))
    del config["_target_"]
    return Recipe(**config)


def rates(recipe, steps_per_epoch):
    """The learning rate of every optimizer step of a fit, and the optimizer."""
    optimizer, schedule = recipe.optimizer(nn.Linear(2, 2), steps_per_epoch)
    seen = []
    for _ in range(recipe.total_epochs(steps_per_epoch) * steps_per_epoch):
        seen.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        schedule.step()
    return seen, optimizer


@pytest.mark.parametrize("steps", [1, 3])
@pytest.mark.parametrize(
    ("name", "phases"),
    [
        ("svp", [(1, 0.01), (90, 0.1), (45, 0.01), (45, 0.001)]),
        ("svp_short", [(1, 0.01), (45, 0.1), (4, 0.01)]),
    ],
)
def test_the_recipes_of_selection_via_proxy(name, phases, steps):
    recipe = recipe_of(name)
    seen, optimizer = rates(recipe, steps)
    expected = [rate for epochs, rate in phases for _ in range(epochs * steps)]
    np.testing.assert_allclose(seen, expected, rtol=1e-12)
    group = optimizer.param_groups[0]
    assert isinstance(optimizer, torch.optim.SGD)
    assert (group["momentum"], group["weight_decay"], group["nesterov"]) == (0.9, 5e-4, False)
    assert (recipe.batch_size, recipe.augmentation) == (128, Augmentation(4, True))


def test_one_cycle_goes_up_to_the_peak_and_down_to_nearly_zero():
    seen, optimizer = rates(Recipe(10, 0.4, "one_cycle"), 10)
    assert len(seen) == 100
    assert max(seen) == pytest.approx(0.4)
    peak = int(np.argmax(seen))
    assert (np.diff(seen[: peak + 1]) > 0).all()
    assert (np.diff(seen[peak:]) < 0).all()
    assert seen[0] == pytest.approx(0.4 / 25)
    assert seen[-1] < 1e-5
    assert optimizer.param_groups[0]["momentum"] == 0.9


def test_one_cycle_of_a_single_step_works():
    assert len(rates(Recipe(1, 0.1, "one_cycle"), 1)[0]) == 1


@pytest.mark.parametrize(("steps", "expected"), [(1, 150), (7, 22), (30, 5), (50, 4), (1000, 4)])
def test_few_rows_get_more_epochs(steps, expected):
    assert Recipe(4, 0.1, "one_cycle", min_steps=150).total_epochs(steps) == expected


def test_every_recipe_in_the_configs_is_valid():
    names = [path.stem for path in CONFIGS.glob("*.yaml")]
    assert {"svp", "svp_short", "digits", "one_cycle_cpu"} <= set(names)
    for name in names:
        assert recipe_of(name).total_epochs(5) >= 1


REFUSED = [
    ({"schedule": "cosine"}, "recipe.schedule=cosine"),
    ({"epochs": [1, 2]}, "one number of epochs for each learning rate"),
    ({"learning_rate": [0.1, 0.01]}, "one number of epochs for each learning rate"),
    ({"epochs": [1, 2], "learning_rate": [0.1, 0.2], "schedule": "one_cycle"}, "expected one"),
    ({"min_steps": 5}, "recipe.min_steps=5"),
    ({"min_steps": -5, "schedule": "one_cycle"}, "recipe.min_steps"),
    ({"epochs": 0}, "recipe.epochs=0"),
    ({"epochs": []}, "recipe.epochs"),
    ({"epochs": [1, 0], "learning_rate": [0.1, 0.1]}, r"recipe.epochs=\[1, 0\]"),
    ({"epochs": 2.5}, "recipe.epochs=2.5"),
    ({"batch_size": 1}, "recipe.batch_size=1"),
    ({"batch_size": 8.5}, "recipe.batch_size=8.5"),
    ({"learning_rate": 0.0}, "recipe.learning_rate=0"),
    ({"learning_rate": float("nan")}, "recipe.learning_rate=nan"),
    ({"learning_rate": float("inf")}, "recipe.learning_rate=inf"),
    ({"momentum": -0.1}, "recipe.momentum"),
    ({"momentum": 0.0, "nesterov": True}, "recipe.nesterov"),
    ({"weight_decay": -1.0}, "recipe.weight_decay"),
    ({"label_smoothing": -0.1}, "recipe.label_smoothing"),
    ({"label_smoothing": 1.5}, "recipe.label_smoothing"),
    ({"crop": -1}, "recipe.crop"),
    ({"early_stopping": 0}, "recipe.early_stopping"),
    ({"curve_every": -1}, "recipe.curve_every"),
]


@pytest.mark.parametrize(("options", "message"), REFUSED, ids=[str(case[0]) for case in REFUSED])
def test_promise_5_is_refused_with_the_key(options, message):
    with pytest.raises(UserError, match=message):
        Recipe(**{"epochs": 2, "learning_rate": 0.1, **options})
