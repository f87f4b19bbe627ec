"""What accompanies a fit: its clock, its curve, early stopping, and checkpoints for a resume."""

from __future__ import annotations

import logging
import os
import time
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytorch_lightning as pl
import torch

from alframe.errors import UserError
from alframe.files import sync_folder
from alframe.learners.evaluate import Split
from alframe.learners.module import FitModule
from alframe.learners.recipe import Recipe
from alframe.protocols import Workspace

log = logging.getLogger(__name__)
CHECKPOINT = "last.ckpt"


class Keeper(pl.Callback):
    """Runs at the end of each epoch; its own state is part of the checkpoint.

    Args:
        recipe: When to evaluate, stop and save.
        seed: Of the fit; seeds torch for each epoch, so that dropout is a function of
            (seed, epoch) as batches are.
        evaluate: Returns the metrics of a split with the model as it is.
        error: The task's number that falls as a model gets better.
        workspace: Takes checkpoints and epoch values.
    """

    def __init__(
        self,
        recipe: Recipe,
        seed: int,
        evaluate: Callable[[Split], dict[str, float]],
        error: Callable[[dict[str, float]], float],
        workspace: Workspace,
    ) -> None:
        self._recipe = recipe
        self._seed = seed
        self._evaluate = evaluate
        self._error = error
        self._workspace = workspace
        self.seconds = 0.0
        self.epochs = 0
        self.curve: list[dict[str, Any]] = []
        self._best_loss = float("inf")
        self._epochs_without_gain = 0
        self._epoch_start = 0.0
        self._saved_at = time.monotonic()
        self.advance: Callable[[], None] = lambda: None

    def on_train_batch_end(self, *_: Any) -> None:
        """Moves the progress bar."""
        self.advance()

    def state_dict(self) -> dict[str, Any]:
        """Returns what goes into the checkpoint."""
        return {
            "seconds": self.seconds,
            "epochs": self.epochs,
            "curve": self.curve,
            "best_loss": self._best_loss,
            "epochs_without_gain": self._epochs_without_gain,
        }

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Goes on from a checkpoint."""
        self.seconds = state_dict["seconds"]
        self.epochs = state_dict["epochs"]
        self.curve = state_dict["curve"]
        self._best_loss = state_dict["best_loss"]
        self._epochs_without_gain = state_dict["epochs_without_gain"]

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:  # noqa: ARG002
        """Starts the clock and the epoch's random numbers."""
        sequence = np.random.SeedSequence([self._seed, trainer.current_epoch])
        torch.manual_seed(int(sequence.generate_state(1)[0]))
        self._epoch_start = time.perf_counter()

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Stops the clock; evaluates, reports, stops early and saves where it is time to."""
        assert isinstance(pl_module, FitModule)
        loss = pl_module.close_epoch()  # waits for the device, so that the clock is right
        self.seconds += time.perf_counter() - self._epoch_start
        if not np.isfinite(loss):
            raise UserError(
                f"the training loss is {loss} in epoch {trainer.current_epoch}: expected a finite "
                "number; lower the learner's recipe.learning_rate"
            )
        values = {"train_loss": loss}
        epoch = self.epochs = trainer.current_epoch + 1
        last = epoch == trainer.max_epochs
        if self._recipe.early_stopping is not None:
            values["validation_loss"] = self._watch(trainer)
        ends = last or trainer.should_stop  # then the learner adds the last point
        if self._recipe.curve_every and epoch % self._recipe.curve_every == 0 and not ends:
            values["test_error"] = self.add_point(epoch, "test")
        self._workspace.log(epoch, values)
        if not ends:
            self._save(trainer)

    def add_point(self, epoch: int, split: Split) -> float:
        """Adds a split's error to the fit's curve and returns it."""
        error = self._error(self._evaluate(split))
        point = {"epoch": epoch, "seconds": self.seconds, "split": split, "error": error}
        self.curve.append(point)
        return error

    def _watch(self, trainer: pl.Trainer) -> float:
        # Lightning's EarlyStopping runs after every other callback, so a checkpoint of the same
        # epoch would lack its count, and a resumed fit would stop later than an undisturbed one.
        loss = self._evaluate("validation")["loss"]
        if loss < self._best_loss:
            self._best_loss, self._epochs_without_gain = loss, 0
        else:
            self._epochs_without_gain += 1
        if self._epochs_without_gain >= (self._recipe.early_stopping or 0):
            trainer.should_stop = True
        return loss

    def _save(self, trainer: pl.Trainer) -> None:
        folder = self._workspace.folder
        wait = self._recipe.checkpoint_seconds
        if folder is None or time.monotonic() - self._saved_at < wait:
            return
        # Written beside its place, synced and moved: a kill leaves the old checkpoint or the new.
        partial = folder / f".{CHECKPOINT}.partial"
        trainer.save_checkpoint(partial)
        with partial.open("rb") as file:
            os.fsync(file.fileno())
        partial.replace(folder / CHECKPOINT)
        sync_folder(folder)
        self._saved_at = time.monotonic()


def checkpoint_in(folder: Path | None) -> Path | None:
    """Returns the checkpoint that a killed fit left, if there is a sound one."""
    path = None if folder is None else folder / CHECKPOINT
    if path is None or not path.is_file():
        return None
    try:
        with zipfile.ZipFile(path) as archive:  # torch writes checksums, but does not read them
            broken = archive.testzip()
        torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # bytes that are not a checkpoint can raise anything
        broken = str(error).splitlines()[0]
    if broken is None:
        return path
    log.warning("%s is truncated or altered (%s): the fit starts again", path, broken)
    path.unlink()
    return None
