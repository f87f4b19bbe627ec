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
from pytorch_lightning.callbacks import Checkpoint
from torch import Tensor

from alframe.errors import UserError
from alframe.files import sync_folder
from alframe.learners.evaluate import Split
from alframe.learners.leaving import Leaving
from alframe.learners.module import FitModule, losses_of
from alframe.learners.recipe import Recipe
from alframe.protocols import Workspace
from alframe.world import here

log = logging.getLogger(__name__)
CHECKPOINT = "last.ckpt"


class Keeper(Checkpoint):
    """Accompanies a fit; its own state is part of the checkpoint.

    Lightning calls what it knows as a checkpoint callback after the module's own hook at the end of
    an epoch: a checkpoint then holds what that did.

    Args:
        recipe: When to evaluate, stop and save.
        seed: Of the fit; seeds torch for each epoch, so that dropout is a function of
            (seed, epoch) as batches are. Within an epoch torch's state is part of the checkpoint.
        evaluate: Returns the metrics of a split with the model as it is.
        error: The task's number that falls as a model gets better.
        workspace: Takes checkpoints and epoch values.

    Attributes:
        seconds: Wall-clock of the training steps, over all parts of an interrupted fit.
        compile_seconds: Of compiling them, which is no part of ``seconds``.
        epochs: Finished ones.
        curve: The fit's own, for display.
        folder: Of the checkpoint, or None.
        leaving: Whether the fit is to be left: then it is saved and left after the step.
        advance: Moves a progress bar.
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
        self.folder = workspace.folder
        self.seconds = 0.0
        self.compile_seconds = 0.0
        self.epochs = 0
        self.curve: list[dict[str, Any]] = []
        self._best_loss = float("inf")
        self._epochs_without_gain = 0
        self._loss_sum: Tensor | float = 0.0  # of the epoch so far, left on the device
        self._losses = 0
        self._random: list[Tensor] = []  # torch's states, as a checkpoint had them
        self._started = 0.0
        self._compiled = 0.0  # seconds of compiling, of this part of the fit, that are counted
        self._saved_at = time.monotonic()
        self.leaving = Leaving()
        self._leaves = False
        self.advance: Callable[[], None] = lambda: None

    def state_dict(self) -> dict[str, Any]:
        """Returns what goes into the checkpoint."""
        return {
            "seconds": self.seconds,
            "compile_seconds": self.compile_seconds,
            "epochs": self.epochs,
            "curve": self.curve,
            "best_loss": self._best_loss,
            "epochs_without_gain": self._epochs_without_gain,
            "loss_sum": self._summed_loss(),
            "losses": self._losses,
            "random": random_states(),
            "random_of_others": here().gather(random_states())[1:],
        }

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Goes on from a checkpoint; version 0.1.0 saved only at the end of an epoch."""
        self.seconds = state_dict["seconds"]
        self.compile_seconds = state_dict.get("compile_seconds", 0.0)
        self.epochs = state_dict["epochs"]
        self.curve = state_dict["curve"]
        self._best_loss = state_dict["best_loss"]
        self._epochs_without_gain = state_dict["epochs_without_gain"]
        self._losses = state_dict.get("losses", 0)
        states = [state_dict.get("random", []), *state_dict.get("random_of_others", [])]
        self._loss_sum = 0.0
        if here().first:
            self._loss_sum = state_dict.get("loss_sum", 0.0)
        self._random = states[here().rank] if here().rank < len(states) else []

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:  # noqa: ARG002
        """Takes up the random numbers and starts the clock, for a fit that goes on in an epoch."""
        self.leaving.take()  # Lightning has set its own handler of SIGTERM by now
        set_random_states(self._random)
        self._started = time.perf_counter()

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:  # noqa: ARG002
        """Starts the clock, the epoch's mean loss and its random numbers."""
        others = [here().rank] if here().rank else []  # which drop other values of other rows
        sequence = np.random.SeedSequence([self._seed, trainer.current_epoch, *others])
        torch.manual_seed(int(sequence.generate_state(1)[0]))
        self._loss_sum, self._losses = 0.0, 0
        self._started = time.perf_counter()

    def on_train_batch_end(
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,  # noqa: ARG002
    ) -> None:
        """Moves the progress bar, and saves where it is time to."""
        self.advance()
        told = losses_of(outputs, batch)
        if told is not None:
            self._loss_sum = self._loss_sum + told[0]
            self._losses += told[1]
        if trainer.is_last_batch:  # the epoch's end saves and leaves
            return
        if self._is_time_to_save():
            self._stop_clock(pl_module)
            self._save(trainer)
            self._started = time.perf_counter()
        self._leave()

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Stops the clock; evaluates, reports, stops early and saves where it is time to."""
        self._stop_clock(pl_module)
        values = self._mean_loss(trainer.current_epoch)
        epoch = self.epochs = trainer.current_epoch + 1
        last = epoch == trainer.max_epochs
        if self._recipe.early_stopping is not None:
            values["validation_loss"] = self._watch(trainer)
        ends = last or trainer.should_stop  # then the learner adds the last point
        if self._recipe.curve_every and epoch % self._recipe.curve_every == 0 and not ends:
            values["test_error"] = self.add_point(epoch, "test", self._evaluate("test"))
        self._workspace.log(epoch, values)
        if self._is_time_to_save() and (self._leaves if last else not ends):
            self._save(trainer)
        self._leave()

    def _leave(self) -> None:
        if self._leaves:
            raise KeyboardInterrupt

    def _stop_clock(self, module: pl.LightningModule) -> None:
        if module.device.type == "cuda":
            torch.cuda.synchronize(module.device)
        self.seconds += time.perf_counter() - self._started
        if isinstance(module, FitModule):
            compiling = module.compile_seconds - self._compiled
            self._compiled += compiling
            self.compile_seconds += compiling
            self.seconds -= compiling

    def _mean_loss(self, epoch: int) -> dict[str, float]:
        """Returns the epoch's mean training loss, where the module told its losses."""
        if not self._losses:
            return {}
        loss = self._summed_loss() / self._losses
        if not np.isfinite(loss):
            raise UserError(
                f"the training loss is {loss} in epoch {epoch}: expected a finite "
                "number; lower the learner's recipe.learning_rate"
            )
        return {"train_loss": loss}

    def _summed_loss(self) -> float:
        if here().size == 1:
            return float(self._loss_sum)
        return sum(here().gather(float(self._loss_sum)))

    def add_point(self, epoch: int, split: Split, metrics: dict[str, float]) -> float:
        """Adds a split's error to the fit's curve and returns it."""
        error = self._error(metrics)
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

    def _is_time_to_save(self) -> bool:
        """Says so to all processes at the same step, and that the fit is to be left."""
        waited = time.monotonic() - self._saved_at
        due = self.folder is not None and waited >= self._recipe.checkpoint_seconds
        keeps = self.folder is not None
        # What is asked for after this is for the next step: all leave after the same one.
        self._leaves, due, keeps = here().either(self.leaving.asked, due, keeps)
        return keeps and (due or self._leaves)

    def _save(self, trainer: pl.Trainer) -> None:
        folder = self.folder
        if folder is None:  # another process writes; all must take part
            trainer.save_checkpoint(os.devnull)
            return
        # Written beside its place, synced and moved: a kill leaves the old checkpoint or the new.
        partial = folder / f".{CHECKPOINT}.partial"
        trainer.save_checkpoint(partial)
        with partial.open("rb") as file:
            os.fsync(file.fileno())
        partial.replace(folder / CHECKPOINT)
        sync_folder(folder)
        self._saved_at = time.monotonic()


def random_states() -> list[Tensor]:
    """Returns torch's random states: the CPU's, and that of a GPU in use."""
    in_use = torch.cuda.is_initialized()  # type: ignore[no-untyped-call]
    gpu = [torch.cuda.get_rng_state()] if in_use else []
    return [torch.get_rng_state(), *gpu]


def set_random_states(states: list[Tensor]) -> None:
    """Takes up what `random_states` returned, on the same kind of device."""
    for state, take_up in zip(
        states, (torch.set_rng_state, torch.cuda.set_rng_state), strict=False
    ):
        take_up(state.cpu())


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
