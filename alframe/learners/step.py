"""One optimizer step after the other: forward and backward pass, update, learning rate."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from alframe.data.batches import Batch
from alframe.errors import UserError
from alframe.learners.dynamics import Recorder
from alframe.learners.graphs import Graphs
from alframe.learners.hardware import Hardware
from alframe.models.embedding import LastLayerSplit, logits_and_embedding
from alframe.tasks.classification import OF_EMBEDDING, Classification

log = logging.getLogger(__name__)
COMPILED_FORMS = 64
"""Networks, in each of their uses, that one process may compile; torch would give up after 8."""


@dataclass(frozen=True)
class Objective:
    """What is trained, toward what, and what is recorded of it.

    Attributes:
        model: The network.
        task: Loss and dynamics.
        smoothing: Of the labels, in [0, 1).
        fields: The recorded dynamics.
    """

    model: nn.Module
    task: Classification
    smoothing: float = 0.0
    fields: tuple[str, ...] = ()

    @property
    def embeds(self) -> bool:
        """Whether the embedding must be known."""
        return not OF_EMBEDDING.isdisjoint(self.fields)

    @property
    def compiles(self) -> bool:
        """Whether `torch.compile` can see it whole: hooks, which find an embedding, it cannot."""
        return not (self.embeds and isinstance(self.model, LastLayerSplit))

    def measure(self, batch: Batch, compiled: bool) -> tuple[Tensor, Tensor | None]:
        """Returns the (weighted) mean loss of a batch, and its dynamics [b, fields]."""
        measure = _compiled() if compiled else _measure
        return measure(self.model, self.task, self.smoothing, self.fields, self.embeds, batch)


def _measure(
    model: nn.Module,
    task: Classification,
    smoothing: float,
    fields: tuple[str, ...],
    embeds: bool,
    batch: Batch,
) -> tuple[Tensor, Tensor | None]:
    embedding: Tensor | None = None
    if embeds:
        logits, embedding = logits_and_embedding(model, batch.inputs)
        embedding = embedding.detach()
    else:
        logits = model(batch.inputs)
    loss = batch.mean_loss(lambda labels: task.loss(logits, labels, smoothing))
    if not fields:
        return loss, None
    with torch.no_grad():
        return loss, task.dynamics(fields, logits.detach(), batch.labels, embedding)


@cache
def _compiled() -> Callable[..., tuple[Tensor, Tensor | None]]:
    """Returns the compiled `_measure`, one for all: torch compiles it once for each architecture.

    The network's weights are inputs of what torch compiles, so that the next network of the same
    architecture, as that of the next round, finds it compiled.
    """
    config = torch._dynamo.config
    config.recompile_limit = max(config.recompile_limit, COMPILED_FORMS)
    return torch.compile(_measure, dynamic=False)


class Step:
    """Trains on one batch; nothing waits for the device.

    Only full batches are compiled, since torch would compile every other size again: the last
    batch of an epoch is not.

    Args:
        objective: What is trained.
        optimizer: Of the network's parameters.
        schedule: Of the learning rate, in every step.
        hardware: Device, precision, whether CUDA graphs are used.
        compiled_size: Rows of the batches that are compiled; 0 for none.
        scaler: Of the loss, for float16.

    Attributes:
        recorder: Takes the dynamics, or None.
        weighted: Of a mean loss over a part of a batch and that part's share, gives the loss whose
            gradients the processes put together; None where there is one process.
        losses: float64 [], the sum of the losses; whoever reads it sets it to zero.
        compile_seconds: How much longer the first compiled step took than the second.
    """

    def __init__(
        self,
        objective: Objective,
        optimizer: Optimizer,
        schedule: LRScheduler,
        hardware: Hardware,
        compiled_size: int = 0,
        scaler: Any = None,
    ) -> None:
        self._objective = objective
        self._optimizer = optimizer
        self._schedule = schedule
        self._half = hardware.autocast
        self._compiled_size = compiled_size
        self._scaler = scaler
        self._device = hardware.device
        self._first: list[float] = []  # seconds of the first two compiled steps
        # A captured step reads the learning rate here.
        self._rate = torch.zeros((), device=self._device) if hardware.captures else None
        self._graphs = Graphs() if hardware.captures else None
        self._may_go_on = hardware.compile == "auto"  # where compiling fails
        self.recorder: Recorder | None = None
        self.weighted: Callable[[Tensor, float], Tensor] | None = None
        self.losses = torch.zeros((), dtype=torch.float64, device=self._device)

    def __call__(self, batch: Batch) -> None:
        """Trains on a batch."""
        # Lightning's own autocast spans all steps of a call, and keeps casts of the old weights.
        with torch.autocast(self._device.type, enabled=False):
            if self._rate is not None:
                self._rate.fill_(self._optimizer.param_groups[0]["lr"])
            compiled = len(batch.labels) == self._compiled_size
            if compiled and len(self._first) < 2:
                self._timed(batch)
            else:
                self._train(batch)
        self._schedule.step()

    def _train(self, batch: Batch) -> None:
        if self._graphs is None:
            self._once(batch)
        else:
            self._graphs(self._once, batch)

    @property
    def compile_seconds(self) -> float:
        """See the class."""
        return max(0.0, self._first[0] - self._first[1]) if len(self._first) == 2 else 0.0

    def _timed(self, batch: Batch) -> None:
        self._wait()
        start, losses = time.perf_counter(), self.losses.clone()
        try:
            self._train(batch)
        except torch._dynamo.exc.TorchDynamoException as error:
            what = f"{type(error).__name__} ({str(error).strip().splitlines()[0]})"
            if not self._may_go_on:
                raise UserError(
                    "trainer.compile: expected a model and a machine on which torch.compile works, "
                    f"got {what}; set trainer.compile=false"
                ) from error
            log.warning("torch.compile failed with %s: steps are not compiled", what)
            self._compiled_size = 0
            self.losses.copy_(losses)
            self._train(batch)
            return
        self._wait()
        self._first.append(time.perf_counter() - start)

    def _wait(self) -> None:
        if self._device.type == "cuda":
            torch.cuda.synchronize(self._device)

    def _once(self, batch: Batch) -> None:
        self._optimizer.zero_grad()
        compiled = len(batch.labels) == self._compiled_size
        mixed = self._half is not None
        # Each weight is cast once a step anyway, and a captured step must not keep casts.
        with torch.autocast(self._device.type, self._half, mixed, cache_enabled=False):
            loss, values = self._objective.measure(batch, compiled)
        if self.recorder is not None and values is not None and batch.share:
            self.recorder.record(batch.positions, values)
        if self.weighted is None:
            self.losses += loss.detach()
        else:
            self.losses += loss.detach() * batch.share
            loss = self.weighted(loss, batch.share)
        if self._scaler is not None:
            self._scaler.scale(loss).backward()
            self._scaler.step(self._optimizer)
            self._scaler.update()
            return
        loss.backward()  # type: ignore[no-untyped-call]
        with self._rate_on_device():
            self._optimizer.step()

    @contextmanager
    def _rate_on_device(self) -> Iterator[None]:
        """Shows the optimizer a tensor, where a number would become part of the captured step."""
        if self._rate is None:
            yield
            return
        groups = self._optimizer.param_groups
        rates = [group["lr"] for group in groups]
        for group in groups:
            group["lr"] = self._rate
        try:
            yield
        finally:
            for group, rate in zip(groups, rates, strict=True):
                group["lr"] = rate
