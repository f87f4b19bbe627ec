"""Monte-Carlo dropout: one mask for all rows, a function of the fit's seed and the draw."""

from __future__ import annotations

import random
from functools import partial

import numpy as np
import pytest
import torch
from learner_parts import Desk, Dropout, features, fit, images, learner
from torch import nn

from alframe.errors import UserError
from alframe.files import decode_state, encode_state
from alframe.learners import evaluate
from alframe.learners.dropout import ConsistentDropout, dropping_layers
from alframe.models.embedding import with_embedding
from alframe.models.mlp import MLP
from alframe.models.resnet_cifar import ResNetCifar
from alframe.models.small_cnn import SmallCNN
from alframe.models.torchvision_resnet import TorchvisionResNet
from alframe.protocols import Need

DRAWS = Need("mc_probs", draws=6)
PROBS = Need("probs")


def seen(fitted, need=DRAWS, rows=None):
    rows = fitted.learner.data.pool_rows if rows is None else rows
    return fitted.observe({need: rows}).mc_probs(rows)


@pytest.fixture(scope="module")
def fitted():
    return fit(learner("dropout", data=features()))


# --- what a draw is ---


class TwoKinds(nn.Module):
    """Drops channels, then values of the embedding, in one module that is called twice."""

    def __init__(self, dimensions):
        super().__init__()
        self.conv = getattr(nn, f"Conv{dimensions}d")(1, 8, 3)
        self.channels = getattr(nn, f"Dropout{dimensions}d")(0.5)
        self.values = nn.Dropout(0.3)
        self.last = nn.Linear(8, 4)

    def forward(self, inputs):
        hidden = self.channels(self.conv(inputs))
        return self.last(self.values(self.values(hidden.flatten(2).mean(2))))


def by_hand(model, seed, draw, images):
    """`TwoKinds` with the masks written out, row by row."""
    stream = [np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(draw, c))) for c in
              range(3)]  # fmt: skip
    channels = stream[0].random(8, dtype=np.float32) >= model.channels.p
    values = [s.random(8, dtype=np.float32) >= 0.3 for s in stream[1:]]
    outputs = []
    for image in images:
        hidden = model.conv(image[None])[0].flatten(1).mean(1)
        hidden = hidden * torch.from_numpy(channels) / (1 - model.channels.p)
        for kept in values:
            hidden = hidden * torch.from_numpy(kept) / 0.7
        outputs.append(model.last(hidden))
    return torch.stack(outputs)


@pytest.mark.parametrize("dimensions", [1, 2, 3])
def test_a_draw_is_the_network_with_its_masks_written_out(dimensions):
    torch.manual_seed(0)
    model, images = TwoKinds(dimensions).eval(), torch.randn(5, 1, *[6] * dimensions)
    with torch.no_grad():
        logits = ConsistentDropout(model, seed=3, draws=4).logits(images)
        for draw in range(4):
            expected = by_hand(model, 3, draw, images)
            torch.testing.assert_close(logits[:, draw], expected, rtol=1e-5, atol=1e-6)
    assert len({tuple(logits[0, k].tolist()) for k in range(4)}) == 4


def test_values_are_dropped_as_often_as_asked_and_keep_their_mean():
    layer = nn.Sequential(nn.Dropout(0.25))
    ones = torch.ones(1, 2000)
    values = ConsistentDropout(layer, 0, 10).logits(ones)
    torch.testing.assert_close(values.unique(), torch.tensor([0, 1 / 0.75]))
    assert (values == 0).double().mean().item() == pytest.approx(0.25, abs=0.02)
    assert ConsistentDropout(nn.Dropout(1.0), 0, 2).logits(ones).abs().sum() == 0


