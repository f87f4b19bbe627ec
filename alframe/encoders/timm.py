"""The models of timm, an optional package, with their own weights or those of a file."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from alframe.data.dataset import Dataset
from alframe.encoders.images import ImageInputs, check_images
from alframe.encoders.network import NetworkEncoder
from alframe.encoders.weight_files import load_weights, read_weights
from alframe.errors import UserError
from alframe.learners.hardware import Hardware
from alframe.options import check_whole


class TimmEncoder(NetworkEncoder):
    """Embeds with a timm model without its classifier: an embedding is what it pools.

    Args:
        data: Whose images are embedded, gray or in color.
        hardware: Where it runs.
        name: As ``timm.create_model`` takes it.
        weights: ``hub`` (timm's own, downloaded once) or a .safetensors, .pt or .pth file; what it
            holds of a classifier is left out.
        size: Side in pixels to which images are resized; None = as the model was trained.

    Raises:
        UserError: Where timm is absent, for another name, and for weights that cannot be had or are
            of another model.

    **Deviations:** images are resized as `ImageInputs` does it, whatever the model's recipe says of
    interpolation and of edges that are cut off.
    """

    remedy = "change encoder.size or data, or change encoder"

    def __init__(
        self,
        data: Dataset,
        hardware: Hardware,
        name: str,
        weights: str = "hub",
        size: int | None = None,
    ) -> None:
        check_images(data, "timm")
        if size is not None:
            check_whole("encoder.size", size, at_least=1)
        timm = _timm()
        with torch.random.fork_rng(devices=[]):
            network = _make(timm, name, weights)
        about = timm.data.resolve_model_data_config(network)
        side = about["input_size"][-1] if size is None else size
        numbers = about["mean"], about["std"]
        prepare = ImageInputs(side, *numbers, hardware.device)
        full = f"timm {name} at {side} pixels"
        super().__init__(full, _Pooled(network), prepare, numbers, hardware.device, data.inputs[:1])


class _Pooled(nn.Module):
    """A network without a classifier, whose output is the embedding."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.embed = network
        self.head = nn.Identity()


def _timm() -> Any:
    try:
        import timm
        import timm.data
    except ImportError as error:
        raise UserError(
            f"encoder=timm: expected the package timm, which is not installed ({error}): run pip "
            "install timm, or use encoder=torchvision"
        ) from error
    return timm


def _make(timm: Any, name: str, weights: str) -> nn.Module:
    hub = weights == "hub"
    if name.split(".")[0] not in timm.list_models():
        raise UserError(f"encoder.name={name}: expected a model that timm.list_models() names")
    try:
        network: nn.Module = timm.create_model(name, pretrained=hub, num_classes=0)
    except (OSError, RuntimeError) as error:  # of the network, or no weights of that name
        raise UserError(
            f"encoder.name={name} cannot be had with encoder.weights={weights} ({error}): put a "
            "file of the weights there by hand and set encoder.weights=FILE, or change encoder.name"
        ) from error
    if not hub:
        remedy = "change encoder.weights or encoder.name"
        load_weights(network, _body(network, weights), f"encoder.weights={weights}", remedy)
    return network


def _body(network: nn.Module, file: str) -> dict[str, Tensor]:
    """Returns the weights in a file without those of a classifier, as timm names it."""
    weights = read_weights(file, "encoder.weights")
    classifiers = getattr(network, "default_cfg", {}).get("classifier") or ()
    names = (classifiers,) if isinstance(classifiers, str) else tuple(classifiers)
    own = network.state_dict()
    return {
        name: tensor
        for name, tensor in weights.items()
        if name in own or not name.startswith(tuple(f"{prefix}." for prefix in names))
    }
