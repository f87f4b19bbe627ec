"""Each network is the one that it is named after."""

from __future__ import annotations

import pytest
import torch
import torchvision
from sklearn.datasets import load_digits
from torch import nn

from alframe.errors import UserError
from alframe.models.mlp import MLP
from alframe.models.resnet_cifar import ResNetCifar
from alframe.models.small_cnn import SmallCNN
from alframe.models.torchvision_resnet import TorchvisionResNet


def parameters(model):
    return sum(value.numel() for value in model.parameters())


def multiply_adds(model, images):
    """Counts those of convolutions and linear layers, per image."""
    counts = []

    def count(layer, _, output):
        counts.append(output[0].numel() * layer.weight[0].numel())

    for layer in model.modules():
        if isinstance(layer, nn.Conv2d | nn.Linear):
            layer.register_forward_hook(count)
    with torch.no_grad():
        model.eval()(images)
    return sum(counts)


@pytest.mark.parametrize(("depth", "count"), [(20, 272_282), (164, 1_703_258)])
def test_resnet_cifar_has_the_parameters_of_selection_via_proxy(depth, count):
    assert parameters(ResNetCifar(10, (32, 32, 3), depth)) == count


@pytest.mark.parametrize(("depth", "count"), [(20, 40.8e6), (164, 248e6)])
def test_resnet_cifar_has_the_multiply_adds_of_selection_via_proxy(depth, count):
    model = ResNetCifar(10, (32, 32, 3), depth)
    assert multiply_adds(model, torch.zeros(1, 3, 32, 32)) == pytest.approx(count, rel=0.02)


@pytest.mark.parametrize("depth", [8, 20, 56, 110, 164])
def test_resnet_cifar_is_as_deep_as_it_says(depth):
    model = ResNetCifar(10, (32, 32, 3), depth)
    shortcuts = {name for name, _ in model.named_modules() if name.endswith("shortcut")}
    layers = [
        name
        for name, layer in model.named_modules()
        if isinstance(layer, nn.Conv2d | nn.Linear) and name not in shortcuts
    ]
    assert len(layers) == depth
    assert len(shortcuts) == (3 if depth == 164 else 2)
    assert model.head.in_features == (256 if depth == 164 else 64)


def test_resnet_cifar_is_the_identity_where_the_branches_are_zero():
    torch.manual_seed(0)
    model = ResNetCifar(10, (8, 8, 3), 20).eval()
    for name, layer in model.named_modules():
        if name.endswith("branch"):
            nn.init.zeros_(layer[-1].weight)
    images = torch.randn(2, 3, 8, 8)
    stem, *blocks = model.embed[:4]
    with torch.no_grad():
        expected = stem(images)
        assert torch.equal(nn.Sequential(*blocks)(expected), expected)


def test_resnet_cifar_starts_as_he_et_al_say():
    torch.manual_seed(0)
    model = ResNetCifar(10, (32, 32, 3), 20)
    for layer in model.modules():
        if isinstance(layer, nn.Conv2d):
            fan_out = layer.out_channels * layer.kernel_size[0] ** 2
            wanted = (2 / fan_out) ** 0.5
            assert layer.weight.std().item() == pytest.approx(wanted, rel=0.15)


def test_resnet_cifar_embedding_is_not_negative():
    model = ResNetCifar(10, (8, 8, 1), 8).eval()
    assert (model.embed(torch.randn(16, 1, 8, 8)) >= 0).all()


def test_other_depths_are_refused():
    with pytest.raises(UserError, match=r"depth of 8, 20, 56, 110, 164, got 18.*model\.depth"):
        ResNetCifar(10, (32, 32, 3), 18)
    with pytest.raises(UserError, match=r"depth of 18, 34, 50, 101, 152, got 20.*model\.depth"):
        TorchvisionResNet(10, (32, 32, 3), 20)


@pytest.mark.parametrize("depth", [18, 50])
def test_torchvision_resnet_is_that_of_torchvision(depth):
    torch.manual_seed(0)
    original = getattr(torchvision.models, f"resnet{depth}")(num_classes=4).eval()
    torch.manual_seed(0)
    model = TorchvisionResNet(4, (32, 32, 3), depth).eval()
    images = torch.randn(2, 3, 32, 32)
    with torch.no_grad():
        torch.testing.assert_close(model(images), original(images))


@pytest.mark.parametrize(("small", "side"), [(True, 4), (False, 1)])
@pytest.mark.parametrize("channels", [1, 3])
def test_the_small_stem_keeps_the_resolution(small, side, channels):
    model = TorchvisionResNet(4, (32, 32, channels), 18, small_images=small).eval()
    shapes = []
    model.embed.layer4.register_forward_hook(lambda *call: shapes.append(call[2].shape))
    with torch.no_grad():
        model(torch.zeros(1, channels, 32, 32))
    assert shapes == [(1, 512, side, side)]


def test_small_resnet18_has_the_multiply_adds_known_for_cifar():
    model = TorchvisionResNet(10, (32, 32, 3), 18, small_images=True)
    assert multiply_adds(model, torch.zeros(1, 3, 32, 32)) == pytest.approx(0.556e9, rel=0.02)


@pytest.mark.parametrize("hidden", [(), (7,), (7, 3)])
def test_mlp_has_the_hidden_layers_it_is_asked_for(hidden):
    model = MLP(num_classes=4, input_shape=(2, 5, 1), hidden=hidden)
    widths = [layer.out_features for layer in model.modules() if isinstance(layer, nn.Linear)]
    assert widths == [*hidden, 4]
    assert model.embed(torch.randn(3, 1, 2, 5)).shape == (3, hidden[-1] if hidden else 10)


def test_small_cnn_is_small():
    assert 10_000 < parameters(SmallCNN(10, (8, 8, 1))) < 50_000


@pytest.mark.parametrize(
    ("model_class", "shape"), [(SmallCNN, (8, 8, 1)), (MLP, (8, 8, 1)), (MLP, (64,))]
)
def test_digits_are_learned_in_a_few_epochs(model_class, shape):
    torch.manual_seed(0)
    digits, labels = load_digits(return_X_y=True)
    inputs = torch.from_numpy(digits).float().div(16).sub(0.3).div(0.38)
    inputs = inputs.reshape(-1, 1, 8, 8) if len(shape) == 3 else inputs
    targets = torch.from_numpy(labels)
    train, test = slice(0, 1000), slice(1000, None)
    model = model_class(10, shape)
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    for _ in range(5):
        for rows in torch.arange(1000).split(50):
            optimizer.zero_grad()
            nn.functional.cross_entropy(model(inputs[train][rows]), targets[train][rows]).backward()
            optimizer.step()
    model.eval()
    with torch.no_grad():
        correct = model(inputs[test]).argmax(dim=1) == targets[test]
    assert correct.float().mean() > 0.85
