"""The classifiers of torchvision, with their own weights or those of a file."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from alframe.data.dataset import Dataset
from alframe.encoders.images import ImageInputs, check_images
from alframe.encoders.network import NetworkEncoder
from alframe.encoders.weight_files import load_weights, read_weights
from alframe.errors import UserError
from alframe.learners.hardware import Hardware
from alframe.models.embedding import LastLayerSplit, with_embedding
from alframe.options import check_whole

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
"""Of ImageNet's pixels, by color in [0, 1]: what the weights of torchvision were trained with."""


class TorchvisionEncoder(NetworkEncoder):
    """Embeds with a torchvision classifier: an embedding is what enters its last linear layer.

    Args:
        data: Whose images are embedded, gray or in color.
        hardware: Where it runs.
        name: As ``torchvision.models.get_model`` takes it.
        weights: ``hub`` (torchvision's newest ones for ImageNet, downloaded once) or a
            .safetensors, .pt or .pth file, of any number of classes.
        size: Side in pixels to which images are resized.

    Raises:
        UserError: For another name, and for weights that cannot be had or are of another model.
    """

    remedy = "change encoder.size or data, or change encoder"

    def __init__(
        self,
        data: Dataset,
        hardware: Hardware,
        name: str = "resnet50",
        weights: str = "hub",
        size: int = 224,
    ) -> None:
        check_images(data, "torchvision")
        check_whole("encoder.size", size, at_least=1)
        with torch.random.fork_rng(devices=[]):
            network = _from_hub(name) if weights == "hub" else _from_file(name, weights)
        prepare = ImageInputs(size, MEAN, STD, hardware.device)
        full = f"torchvision {name} at {size} pixels"
        super().__init__(full, network, prepare, (MEAN, STD), hardware.device, data.inputs[:1])


def _make(name: str, **options: Any) -> nn.Module:
    import torchvision.models

    try:
        network: nn.Module = torchvision.models.get_model(name, **options)
    except ValueError as error:
        raise UserError(
            f"encoder.name={name}: expected a model of torchvision, such as resnet50 ({error})"
        ) from error
    return network


def _from_hub(name: str) -> nn.Module:
    try:
        return with_embedding(_make(name, weights="DEFAULT"))
    except (OSError, RuntimeError) as error:  # of the network, or a damaged download
        raise UserError(
            f"encoder.weights=hub: the weights of {name} cannot be had ({error}): put a file of "
            "them there by hand and set encoder.weights=FILE"
        ) from error


def _from_file(name: str, file: str) -> nn.Module:
    weights = read_weights(file, "encoder.weights")
    network = with_embedding(_make(name, weights=None))
    assert isinstance(network, LastLayerSplit)
    last = weights.get(f"{network.layer}.weight")
    if (
        last is not None
        and last.shape != network.get_parameter(f"module.{network.layer}.weight").shape
    ):
        network = with_embedding(_make(name, weights=None, num_classes=len(last)))
        assert isinstance(network, LastLayerSplit)
    load_weights(
        network.module, weights, f"encoder.weights={file}", "change encoder.weights or encoder.name"
    )
    return network
