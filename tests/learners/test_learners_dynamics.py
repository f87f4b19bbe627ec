"""Recorded histories: gradient norms, fits that stop early, and what they take."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F  # noqa: N812
from learner_parts import FIELDS, MODELS, Desk, fit, images, learner, whole
from torch import nn

from alframe.data.device import DeviceLoader
from alframe.errors import UserError
from alframe.protocols import Need

PROBS = Need("probs")
CORRECT, ALL_FIELDS = Need("dynamics", fields=("correct",)), Need("dynamics", fields=FIELDS)


class Plain(nn.Module):
    """No embed and head of its own, so that its last layer must be found."""

    def __init__(self, num_classes, input_shape):
        super().__init__()
        self.first = nn.Linear(int(np.prod(input_shape)), 6)
        self.last = nn.Linear(6, num_classes)

    def forward(self, inputs):
        return self.last(self.first(inputs.flatten(1)).tanh())


@pytest.mark.parametrize("model", ["cnn", "mlp", "plain"])
def test_the_first_gradient_norms_are_those_of_autograd(model, monkeypatch):
    """In a single full batch every row is judged with the untrained model."""
    monkeypatch.setitem(MODELS, "plain", Plain)
    how, view = learner(model, batch_size=500, epochs=1), whole(images())
    seed = int(np.random.default_rng(5).integers(2**31))
    torch.manual_seed(seed)
    untrained = how.build().train()
    (batch,) = DeviceLoader(
        how.data, view, batch_size=500, how=how.recipe.augmentation, seed=seed,
        device=torch.device("cpu"),
    )  # fmt: skip
    last = [part for part in untrained.modules() if isinstance(part, nn.Linear)][-1]
    losses = F.cross_entropy(untrained(batch.inputs), batch.labels, reduction="none")
    slow = {}
    for position, loss in zip(batch.positions.tolist(), losses, strict=True):
        parts = torch.autograd.grad(loss, [last.weight, last.bias], retain_graph=True)
        slow[view.rows[position]] = float(torch.cat([part.flatten() for part in parts]).norm())
    need = Need("dynamics", fields=("gradient_norm",))
    seen = fit(how, (need,), view=view).observe({need: how.data.pool_rows})
    values = seen.dynamics(how.data.pool_rows, "gradient_norm")
    assert values.dtype == torch.float32
    expected = [[slow[row] for row in how.data.pool_rows.tolist()]]
    np.testing.assert_allclose(values, expected, rtol=1e-4)


@pytest.mark.parametrize(
    "recipe",
    [
        pytest.param({"epochs": [1, 2, 2], "learning_rate": [0.02, 0.1, 0.01]}, id="milestones"),
        pytest.param({"epochs": 2, "schedule": "one_cycle", "min_steps": 15}, id="one_cycle"),
    ],
)
def test_a_short_fit_is_the_beginning_of_a_full_one(recipe):
    """Not one with a schedule of its own, whose learning rates would fall earlier."""
    how = learner("dropout", **recipe)
    short = Need("dynamics", fields=FIELDS, until_epoch=3)
    full_desk, desk = Desk(), Desk()
    full, part = fit(how, (ALL_FIELDS,), full_desk), fit(how, (short,), desk)
    assert (len(full_desk.logged), len(desk.logged)) == (5, 3)
    assert desk.logged == {epoch: full_desk.logged[epoch] for epoch in (1, 2, 3)}
    assert torch.equal(part.dynamics.values, full.dynamics.values[:3])
    assert part.curve[-1]["epoch"] == 3
    assert part.evaluate("test") != full.evaluate("test")


@pytest.mark.parametrize(
    ("needs", "epochs"),
    [
        ((), 4),
        ((Need("dynamics", fields=("margin",), until_epoch=2), CORRECT), 4),
        ((Need("dynamics", fields=("margin",), until_epoch=2), PROBS), 4),
        ((Need("dynamics", fields=("margin",), fits=3),), 4),
        ((Need("dynamics", fields=("margin",), until_epoch=9),), 4),
        (tuple(Need("dynamics", fields=("margin",), until_epoch=n) for n in (3, 1)), 3),
    ],
)
def test_a_fit_stops_when_the_last_of_its_needs_has_seen_enough(needs, epochs):
    desk = Desk()
    fit(learner("mlp", epochs=4), needs, desk)
    assert list(desk.logged) == list(range(1, epochs + 1))


def test_the_history_of_several_or_of_short_fits_is_estimated_as_it_is_kept():
    how = learner("mlp", epochs=4)
    margins = {"what": "dynamics", "fields": ("margin", "correct")}
    assert how.bytes_per_row(Need(**margins)) == 2 * 2 * 4  # float16
    assert how.bytes_per_row(Need(**margins, until_epoch=3)) == 2 * 2 * 3
    assert how.bytes_per_row(Need(**margins, until_epoch=30)) == 2 * 2 * 4
    assert how.bytes_per_row(Need(**margins, fits=5)) == 4 * 2 * 4  # their mean, in float32


def test_promise_5_what_nobody_records_is_refused_before_the_fit():
    need = Need("dynamics", fields=("margin", "loss"))
    with pytest.raises(UserError, match=r"dynamics loss: expected some of .*gradient_norm"):
        learner("mlp").bytes_per_row(need)
