"""What Lightning iterates over: the batches of an epoch, several to a call, from any step on."""

from __future__ import annotations

import math
from collections.abc import Iterator
from itertools import chain, islice
from typing import Any

import torch

from alframe.data.batches import Batch, Loader
from alframe.errors import UserError


class Calls:
    """Gives each call of ``training_step`` its batches, made as they are asked for.

    Lightning saves and loads its state, so that a fit goes on in the middle of an epoch.

    Args:
        batches: Of an epoch.
        steps: Batches for a call; None for a single one that is not wrapped in an iterator.
    """

    def __init__(self, batches: Loader, steps: int | None) -> None:
        self._batches = batches
        self._alone = steps is None
        self._steps = steps or 1
        self._start = 0
        self._done = 0

    @property
    def sampler(self) -> Any:
        """Lightning calls ``sampler.set_epoch`` before each epoch."""
        return self._batches.sampler

    def __len__(self) -> int:
        return math.ceil(len(self._batches) / self._steps)

    def __iter__(self) -> Iterator[Batch | Iterator[Batch]]:
        begin, self._start = self._start, 0
        if begin:
            self._batches.start_at(begin)
        iterator = iter(self._batches)
        # A loader may draw from torch's random state as it starts, which belongs to the model.
        with torch.random.fork_rng(devices=[]):
            iterator = chain([next(iterator)], iterator)
        for start in range(begin, len(self._batches), self._steps):
            self._done = min(start + self._steps, len(self._batches))
            yield next(iterator) if self._alone else islice(iterator, self._steps)

    def state_dict(self) -> dict[str, int]:
        """Returns how far the epoch is, when the call is over."""
        return {"step": self._done, "steps_per_call": self._steps}

    def load_state_dict(self, state: dict[str, int]) -> None:
        """Lets the next iteration go on from there.

        Raises:
            UserError: If the fit began with other calls, by which Lightning counts.
        """
        if state["steps_per_call"] != self._steps:
            raise UserError(
                f"trainer.steps_per_call={self._steps}: expected {state['steps_per_call']}, with "
                "which the fit in this folder began; set it, or go on with a new run"
            )
        self._start = state["step"]
