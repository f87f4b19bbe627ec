"""Classification: loss, metrics, label check, and what is observed of a class."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor
from torchmetrics import MeanMetric
from torchmetrics.classification import MulticlassConfusionMatrix

from alframe.data.dataset import Dataset
from alframe.errors import UserError
from alframe.protocols import Array, Rows

DYNAMICS = ("probability", "margin", "correct", "error_norm", "gradient_norm")
OF_EMBEDDING = frozenset({"gradient_norm"})
"""The dynamics for which the embedding must be known."""


class Meter:
    """Accumulates ``accuracy``, ``macro_accuracy`` (mean over the classes that occur) and ``loss``.

    ``loss`` is the mean cross-entropy in nats.
    """

    def __init__(self, num_classes: int, device: torch.device) -> None:
        # Looking for strange labels would make the host wait for every batch.
        checks = device.type == "cpu"
        self._confusion = MulticlassConfusionMatrix(
            num_classes, validate_args=checks, sync_on_compute=False
        ).to(device)
        self._loss = MeanMetric(sync_on_compute=False).to(device)

    def update(self, logits: Tensor, labels: Tensor) -> None:
        """Adds a batch: logits [b, classes], labels [b]."""
        self._confusion.update(logits, labels)
        self._loss.update(F.cross_entropy(logits, labels, reduction="none"))

    def compute(self) -> dict[str, float]:
        """Returns the metrics of all batches."""
        confusion = self._confusion.compute().double()
        occurring = confusion.sum(1)
        right = confusion.diagonal()
        return {
            "accuracy": float(right.sum() / occurring.sum()),
            # torchmetrics' own macro average counts classes that are only guessed as 0.
            "macro_accuracy": float((right / occurring)[occurring > 0].mean()),
            "loss": float(self._loss.compute()),
        }


class Classification:
    """One class per row.

    Args:
        data: The dataset.
        initial: How the first labeled rows are drawn: ``random``, or ``balanced`` (the same number
            for each class; an experimenter's starting condition that looks at hidden labels).
    """

    histories = tuple(field for field in DYNAMICS if field not in OF_EMBEDDING)

    def __init__(self, data: Dataset, initial: Literal["random", "balanced"] = "random") -> None:
        if initial not in ("random", "balanced"):
            raise UserError(f"task.initial={initial}: expected random or balanced")
        self._data = data
        self._initial = initial
        self.num_outputs = data.num_classes

    def initial_rows(self, size: int, eligible: Rows, rng: np.random.Generator) -> Rows:
        """See `alframe.protocols.Task.initial_rows`."""
        shuffled = rng.permutation(eligible)
        if self._initial == "random":
            return shuffled[:size]
        # The i-th row of each class comes before the (i+1)-th of any.
        labels = self._data.reveal(shuffled)
        turn = np.empty(len(labels), dtype=np.int64)
        for label in np.unique(labels):
            members = labels == label
            turn[members] = np.arange(members.sum())
        return shuffled[np.lexsort((labels, turn))][:size]

    def progress(self, labels: Array) -> dict[str, Any]:  # noqa: ARG002
        """See `alframe.protocols.Task.progress`."""
        return {}

    def check_labels(self, labels: Array, remedy: str) -> None:
        """See `alframe.protocols.Task.check_labels`."""
        if len(np.unique(labels)) < 2:
            raise UserError(
                f"the first {len(labels)} labels hold a single class: expected at least two "
                f"classes to train a classifier; {remedy}"
            )

    def loss(self, logits: Tensor, labels: Tensor, smoothing: float = 0.0) -> Tensor:
        """Returns the cross-entropy of each row in nats, [b]."""
        return F.cross_entropy(logits, labels, reduction="none", label_smoothing=smoothing)

    def probs(self, logits: Tensor) -> Tensor:
        """Returns class probabilities [b, classes], in float32 or better."""
        values = logits if logits.dtype == torch.float64 else logits.float()
        if values.dim() == 2 and values.T.is_contiguous():  # class by class, which is fast as such
            return values.T.softmax(0).T
        return values.softmax(-1)

    def error(self, metrics: Mapping[str, float]) -> float:
        """Returns the number that falls as a model gets better: the share of wrong rows."""
        return 1.0 - metrics["accuracy"]

    def meter(self, device: torch.device) -> Meter:
        """Returns a fresh accumulator of the task's metrics."""
        return Meter(self.num_outputs, device)

    def dynamics(
        self,
        fields: tuple[str, ...],
        logits: Tensor,
        labels: Tensor,
        embedding: Tensor | None = None,
    ) -> Tensor:
        """Returns what is recorded of a batch while it is trained on.

        Args:
            fields: Some of ``probability`` (of the label), ``margin`` (that minus the largest
                other probability), ``correct`` (0 or 1), ``error_norm`` (Euclidean length of the
                probabilities minus the one-hot label, as in EL2N), ``gradient_norm`` (Euclidean
                length of the cross-entropy's gradient with respect to the weights and the bias of
                the last layer, as in GraNd: ``error_norm`` * sqrt(|h|^2 + 1) for an embedding h).
            logits: [b, classes].
            labels: [b].
            embedding: [b, d], what entered the last layer; needed for ``gradient_norm`` only.

        Returns:
            [b, fields], float32.
        """
        if fields == ("correct",):  # the cheap and common case needs no softmax
            return (logits.argmax(-1) == labels).float().unsqueeze(-1)
        probs = self.probs(logits)
        # Scattering deterministically would make the host wait for a GPU in every step.
        own = labels.unsqueeze(-1) == torch.arange(probs.shape[-1], device=probs.device)
        probability = probs.masked_fill(~own, 0.0).sum(-1)
        other = probs.masked_fill(own, -1.0).amax(-1)
        error = probs - own.to(probs.dtype)
        values = {
            "probability": probability,
            "margin": probability - other,
            "correct": (logits.argmax(-1) == labels).float(),
            "error_norm": error.norm(dim=-1),
        }
        if embedding is not None:
            length = embedding.to(error.dtype).norm(dim=-1)
            values["gradient_norm"] = values["error_norm"] * length.hypot(torch.ones_like(length))
        return torch.stack([values[field] for field in fields], -1)