@pytest.mark.parametrize(
    "build",
    [
        pytest.param(partial(SmallCNN, width=4, dropout=0.5), id="small_cnn"),
        pytest.param(partial(MLP, hidden=[9, 7], dropout=0.5), id="mlp"),
        pytest.param(partial(ResNetCifar, depth=8, dropout=0.5), id="resnet_cifar"),
        pytest.param(Dropout, id="dropout"),
    ],
)
def test_passing_the_first_layers_once_changes_nothing(build):
    """The same network without ``embed`` in parts is passed as a whole for each draw."""
    torch.manual_seed(1)
    model = build(num_classes=3, input_shape=(6, 6, 1))
    inputs = torch.randn(5, 1, 6, 6)
    whole = nn.Sequential(model.embed, model.head)
    short, long = ConsistentDropout(model, 7, 5), ConsistentDropout(whole, 7, 5)
    assert long._tail is whole
    assert short._tail is not model
    before = inputs.clone()
    assert torch.equal(short.logits(inputs), long.logits(inputs))
    assert torch.equal(inputs, before)


def test_draws_differ_by_seed_and_a_draw_is_the_same_however_many_there_are():
    torch.manual_seed(0)
    model, rows = MLP(3, (4,), [16], dropout=0.5), torch.randn(7, 4)
    many = ConsistentDropout(model, 1, 9).logits(rows)
    assert torch.equal(ConsistentDropout(model, 1, 4).logits(rows), many[:, :4])
    assert not torch.allclose(ConsistentDropout(model, 2, 9).logits(rows), many)
    assert not torch.allclose(many[:, 0], many[:, 1])


def test_the_model_is_left_as_it_was():
    model = nn.Sequential(nn.BatchNorm1d(4), nn.Dropout(0.5), nn.Linear(4, 2)).train()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    ConsistentDropout(model, 0, 3).logits(torch.randn(6, 4) + 5)
    assert model.training
    assert model[1].training
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert not any(module._forward_hooks for module in model.modules())


def test_hooks_are_gone_after_a_pass_that_failed():
    model = nn.Sequential(nn.Dropout(0.5), nn.Linear(4, 2)).train()
    with pytest.raises(RuntimeError):
        ConsistentDropout(model, 0, 3).logits(torch.randn(6, 5))
    assert model.training
    assert not any(module._forward_hooks for module in model.modules())


def test_what_drops_nothing_is_told_apart():
    assert dropping_layers(nn.Sequential(nn.Dropout(0.0), nn.Linear(2, 2))) == []
    assert len(dropping_layers(nn.Sequential(nn.Dropout(0.1), nn.Dropout2d(0.1)))) == 2
    assert dropping_layers(nn.Sequential(nn.Dropout(0.1), nn.AlphaDropout(0.1))) == []
    assert len(dropping_layers(nn.Sequential(nn.Dropout(0.1), nn.AlphaDropout(0.0)))) == 1
    with pytest.raises(ValueError, match="no dropout layer"):
        ConsistentDropout(nn.Linear(2, 2), 0, 3)


# --- the learner ---


@pytest.mark.parametrize("batch", [1, 7, 1000])
def test_batches_and_other_rows_change_no_draw(fitted, monkeypatch, batch):
    every = seen(fitted)
    monkeypatch.setattr(evaluate, "CPU_BATCH", batch)
    np.testing.assert_allclose(seen(fitted), every, rtol=1e-5, atol=1e-7)
    rows = fitted.learner.data.pool_rows
    some = np.sort(np.random.default_rng(0).choice(rows, 9, replace=False))
    np.testing.assert_allclose(
        seen(fitted, rows=some), every[np.searchsorted(rows, some)], rtol=1e-5, atol=1e-7
    )


def test_draws_are_probabilities_that_differ_around_the_plain_ones(fitted):
    rows = fitted.learner.data.pool_rows
    many = Need("mc_probs", draws=400)
    observed = fitted.observe({many: rows, PROBS: rows})
    probs = observed.mc_probs(rows)
    assert probs.shape == (len(rows), 400, 3)
    torch.testing.assert_close(probs.sum(2), torch.ones(len(rows), 400))
    assert (probs.std(1) > 0).all()
    plain = fitted.observe({PROBS: rows}).probs(rows)
    assert torch.equal(observed.probs(rows), plain)
    assert (probs.mean(1) - plain).abs().mean() < 0.1


