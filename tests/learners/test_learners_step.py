"""The optimizer step: compiled or not, in whatever precision, against bare loops."""

from __future__ import annotations

import os

import numpy as np
import pytest
import torch
import torch.nn.functional as F  # noqa: N812
from learner_parts import (
    FIELDS,
    Desk,
    assert_same_weights,
    fit,
    learner,
    undated,
    weights,
    whole,
)
from torch._dynamo.utils import counters

from alframe.data.device import DeviceLoader
from alframe.data.vision import torchvision_dataset
from alframe.errors import UserError
from alframe.learners.hardware import PAYS_AFTER, Hardware
from alframe.learners.lightning import LightningLearner
from alframe.learners.module import FitModule
from alframe.learners.recipe import Recipe
from alframe.learners.step import Objective
from alframe.models.resnet_cifar import ResNetCifar
from alframe.protocols import Need
from alframe.tasks.classification import Classification

DYNAMICS = Need("dynamics", fields=FIELDS)
COMPILED = {"compile": True}


@pytest.mark.parametrize("model", ["cnn", "dropout"])
def test_several_steps_in_bfloat16_do_not_keep_old_weights(model):
    """An autocast that spans several steps would go on with its casts of the first weights."""
    one, several = (
        fit(learner(model, precision="bf16-mixed", hardware={"steps_per_call": steps}))
        for steps in (1, 3)
    )
    assert_same_weights(weights(one), weights(several))
    single = weights(fit(learner(model)))
    assert not np.array_equal(single["head.weight"], weights(one)["head.weight"])


def test_the_backward_pass_is_not_in_autocast(monkeypatch):
    seen = []
    plain = torch.Tensor.backward

    def watched(loss, *given, **named):
        seen.append(torch.is_autocast_enabled("cpu"))
        return plain(loss, *given, **named)

    monkeypatch.setattr(torch.Tensor, "backward", watched)
    fit(learner("mlp", precision="bf16-mixed", epochs=1))
    assert seen == [False] * 3


def graphs_made():
    return counters["stats"]["unique_graphs"]


@pytest.mark.slow
@pytest.mark.parametrize("model", ["cnn", "mlp"])
def test_a_compiled_fit_is_the_plain_one_and_is_compiled_once(model):
    """40 rows by 16 make batches of 16, 16 and 8: the last ones are not compiled."""
    how = {"epochs": 5, "crop": 1, "flip": True, "curve_every": 1}
    desks = Desk(), Desk()
    plain = fit(learner(model, **how), (DYNAMICS,), desks[0])
    before = graphs_made()
    compiled = fit(learner(model, hardware=COMPILED, **how), (DYNAMICS,), desks[1])
    assert graphs_made() == before + 1
    assert compiled.costs["compile_seconds"] > 0.1 > compiled.seconds / 50
    assert compiled.state()["costs"] == compiled.costs
    assert plain.costs["compile_seconds"] == 0
    for name, value in weights(plain).items():
        np.testing.assert_allclose(weights(compiled)[name], value, rtol=1e-3, atol=1e-5)
    assert undated(compiled.curve) == undated(plain.curve)
    history = compiled.dynamics.values.float(), plain.dynamics.values.float()
    np.testing.assert_allclose(*history, rtol=5e-3, atol=5e-3)
    for epoch, values in desks[0].logged.items():
        assert desks[1].logged[epoch] == pytest.approx(values, rel=1e-4)
    again = fit(learner(model, hardware=COMPILED, **how), (DYNAMICS,), seed=9)
    fewer = whole(again.learner.data)
    fewer = type(fewer)(fewer.rows[:37], fewer.labels[:37])
    fit(learner(model, hardware=COMPILED, **how), (DYNAMICS,), view=fewer)
    assert graphs_made() == before + 1, "another network and another last batch compile nothing"
    assert again.costs["compile_seconds"] < compiled.costs["compile_seconds"] / 10


@pytest.mark.slow
def test_a_compiled_fit_with_dropout_goes_on_as_if_undisturbed(tmp_path, monkeypatch):
    how = {"epochs": 3, "hardware": COMPILED}
    expected = fit(learner("dropout", **how))
    plain, steps = FitModule.train_on, []

    def cut(module, batch):
        steps.append(len(batch.labels))
        if len(steps) == 6:
            raise InterruptedError
        plain(module, batch)

    monkeypatch.setattr(FitModule, "train_on", cut)
    with pytest.raises(InterruptedError):
        fit(learner("dropout", **how), (), Desk(tmp_path))
    resumed = fit(learner("dropout", **how), (), Desk(tmp_path))
    assert len(steps) == 6 + 4
    assert_same_weights(weights(resumed), weights(expected))


def test_short_batches_are_not_compiled(monkeypatch):
    sizes = []
    plain = Objective.measure

    def watched(objective, batch, compiled):
        sizes.append((len(batch.labels), compiled))
        return plain(objective, batch, False)

    monkeypatch.setattr(Objective, "measure", watched)
    fit(learner("mlp", epochs=1, hardware=COMPILED))
    assert sizes == [(16, True), (16, True), (8, False)]
    sizes.clear()
    fit(learner("mlp", epochs=1, batch_size=60, hardware=COMPILED))
    assert sizes == [(40, False)]


