"""The LightningModule of a fit: forward, loss, recorded dynamics, optimizer."""

from __future__ import annotations

from typing import Any

import pytorch_lightning as pl
import torch
from torch import Tensor, nn

from alframe.data.device import Batch
from alframe.learners.dynamics import Recorder
from alframe.learners.recipe import Recipe
from alframe.models.embedding import logits_and_embedding
from alframe.tasks.classification import OF_EMBEDDING, Classification


class FitModule(pl.LightningModule):
    """Trains one model by one recipe, and records dynamics where a strategy needs them."""

    def __init__(
        self,
        model: nn.Module,
        recipe: Recipe,
        task: Classification,
        steps_per_epoch: int,
        recorder: Recorder | None = None,
    ) -> None:
        super().__init__()
        self.model = model
        self._recipe = recipe
        self._task = task
        self._steps_per_epoch = steps_per_epoch
        self.recorder = recorder
        self._embeds = recorder is not None and not OF_EMBEDDING.isdisjoint(recorder.fields)
        self._loss_sum = torch.zeros(())

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:  # noqa: ARG002
        """Returns the (weighted) mean loss of a batch."""
        logits, embedding = self._forward(batch.inputs)
        losses = self._task.loss(logits, batch.labels, self._recipe.label_smoothing)
        if self.recorder is not None:
            with torch.no_grad():
                values = self._task.dynamics(
                    self.recorder.fields, logits.detach(), batch.labels, embedding
                )
                self.recorder.record(batch.positions, values)
        weights = batch.weights
        loss = losses.mean() if weights is None else (losses * weights).mean()
        self._loss_sum += loss.detach()
        return loss

    def _forward(self, inputs: Tensor) -> tuple[Tensor, Tensor | None]:
        if not self._embeds:
            return self.model(inputs), None
        logits, embedding = logits_and_embedding(self.model, inputs)
        return logits, embedding.detach()

    def on_train_epoch_start(self) -> None:
        """Starts the epoch's mean loss."""
        self._loss_sum = torch.zeros((), device=self.device)

    def close_epoch(self) -> float:
        """Closes the epoch's recording, and returns the mean loss over its batches.

        Called by the keeper, since Lightning calls callbacks before the module's own hook and the
        checkpoint must hold the epoch's recording. The one synchronization an epoch.
        """
        if self.recorder is not None:
            self.recorder.end_epoch()
        return float(self._loss_sum) / self._steps_per_epoch

    def configure_optimizers(self) -> Any:
        """Builds the recipe's optimizer and schedule."""
        optimizer, schedule = self._recipe.optimizer(self.model, self._steps_per_epoch)
        return {
            "optimizer": optimizer,
            "lr_scheduler": {"scheduler": schedule, "interval": "step"},
        }

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Adds the recorded dynamics."""
        if self.recorder is not None:
            checkpoint["recorder"] = self.recorder.state()

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Takes the recorded dynamics back."""
        if self.recorder is not None:
            self.recorder.load(checkpoint["recorder"])
