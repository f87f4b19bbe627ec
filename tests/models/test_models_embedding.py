"""Any classifier gets an embedding, or a clear refusal."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from alframe.errors import UserError
from alframe.models.embedding import logits_and_embedding, with_embedding
from alframe.models.mlp import MLP


class Plain(nn.Module):
    """Only returns logits; ``finish`` is applied after the last layer."""

    def __init__(self, finish=lambda logits: logits):
        super().__init__()
        self.first = nn.Linear(6, 8)
        self.drop = nn.Dropout(0.5)
        self.last = nn.Linear(8, 3)
        self.finish = finish

    def forward(self, inputs):
        return self.finish(self.last(input=self.drop(self.first(inputs).relu())))


class Unordered(nn.Module):
    """Registers its last layer first."""

    def __init__(self):
        super().__init__()
        self.out = nn.Linear(5, 3)
        self.inside = nn.Linear(6, 5)

    def forward(self, inputs):
        return self.out(self.inside(inputs).tanh())


class Convolutional(nn.Module):
    """Has no linear layer."""

    def __init__(self):
        super().__init__()
        self.features = nn.Conv1d(1, 4, 3)
        self.classify = nn.Conv1d(4, 3, 4)
        self.unused = nn.Flatten()

    def forward(self, inputs):
        return self.classify(self.features(inputs[:, None])).flatten(1)


@pytest.fixture
def inputs():
    return torch.randn(4, 6, generator=torch.Generator().manual_seed(0))


@pytest.fixture
def plain():
    torch.manual_seed(0)
    return Plain()


def test_a_model_in_two_parts_is_returned_as_it_is():
    model = MLP(3, (6,))
    assert with_embedding(model) is model


def test_head_of_embed_is_forward(plain, inputs):
    model = with_embedding(plain).eval()
    logits, embedding = logits_and_embedding(model, inputs)
    assert torch.equal(logits, plain(inputs))
    assert torch.equal(model(inputs), logits)
    assert torch.equal(embedding, plain.first(inputs).relu())
    assert torch.equal(model.embed(inputs), embedding)
    assert torch.equal(model.head(embedding), logits)


def test_a_lone_linear_layer_has_its_input_as_embedding(inputs):
    model = with_embedding(nn.Linear(6, 3))
    assert torch.equal(logits_and_embedding(model, inputs)[1], inputs)


def test_one_forward_pass_gives_both(plain, inputs):
    calls = []
    plain.register_forward_hook(lambda *_: calls.append(1))
    logits_and_embedding(with_embedding(plain), inputs)
    assert calls == [1]


def test_gradients_flow_through_both(plain, inputs):
    logits, embedding = logits_and_embedding(with_embedding(plain), inputs)
    (logits.square().sum() + embedding.square().sum()).backward()
    assert all(value.grad.abs().sum() > 0 for value in plain.parameters())


def test_modes_parameters_and_state_are_those_of_the_module(plain, inputs):
    model = with_embedding(plain)
    assert list(model.parameters()) == list(plain.parameters())
    assert model.eval().module.drop.training is False
    assert model.train().module.drop.training is True
    other = with_embedding(Plain())
    other.load_state_dict(model.state_dict())
    assert torch.equal(other.eval()(inputs), model.eval()(inputs))


def test_a_copy_is_independent(plain, inputs):
    model = with_embedding(plain).eval()
    logits_and_embedding(model, inputs)
    twin = copy.deepcopy(model)
    nn.init.zeros_(model.module.first.weight)
    nn.init.zeros_(model.module.first.bias)
    assert model.embed(inputs).abs().sum() == 0
    assert twin.embed(inputs).abs().sum() > 0


def test_no_hook_stays_behind_even_after_an_error(plain, inputs):
    model = with_embedding(plain)
    logits_and_embedding(model, inputs)
    with pytest.raises(RuntimeError, match="shapes cannot be multiplied"):
        logits_and_embedding(model, inputs[:, :2])
    assert not plain.last._forward_hooks


def test_logits_in_another_precision_or_copied_are_still_the_logits(inputs):
    for finish in (torch.Tensor.double, torch.clone):
        model = with_embedding(Plain(finish)).eval()
        logits, embedding = logits_and_embedding(model, inputs)
        torch.testing.assert_close(model.head(embedding).to(logits), logits)


def test_a_diverged_model_is_not_taken_for_a_wrong_one(inputs):
    model = with_embedding(Plain(torch.clone))
    assert logits_and_embedding(model, inputs * torch.nan)[0].isnan().all()


@pytest.mark.parametrize("finish", [lambda x: x.softmax(dim=1), lambda x: x.sum(dim=1)])
def test_a_model_that_changes_its_last_layers_output_is_refused(finish, inputs):
    model = with_embedding(Plain(finish))
    with pytest.raises(UserError, match=r"layer 'last' returns, but changes it.*model\._target_"):
        logits_and_embedding(model, inputs)


def test_a_layer_that_is_not_the_last_is_refused_and_the_right_name_mends_it(inputs):
    with pytest.raises(UserError, match=r"'inside' returns, but changes it"):
        logits_and_embedding(with_embedding(Unordered()), inputs)
    assert logits_and_embedding(with_embedding(Unordered(), "out"), inputs)[1].shape == (4, 5)


def test_a_layer_that_is_not_called_is_refused(inputs):
    model = with_embedding(Convolutional(), "unused")
    with pytest.raises(UserError, match=r"'unused' returns, but does not call it"):
        logits_and_embedding(model, inputs)


def test_a_model_without_a_linear_layer_is_refused():
    with pytest.raises(UserError, match=r"Convolutional has no nn\.Linear.*model\._target_"):
        with_embedding(Convolutional())


def test_an_unknown_layer_is_refused_with_known_ones():
    with pytest.raises(UserError, match=r"no layer 'fc' .*first, drop, last\).*model"):
        with_embedding(Plain(), "fc")
