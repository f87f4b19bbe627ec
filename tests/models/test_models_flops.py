"""The multiply-adds are those that papers state."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from alframe.models.embedding import with_embedding
from alframe.models.flops import multiply_adds
from alframe.models.resnet_cifar import ResNetCifar
from alframe.models.small_cnn import SmallCNN


def by_layer(model, inputs):
    """An obvious twin: outputs times weights per output, of every convolution and linear layer."""
    counts = []

    def count(layer, _, output):
        counts.append(output[0].numel() * layer.weight[0].numel())

    for layer in model.modules():
        if isinstance(layer, nn.Conv2d | nn.Linear):
            layer.register_forward_hook(count)
    with torch.no_grad():
        model.eval()(inputs)
    return sum(counts)


@pytest.mark.parametrize(("depth", "published"), [(20, 40.8e6), (164, 248e6)])
def test_resnets_have_the_multiply_adds_of_selection_via_proxy(depth, published):
    model = ResNetCifar(10, (32, 32, 3), depth)
    counted = multiply_adds(model, torch.zeros(1, 3, 32, 32))
    assert counted == pytest.approx(published, rel=0.002)
    assert counted == by_layer(model, torch.zeros(1, 3, 32, 32))


def test_a_batch_counts_as_one_row_and_the_mode_stays():
    model = SmallCNN(10, (8, 8, 1)).train()
    one, many = (multiply_adds(model, torch.zeros(n, 1, 8, 8)) for n in (1, 7))
    assert one == many > 0
    assert model.training


def test_any_module_that_was_given_an_embedding_is_counted():
    layers = nn.Sequential(nn.Flatten(), nn.Linear(12, 5), nn.ReLU(), nn.Linear(5, 3))
    assert multiply_adds(with_embedding(layers), torch.zeros(2, 12)) == 12 * 5 + 5 * 3
