"""What every model in configs/model promises."""

from __future__ import annotations

import inspect
from pathlib import Path

import hydra
import pytest
import torch
from omegaconf import OmegaConf
from torch import nn

from alframe.errors import UserError
from alframe.models.embedding import logits_and_embedding, with_embedding

CONFIGS = sorted((Path(__file__).parents[2] / "configs" / "model").glob("*.yaml"))
NAMES = [path.stem for path in CONFIGS]
FEATURE_MODELS = {"mlp"}


def factory(name):
    return hydra.utils.instantiate(OmegaConf.load(CONFIGS[NAMES.index(name)]))


def build(name, classes=5, shape=(16, 16, 3)):
    torch.manual_seed(0)
    return factory(name)(num_classes=classes, input_shape=shape)


def test_the_named_models_are_there():
    wanted = "mlp resnet110 resnet164 resnet18 resnet20 resnet50 resnet56 resnet8 small_cnn"
    assert set(wanted.split()) <= set(NAMES)


@pytest.mark.parametrize("path", CONFIGS, ids=NAMES)
def test_yaml_keys_are_the_arguments(path):
    config = OmegaConf.to_container(OmegaConf.load(path))
    assert config.pop("_partial_") is True
    arguments = inspect.signature(hydra.utils.get_class(config.pop("_target_"))).parameters
    assert set(arguments) == {"num_classes", "input_shape", *config}


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(("height", "width", "channels"), [(16, 16, 3), (8, 12, 1)])
def test_forward_is_head_of_embed(name, height, width, channels):
    model = build(name, classes=5, shape=(height, width, channels)).eval()
    images = torch.randn(3, channels, height, width)
    with torch.no_grad():
        logits, embedding = logits_and_embedding(model, images)
        assert torch.equal(model(images), logits)
        assert torch.equal(model.embed(images), embedding)
        assert torch.equal(model.head(embedding), logits)
    assert logits.shape == (3, 5)
    assert embedding.shape == (3, model.head.in_features)
    assert with_embedding(model) is model


@pytest.mark.parametrize("name", NAMES)
def test_every_parameter_gets_a_gradient(name):
    model = build(name)
    logits, _ = logits_and_embedding(model, torch.randn(4, 3, 16, 16))
    nn.functional.cross_entropy(logits, torch.tensor([0, 1, 2, 3])).backward()
    without = [key for key, value in model.named_parameters() if value.grad is None]
    assert without == []
    assert all(value.grad.isfinite().all() for value in model.parameters())


@pytest.mark.parametrize("name", NAMES)
def test_inputs_are_left_alone_and_state_can_be_loaded(name):
    model, other = build(name).eval(), factory(name)(num_classes=5, input_shape=(16, 16, 3))
    images = torch.randn(2, 3, 16, 16)
    before = images.clone()
    logits = model(images)
    assert torch.equal(images, before)
    assert not torch.equal(other.eval()(images), logits)
    other.load_state_dict(model.state_dict())
    assert torch.equal(other(images), logits)


@pytest.mark.parametrize("name", sorted(set(NAMES) - FEATURE_MODELS))
def test_features_are_refused_by_image_models(name):
    with pytest.raises(UserError, match=r"expects images .* shape \(64,\).* learner@target=mlp"):
        build(name, shape=(64,))


@pytest.mark.parametrize("name", sorted(FEATURE_MODELS))
def test_feature_models_take_features(name):
    model = build(name, shape=(10,))
    assert model(torch.randn(4, 10)).shape == (4, 5)
