"""Looking at rows with a trained model: un-augmented, in evaluation mode, without gradients."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Literal

import numpy as np
import torch
from torch import Tensor, nn

from alframe.data.dataset import Dataset
from alframe.data.device import Preparer
from alframe.learners.dropout import ConsistentDropout
from alframe.models.embedding import logits_and_embedding
from alframe.progress import bar
from alframe.protocols import Array, Rows
from alframe.tasks.classification import Classification

Split = Literal["validation", "test"]
CPU_BATCH, GPU_BATCH = 128, 1024  # a CPU's caches want little at a time, a GPU's cores much


def split_arrays(data: Dataset, split: Split) -> tuple[Array, Array]:
    """Returns inputs and labels of a split that is not for training."""
    if split == "test":
        return data.test_inputs, data.test_labels
    return data.inputs[data.validation_rows], data.reveal(data.validation_rows)


def forward(
    model: nn.Module, inputs: Array, rows: Rows, prepare: Preparer
) -> Iterator[tuple[Rows, Tensor, Tensor]]:
    """Yields (rows, logits, embeddings) by batch, without touching the model's mode for good."""
    training = model.training
    model.eval()
    try:
        size = CPU_BATCH if prepare.device.type == "cpu" else GPU_BATCH
        with bar("looking at rows", len(rows) // size) as advance:
            for start in range(0, len(rows), size):
                batch = rows[start : start + size]
                raw = torch.from_numpy(inputs[batch]).to(prepare.device)
                with torch.inference_mode():
                    logits, embedding = logits_and_embedding(model, prepare(raw))
                yield batch, logits, embedding
                advance()
    finally:
        model.train(training)


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
    for batch, logits, embedding in forward(model, data.inputs, rows, prepare):
        outputs = {"probs": task.probs(logits), "embeddings": embedding.float()}
        if dropout is not None:
            raw = torch.from_numpy(data.inputs[batch]).to(device)  # a model may change its inputs
            outputs["mc_probs"] = task.probs(dropout.logits(prepare(raw)))
        yield batch, outputs


def evaluate(
    model: nn.Module, data: Dataset, split: Split, task: Classification, device: torch.device
) -> dict[str, float]:
    """Returns the task's metrics on a split."""
    inputs, labels = split_arrays(data, split)
    meter = task.meter(device)
    every = np.arange(len(labels))
    for batch, logits, _ in forward(model, inputs, every, Preparer(data, device)):
        meter.update(logits.float(), torch.from_numpy(labels[batch]).to(device))
    return meter.compute()
