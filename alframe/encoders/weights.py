"""A model of the ``model`` group with weights from a file."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import nn

from alframe.data.batches import Preparer
from alframe.data.dataset import Dataset
from alframe.encoders.network import NetworkEncoder
from alframe.encoders.weight_files import load_weights, read_weights
from alframe.learners.hardware import Hardware
from alframe.models.embedding import with_embedding
from alframe.options import check_whole


class WeightsEncoder(NetworkEncoder):
    """Embeds with any model of the ``model`` group, on inputs standardized as the dataset says.

    Args:
        data: Whose inputs are embedded.
        hardware: Where it runs.
        model: Called with ``num_classes`` and ``input_shape``, returns a module that gives logits.
        file: A .safetensors, .pt or .pth file of its weights by name.
        num_classes: Of the model in the file; None = as many as the dataset has.
        layer: The layer whose input is the embedding; None = the last.

    Raises:
        UserError: If the file holds no weights of this model.
    """

    def __init__(
        self,
        data: Dataset,
        hardware: Hardware,
        model: Callable[..., nn.Module],
        file: str,
        num_classes: int | None = None,
        layer: str | None = None,
    ) -> None:
        if num_classes is not None:
            check_whole("encoder.num_classes", num_classes, at_least=1)
        weights = read_weights(file, "encoder.file")
        classes = data.num_classes if num_classes is None else num_classes
        with torch.random.fork_rng(devices=[]):
            network = model(num_classes=classes, input_shape=data.input_shape)
        remedy = "change encoder.file, encoder.num_classes or model@encoder.model"
        load_weights(network, weights, f"encoder.file={file}", remedy)
        split = with_embedding(network, layer)
        name = type(network).__name__ + (f" at {layer}" if layer else "")
        layout = torch.channels_last if data.kind == "images" else torch.preserve_format
        super().__init__(
            name,
            split.to(memory_format=layout),
            Preparer(data, hardware.device),
            (data.mean, data.std),
            hardware.device,
            data.inputs[:1],
        )
