"""The LightningModule of a fit: several optimizer steps to a call, recorded dynamics."""

from __future__ import annotations

from collections.abc import Iterable
from functools import cached_property
from typing import Any

import pytorch_lightning as pl
from torch import Tensor

from alframe.data.batches import Batch
from alframe.learners.dynamics import Recorder
from alframe.learners.hardware import Hardware
from alframe.learners.parallel import WeightedDDP
from alframe.learners.recipe import Recipe
from alframe.learners.step import Objective, Step


class FitModule(pl.LightningModule):
    """Trains one model by one recipe, and records dynamics where a strategy needs them.

    Args:
        objective: The model, its loss, and what is recorded.
        recipe: Optimizer, schedule, batch size.
        hardware: Device, precision, what is compiled.
        steps_per_epoch: Batches of an epoch.
        epochs: Of the fit.
        recorder: Takes the dynamics, or None.
    """

    def __init__(
        self,
        objective: Objective,
        recipe: Recipe,
        hardware: Hardware,
        steps_per_epoch: int,
        epochs: int,
        recorder: Recorder | None = None,
    ) -> None:
        super().__init__()
        self.automatic_optimization = False  # Lightning's own takes one step in a call
        self.model = objective.model
        self.recorder = recorder
        self._objective = objective
        self._recipe = recipe
        self._hardware = hardware
        self._steps_per_epoch = steps_per_epoch
        full = (steps_per_epoch - 1) * epochs  # the last batch of an epoch may be shorter
        compiles = hardware.compiles(full) and full > 0 and objective.compiles
        self._compiled_size = recipe.batch_size if compiles else 0

    @cached_property
    def step(self) -> Step:
        """What trains on a batch, made when the optimizer is."""
        step = Step(
            self._objective,
            self.optimizers(use_pl_optimizer=False),  # type: ignore[arg-type]
            self.lr_schedulers(),  # type: ignore[arg-type]
            self._hardware,
            self._compiled_size,
            getattr(self.trainer.precision_plugin, "scaler", None),
        )
        step.recorder = self.recorder
        if isinstance(self.trainer.strategy, WeightedDDP):
            step.weighted = self.trainer.strategy.weighted
        return step

    def training_step(self, call: Iterable[Batch], batch_idx: int) -> dict[str, Any]:  # noqa: ARG002
        """Trains on the batches of a call; returns the sum of their losses, and their number."""
        self.step.losses.zero_()
        count = 0
        for batch in call:
            self.train_on(batch)
            count += 1
        return {"loss": self.step.losses.clone(), "steps": count}

    def train_on(self, batch: Batch) -> None:
        """Takes one optimizer step."""
        self.step(batch)

    def transfer_batch_to_device(self, batch: Any, *_: Any) -> Any:
        """Returns the call as it is: its batches are made on the device."""
        return batch

    @property
    def compile_seconds(self) -> float:
        """What compiling took of the time of this fit's steps."""
        return self.step.compile_seconds

    def configure_optimizers(self) -> Any:
        """Builds the recipe's optimizer and schedule."""
        fused = self._hardware.device.type == "cuda"
        optimizer, schedule = self._recipe.optimizer(self.model, self._steps_per_epoch, fused)
        return {"optimizer": optimizer, "lr_scheduler": schedule}

    def on_train_epoch_end(self) -> None:
        """Closes the epoch's recording."""
        if self.recorder is not None:
            self.recorder.end_epoch()

    def on_fit_end(self) -> None:
        """Gives back what captured steps keep, gradients among it."""
        self.__dict__.pop("step", None)
        self.model.zero_grad()

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Adds the recorded dynamics."""
        if self.recorder is not None:
            checkpoint["recorder"] = self.recorder.state()

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Takes the recorded dynamics back."""
        if self.recorder is not None:
            self.recorder.load(checkpoint["recorder"])


def losses_of(outputs: Any, batch: Any) -> tuple[Tensor, int] | None:
    """Returns the sum of the losses of a call and their number, as far as a module told them.

    Of several processes, each counts with its share of a batch.

    Args:
        outputs: What Lightning gives after a call: the ``loss`` of a module of the user's own is
            that of one batch.
        batch: What was trained on.
    """
    loss = outputs.get("loss") if isinstance(outputs, dict) else None
    if not isinstance(loss, Tensor):
        return None
    share = batch.share if isinstance(batch, Batch) else 1.0  # ours has counted it
    return loss.detach().double() * share, int(outputs.get("steps", 1))