def test_a_machine_that_cannot_compile_is_told_which_key_to_change(monkeypatch):
    def fails(objective, batch, compiled):
        raise torch._dynamo.exc.TorchDynamoException("no compiler\nat all")

    monkeypatch.setattr(Objective, "measure", fails)
    with pytest.raises(UserError, match=r"no compiler.*set trainer\.compile=false"):
        fit(learner("mlp", hardware=COMPILED))


class Late(torch.autograd.Function):
    """What fails in the backward pass, which is compiled when the loss is known."""

    @staticmethod
    def forward(ctx, value):  # noqa: ARG004
        return value.clone()

    @staticmethod
    def backward(ctx, gradient):  # noqa: ARG004
        raise torch._dynamo.exc.TorchDynamoException("no compiler\nat all")


def test_where_auto_cannot_compile_the_fit_goes_on_without(monkeypatch, caplog):
    expected = fit(learner("mlp"))
    plain, tried = Objective.measure, []

    def fails(objective, batch, compiled):
        loss, values = plain(objective, batch, False)
        if not compiled:
            return loss, values
        tried.append(len(batch.labels))

        return Late.apply(loss), values

    monkeypatch.setattr(Objective, "measure", fails)
    monkeypatch.setattr(Hardware, "compiles", lambda *_: True)
    desks = Desk(), Desk()
    made = fit(learner("mlp"), desk=desks[0])
    assert tried == [16]
    assert (
        "torch.compile failed with TorchDynamoException (no compiler): steps are not" in caplog.text
    )
    assert_same_weights(weights(made), weights(expected))
    monkeypatch.undo()
    fit(learner("mlp"), desk=desks[1])
    assert desks[0].logged == desks[1].logged


def test_a_fit_on_the_cpu_leaves_a_gpu_asleep(monkeypatch):
    def woken(*_):
        raise AssertionError("a GPU was asked")

    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    monkeypatch.setattr(torch.cuda, "get_rng_state", woken)
    fitted = fit(learner("dropout", epochs=1))
    fitted.learner.restore(fitted.state())


def test_graphs_that_cannot_be_are_refused(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    Hardware("gpu", "bf16-mixed", cuda_graphs=True)
    assert not Hardware("gpu", "16-mixed").captures
    with pytest.raises(UserError, match=r"cuda_graphs=true: .*precision=16-mixed"):
        Hardware("gpu", "16-mixed", cuda_graphs=True)


@pytest.mark.parametrize(
    ("key", "value"),
    [("compile", "yes"), ("cuda_graphs", "on"), ("steps_per_call", 0), ("steps_per_call", 1.5)],
)
def test_promise_5_options_out_of_range_are_refused(key, value):
    with pytest.raises(UserError, match=rf"trainer\.{key}={value}: expected auto"):
        Hardware("cpu", **{key: value})


def test_what_auto_means_on_a_cpu():
    auto = Hardware("cpu")
    assert (auto.calls, auto.captures, auto.compiles(10 * PAYS_AFTER)) == (1, False, False)
    with pytest.raises(UserError, match=r"trainer\.cuda_graphs=true: expected a CUDA device"):
        Hardware("cpu", cuda_graphs=True)


@pytest.mark.slow
@pytest.mark.skipif("ALFRAME_DATA_DIR" not in os.environ, reason="needs CIFAR-10")
def test_a_resnet20_learns_on_cifar10_as_in_a_bare_loop():
    root = os.environ["ALFRAME_DATA_DIR"]
    data = torchvision_dataset(
        name="cifar10", root=root, download=False, subset=500, validation=100
    )
    recipe = Recipe(5, 0.2, "one_cycle", batch_size=50, nesterov=True, crop=4, flip=True)
    how = LightningLearner(data, Classification(data), ResNetCifar, recipe, Hardware("cpu"))
    desk, view = Desk(), whole(data)
    fitted = fit(how, desk=desk, view=view)
    seed = int(np.random.default_rng(5).integers(2**31))
    augmentation, cpu = recipe.augmentation, torch.device("cpu")
    batches = DeviceLoader(data, view, batch_size=50, how=augmentation, seed=seed, device=cpu)
    losses = []
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = ResNetCifar(10, (32, 32, 3)).to(memory_format=torch.channels_last)
        sgd = torch.optim.SGD(model.parameters(), 0.2, 0.9, weight_decay=5e-4, nesterov=True)
        rates = torch.optim.lr_scheduler.OneCycleLR(sgd, 0.2, total_steps=40, cycle_momentum=False)
        for epoch in range(5):
            batches.set_epoch(epoch)
            losses.append([])
            for batch in batches:
                sgd.zero_grad()
                loss = F.cross_entropy(model(batch.inputs), batch.labels)
                loss.backward()
                sgd.step()
                rates.step()
                losses[-1].append(loss.item())
    expected = [float(np.mean(epoch)) for epoch in losses]
    made = [values["train_loss"] for values in desk.logged.values()]
    np.testing.assert_allclose(made, expected, rtol=2e-3)
    assert made[-1] < made[0] - 0.1, "it learns"
    for name, value in model.state_dict().items():
        np.testing.assert_allclose(fitted.model.state_dict()[name], value, rtol=0.05, atol=0.02)
