"""A training recipe: optimizer, learning rates, epochs, augmentation."""

from __future__ import annotations

import itertools
import math
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from torch import nn
from torch.optim import SGD, Optimizer
from torch.optim.lr_scheduler import LambdaLR, LRScheduler, OneCycleLR

from alframe.data.device import Augmentation
from alframe.errors import UserError
from alframe.options import as_list, check_range, check_whole, is_whole


@dataclass(frozen=True)
class Recipe:
    """SGD with momentum, and how long at which learning rate.

    Attributes:
        epochs: Passes over the rows; for ``milestones`` one number for each learning rate.
        learning_rate: The peak of ``one_cycle``, or one for each phase of ``milestones``.
        schedule: ``milestones`` (constant in each phase) or ``one_cycle`` (up, then down to nearly
            zero, in every step).
        batch_size: Rows in an optimizer step.
        momentum: Of SGD.
        nesterov: Whether the momentum is Nesterov's.
        weight_decay: On all parameters, as in Selection via Proxy.
        label_smoothing: In [0, 1).
        crop: Pixels of padding for random crops; 0 for none.
        flip: Whether images are mirrored at random.
        cutout: Side in pixels of a square that is blanked out of every image; 0 for none.
        mixup: Alpha of the Beta distribution of the shares in which rows are mixed; 0 for none.
        min_steps: For ``one_cycle``: at least so many optimizer steps, in more epochs where the
            rows are few.
        early_stopping: Stop after so many epochs without a lower loss on the validation rows.
        curve_every: Evaluate the test rows every so many epochs, for display; 0 for the end only.
        checkpoint_seconds: Save what a killed fit needs to go on at most this often.
    """

    epochs: int | Sequence[int]
    learning_rate: float | Sequence[float]
    schedule: Literal["milestones", "one_cycle"] = "milestones"
    batch_size: int = 128
    momentum: float = 0.9
    nesterov: bool = False
    weight_decay: float = 5e-4
    label_smoothing: float = 0.0
    crop: int = 0
    flip: bool = False
    cutout: int = 0
    mixup: float = 0.0
    min_steps: int = 0
    early_stopping: int | None = None
    curve_every: int = 0
    checkpoint_seconds: float = 60.0

    def __post_init__(self) -> None:
        if self.schedule not in ("milestones", "one_cycle"):
            raise UserError(f"recipe.schedule={self.schedule}: expected milestones or one_cycle")
        if not all(is_whole(epochs) and epochs >= 1 for epochs in self._phases):
            raise UserError(f"recipe.epochs={self.epochs}: expected whole numbers, 1 or more")
        for key in ("crop", "cutout", "min_steps", "curve_every"):
            check_whole(f"recipe.{key}", getattr(self, key), at_least=0)
        check_whole("recipe.batch_size", self.batch_size, at_least=2)
        if self.early_stopping is not None:
            check_whole("recipe.early_stopping", self.early_stopping, at_least=1)
        for rate in self._rates:
            check_range("recipe.learning_rate", rate, 1e-12, sys.float_info.max)
        check_range("recipe.momentum", self.momentum, 0, 1)
        check_range("recipe.weight_decay", self.weight_decay, 0, 1e6)
        check_range("recipe.label_smoothing", self.label_smoothing, 0, 1)
        check_range("recipe.mixup", self.mixup, 0, 100)
        check_range("recipe.checkpoint_seconds", self.checkpoint_seconds, 0, math.inf)
        self._check_together()

    def _check_together(self) -> None:
        if len(self._phases) != len(self._rates):
            raise UserError(
                f"recipe.epochs={self.epochs} and recipe.learning_rate={self.learning_rate}: "
                "expected one number of epochs for each learning rate"
            )
        if self.schedule == "one_cycle" and len(self._phases) != 1:
            raise UserError(
                f"recipe.epochs={self.epochs}: expected one number with recipe.schedule=one_cycle"
            )
        if self.min_steps and self.schedule != "one_cycle":
            raise UserError(
                f"recipe.min_steps={self.min_steps}: expected 0 with recipe.schedule=milestones"
            )
        if self.nesterov and not self.momentum:
            raise UserError("recipe.nesterov=true: expected recipe.momentum above 0, got 0")

    @property
    def _phases(self) -> list[int]:
        return as_list(self.epochs)

    @property
    def _rates(self) -> list[float]:
        return as_list(self.learning_rate)

    @property
    def augmentation(self) -> Augmentation:
        """How training images are varied."""
        return Augmentation(self.crop, self.flip, self.cutout, self.mixup)

    def total_epochs(self, steps_per_epoch: int) -> int:
        """Returns the number of passes over rows that make so many batches."""
        return max(sum(self._phases), math.ceil(self.min_steps / steps_per_epoch))

    def optimizer(
        self, model: nn.Module, steps_per_epoch: int, fused: bool = False
    ) -> tuple[Optimizer, LRScheduler]:
        """Returns the optimizer and its schedule, which advances in every step.

        Args:
            model: Gives the parameters, on their device.
            steps_per_epoch: Batches of an epoch.
            fused: Whether one kernel updates all parameters, for a GPU.
        """
        optimizer = SGD(
            model.parameters(),
            lr=self._rates[0],
            momentum=self.momentum,
            weight_decay=self.weight_decay,
            nesterov=self.nesterov,
            fused=fused or None,
        )
        if self.schedule == "one_cycle":
            steps = max(2, self.total_epochs(steps_per_epoch) * steps_per_epoch)
            rate = self._rates[0]
            return optimizer, OneCycleLR(optimizer, rate, total_steps=steps, cycle_momentum=False)
        ends = [end * steps_per_epoch for end in itertools.accumulate(self._phases)]

        def factor(step: int) -> float:
            return self._rates[sum(step >= end for end in ends[:-1])] / self._rates[0]

        return optimizer, LambdaLR(optimizer, factor)