def test_needs_with_other_draws_and_reductions_share_a_pass(fitted):
    rows = fitted.learner.data.pool_rows
    spread = Need("mc_probs", draws=3, reduce=lambda probs: probs.std(1).sum(1))
    observed = fitted.observe({DRAWS: rows[:9], spread: rows})
    expected = seen(fitted)
    torch.testing.assert_close(observed.of([DRAWS]).mc_probs(rows[:9]), expected[:9])
    torch.testing.assert_close(observed.of([spread]).mc_probs(rows), expected[:, :3].std(1).sum(1))


def test_a_restored_fit_has_the_same_draws(fitted, tmp_path):
    (tmp_path / "fitted.npz").write_bytes(encode_state(fitted.state()))
    state = decode_state(tmp_path / "fitted.npz")
    assert torch.equal(seen(learner("dropout", data=features()).restore(state)), seen(fitted))


def test_the_same_seed_gives_the_same_draws_also_after_a_kill(tmp_path):
    how = learner("dropout", data=features())
    expected = seen(fit(how, seed=5))
    assert torch.equal(seen(fit(how, seed=5)), expected)
    with pytest.raises(InterruptedError):
        fit(how, desk=Desk(tmp_path, stop_at=2), seed=5)
    assert torch.equal(seen(fit(how, desk=Desk(tmp_path), seed=5)), expected)
    assert not torch.equal(seen(fit(how, seed=6)), expected)


def test_global_random_states_are_left_alone_and_not_used(fitted):
    expected = seen(fitted)
    states = random.getstate(), np.random.get_state()[1].copy()  # noqa: NPY002
    with torch.random.fork_rng():
        torch.manual_seed(77)
        state = torch.get_rng_state()
        assert torch.equal(seen(fitted), expected)
        assert torch.equal(torch.get_rng_state(), state)
    assert random.getstate() == states[0]
    np.testing.assert_array_equal(np.random.get_state()[1], states[1])  # noqa: NPY002


def test_a_learner_gives_draws_only_where_its_model_drops_values():
    assert "mc_probs" in learner("dropout").records
    assert "mc_probs" not in learner("mlp").records
    assert "mc_probs" not in learner("cnn").records
    assert learner("dropout").bytes_per_row(DRAWS) == 6 * 3 * 4


# --- the models ---


@pytest.mark.parametrize("build", [SmallCNN, MLP, partial(ResNetCifar, depth=8), TorchvisionResNet])
def test_without_dropout_a_model_is_what_it_was_and_with_it_only_layers_are_added(build):
    plain, dropping = (build(num_classes=3, input_shape=(6, 6, 1), dropout=p) for p in (0.0, 0.4))
    assert not any(isinstance(module, nn.Dropout) for module in plain.modules())
    assert [layer.p for layer in dropping_layers(dropping)] == [0.4]
    torch.manual_seed(0)
    one = build(num_classes=3, input_shape=(6, 6, 1)).state_dict()
    torch.manual_seed(0)
    other = build(num_classes=3, input_shape=(6, 6, 1), dropout=0.4).state_dict()
    assert all(torch.equal(a, b) for a, b in zip(one.values(), other.values(), strict=True))
    assert with_embedding(dropping) is dropping


@pytest.mark.parametrize("probability", [-0.1, 1, 1.5])
def test_a_dropout_that_is_no_probability_is_refused(probability):
    with pytest.raises(UserError, match=rf"model\.dropout={probability}: expected .* below 1"):
        MLP(3, (4,), dropout=probability)


def test_images_are_drawn_as_well():
    how = learner("dropout", data=images())
    assert seen(fit(how)).std(1).max() > 0.01
