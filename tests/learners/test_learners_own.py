"""A LightningModule of the user's own in place of ours."""

from __future__ import annotations

from functools import partial

import numpy as np
import pytest
import pytorch_lightning as pl
import torch
import torch.nn.functional as F  # noqa: N812
from learner_parts import (
    MODELS,
    Desk,
    assert_same_weights,
    fit,
    images,
    learner,
    undated,
    weights,
)
from torch import nn

from alframe.errors import UserError
from alframe.files import decode_state, encode_state
from alframe.learners.hardware import Hardware
from alframe.learners.lightning import LightningLearner
from alframe.learners.recipe import Recipe
from alframe.protocols import Need
from alframe.tasks.classification import Classification


class Around(pl.LightningModule):
    """Trains a network of ours as `FitModule` does by the recipe of `own`."""

    def __init__(self, model):
        super().__init__()
        self.net = model

    def forward(self, inputs):
        return self.net(inputs)

    def training_step(self, batch, batch_idx):
        return F.cross_entropy(self(batch.inputs), batch.labels)

    def configure_optimizers(self):
        optimizer = torch.optim.SGD(self.parameters(), 0.05, momentum=0.9, weight_decay=5e-4)
        every_step = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda _: 1.0)
        return [optimizer], [{"scheduler": every_step, "interval": "step"}]


class Whole(pl.LightningModule):
    """Brings its own network, Adam and a schedule by epochs, and steps by hand."""

    def __init__(self, num_classes, input_shape, stop_at=None):
        super().__init__()
        self.automatic_optimization = False
        self.first = nn.Linear(int(np.prod(input_shape)), 7)
        self.last = nn.Linear(7, num_classes)
        self.stop_at = stop_at

    def forward(self, inputs):
        return self.last(F.dropout(self.first(inputs.flatten(1)), 0.2, self.training).relu())

    def training_step(self, batch, batch_idx):
        if self.stop_at == [self.current_epoch, batch_idx]:
            raise InterruptedError
        self.optimizers().zero_grad()
        loss = F.cross_entropy(self(batch.inputs), batch.labels)
        self.manual_backward(loss)
        self.optimizers().step()
        return loss

    def on_train_epoch_end(self):
        self.lr_schedulers().step()

    def configure_optimizers(self):
        optimizer = torch.optim.Adam(self.parameters(), 0.01)
        return [optimizer], [torch.optim.lr_scheduler.StepLR(optimizer, 1, 0.5)]


def own(module, model=None, **recipe):
    data = images()
    defaults = {"epochs": 3, "learning_rate": 0.05, "batch_size": 16, "checkpoint_seconds": 0}
    how = Recipe(**{**defaults, **recipe})
    return LightningLearner(data, Classification(data), model, how, Hardware("cpu"), module)


@pytest.mark.parametrize("model", MODELS)
def test_a_module_around_our_network_trains_as_ours_does(model):
    how, desks = {"crop": 1, "curve_every": 1}, (Desk(), Desk())
    ours = fit(learner(model, **how), desk=desks[0])
    theirs = fit(own(Around, MODELS[model], **how), desk=desks[1])
    bare = {key.split("net.", 1)[1]: value for key, value in weights(theirs).items()}
    assert_same_weights(bare, weights(ours))
    assert undated(theirs.curve) == undated(ours.curve)
    for epoch, values in desks[1].logged.items():
        assert values == pytest.approx(desks[0].logged[epoch], rel=1e-6)
    rows = images().pool_rows
    need = Need("embeddings")
    one, other = (f.observe({need: rows}).embeddings(rows) for f in (ours, theirs))
    assert torch.equal(one, other), "the embedding of the network inside is found"


def test_a_module_with_its_own_network_is_observed_and_restored(tmp_path):
    fitted = fit(own(Whole))
    rows = images().pool_rows
    requests = {Need("probs"): rows, Need("embeddings"): rows}
    seen = fitted.observe(requests)
    assert fitted.learner.width("embeddings") == seen.embeddings(rows).shape[1] == 7
    (tmp_path / "fitted.npz").write_bytes(encode_state(fitted.state()))
    again = own(Whole).restore(decode_state(tmp_path / "fitted.npz"))
    assert torch.equal(again.observe(requests).probs(rows), seen.probs(rows))
    assert again.evaluate("test") == fitted.evaluate("test")


@pytest.mark.parametrize("stop_at", [[0, 1], [1, 0], [1, 2], [2, 2]])
def test_stopped_in_an_epoch_it_goes_on_as_if_undisturbed(tmp_path, stop_at):
    undisturbed, last = Desk(), Desk(tmp_path)
    expected = fit(own(Whole, early_stopping=3), desk=undisturbed)
    with pytest.raises(InterruptedError):
        fit(own(partial(Whole, stop_at=stop_at)), desk=Desk(tmp_path))
    resumed = fit(own(Whole, early_stopping=3), desk=last)
    assert_same_weights(weights(resumed), weights(expected))
    first = stop_at[0] + 1
    assert last.logged == {epoch: undisturbed.logged[epoch] for epoch in range(first, 4)}
    assert all("train_loss" in values for values in last.logged.values())


def test_no_dynamics_are_promised():
    assert own(Around, MODELS["mlp"]).records == {"probs", "embeddings"}
    assert own(Around, MODELS["dropout"]).records == {"probs", "embeddings", "mc_probs"}
    assert "dynamics" in learner().records


class Untrained(pl.LightningModule):
    """Has a network and nothing else."""

    def __init__(self, num_classes, input_shape):
        super().__init__()
        self.last = nn.Linear(int(np.prod(input_shape)), num_classes)

    def forward(self, inputs):
        return self.last(inputs.flatten(1))


def test_what_cannot_train_is_refused_before_the_fit():
    with pytest.raises(UserError, match=r"makes a Untrained without training_step.*module=null"):
        own(Untrained)
    with pytest.raises(UserError, match=r"makes a MLP: expected a LightningModule"):
        own(MODELS["mlp"])
    with pytest.raises(UserError, match=r"model=null: expected a model, or a module"):
        own(None)
