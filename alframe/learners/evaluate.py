"""Looking at rows with a trained model: un-augmented, in evaluation mode, without gradients."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Literal, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from alframe.data.dataset import Dataset
from alframe.data.device import Preparer, is_resident, resident
from alframe.learners.dealt import part_of
from alframe.learners.dropout import ConsistentDropout
from alframe.limits import available_bytes
from alframe.models.embedding import logits_and_embedding
from alframe.progress import bar
from alframe.protocols import Array, Rows
from alframe.tasks.classification import Classification, Meter
from alframe.world import here

Split = Literal["validation", "test"]
CPU_BATCH, GPU_BATCH = 128, 1024  # a CPU's caches want little at a time, a GPU's cores much


def batch_size(device: torch.device) -> int:
    """Returns how many rows are looked at at a time."""
    return CPU_BATCH if device.type == "cpu" else GPU_BATCH


def split_arrays(data: Dataset, split: Split) -> tuple[Array, Array]:
    """Returns inputs and labels of a split that is not for training."""
    if split == "test":
        return data.test_inputs, data.test_labels
    return data.inputs[data.validation_rows], data.reveal(data.validation_rows)


class Seen(NamedTuple):
    """What a model gave for a batch.

    Attributes:
        rows: Of the inputs.
        places: Of the batch in all rows that are looked at.
        raw: The inputs on the device, not normalized.
        logits: [b, classes].
        embeddings: [b, d].
    """

    rows: Rows
    places: slice
    raw: Tensor
    logits: Tensor
    embeddings: Tensor


def forward(
    model: nn.Module, data: Dataset, inputs: Array, rows: Rows, device: torch.device
) -> Iterator[Seen]:
    """Looks at rows by batch, without touching the model's mode for good.

    Args:
        model: On the device.
        data: Of which kind the inputs are, and how they may be kept on the device.
        inputs: Of any split, raw.
        rows: Of the inputs.
        device: Where the model is.
    """
    training = model.training
    prepare = Preparer(data, device)
    source = _source(data, inputs, device)
    places = torch.from_numpy(rows).to(source.device)
    size = batch_size(device)
    model.eval()
    try:
        with bar("looking at rows", len(rows) // size) as advance:
            for start in range(0, len(rows), size):
                part = slice(start, start + size)
                raw = source[places[part]].to(device)
                with torch.inference_mode():
                    logits, embedding = logits_and_embedding(model, prepare(raw))
                yield Seen(rows[part], part, raw, logits, embedding)
                advance()
    finally:
        model.train(training)


def _source(data: Dataset, inputs: Array, device: torch.device) -> Tensor:
    """Returns the inputs on the device, as its training batches may have them, or on the host."""
    there = is_resident(inputs, device)
    if not there and data.loading.loader != "workers":
        there = inputs.nbytes <= data.loading.device_share * available_bytes(str(device))
    return resident(inputs, device) if there else torch.from_numpy(inputs)


def observed(
    model: nn.Module,
    data: Dataset,
    rows: Rows,
    task: Classification,
    device: torch.device,
    dropout: ConsistentDropout | None = None,
) -> Iterator[tuple[Rows, Mapping[str, Tensor]]]:
    """Yields what a strategy may see of training rows, by batch; ``mc_probs`` with dropout."""
    prepare = Preparer(data, device)
    for seen in forward(model, data, data.inputs, rows, device):
        outputs = {"probs": task.probs(seen.logits), "embeddings": seen.embeddings.float()}
        if dropout is not None:  # prepared again: a model may change its inputs
            outputs["mc_probs"] = task.probs(dropout.logits(prepare(seen.raw)))
        yield seen.rows, outputs


def evaluate(
    model: nn.Module, data: Dataset, split: Split, task: Classification, device: torch.device
) -> dict[str, float]:
    """Returns the task's metrics on a split."""
    inputs, labels = split_arrays(data, split)
    meter = task.meter(device)
    wanted = torch.from_numpy(labels).to(device)
    if here().size > 1:
        return _evaluate_together(model, data, inputs, meter, wanted)
    for seen in forward(model, data, inputs, np.arange(len(labels)), device):
        meter.update(seen.logits.float(), wanted[seen.places])
    return meter.compute()


def _evaluate_together(
    model: nn.Module, data: Dataset, inputs: Array, meter: Meter, labels: Tensor
) -> dict[str, float]:
    """Lets each process look at its part; the first one measures all, batch by batch as alone."""
    size = batch_size(labels.device)
    own = np.arange(len(labels))[part_of(len(labels), size, here())]
    logits = [seen.logits.float() for seen in forward(model, data, inputs, own, labels.device)]
    width = here().share(logits[0].shape[1:] if logits else None)
    none = torch.empty(0, *(width or ()), device=labels.device)
    everything = here().joined(torch.cat([none, *logits]))

    def measure() -> dict[str, float]:
        assert everything is not None
        for some, theirs in zip(
            torch.split(everything, size), torch.split(labels, size), strict=True
        ):
            meter.update(some, theirs)
        return meter.compute()

    return here().on_first(measure)
