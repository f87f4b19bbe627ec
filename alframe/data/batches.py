"""A training batch, and an epoch of them: what all loaders have in common."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Self

import numpy as np
import torch
from torch import Tensor

from alframe.data.augment import Augmentation, Draws, Stream, cut_out, draw
from alframe.data.dataset import Dataset
from alframe.data.deal import Deal, dealt
from alframe.protocols import View
from alframe.world import here


class Mix(NamedTuple):
    """What was mixed into the rows of a batch.

    What is recorded of a row is still recorded for its own label, on the mixed input.

    Attributes:
        labels: [b], of the other row.
        weights: [b], of the other row, or None.
        shares: float32 [b], of the row itself in the mixture, in [0.5, 1].
    """

    labels: Tensor
    weights: Tensor | None
    shares: Tensor


class Batch(NamedTuple):
    """A training batch.

    Attributes:
        inputs: float32 [b, c, h, w] (channels_last) or [b, d], normalized.
        labels: [b].
        weights: [b], of mean 1 over all rows of the view, or None.
        positions: [b], of the batch's rows in the view.
        mix: What was mixed into the inputs, or None.
        share: Of these rows in the batch that all processes of a run train on together.
    """

    inputs: Tensor
    labels: Tensor
    weights: Tensor | None
    positions: Tensor
    mix: Mix | None = None
    share: float = 1.0

    def mean_loss(self, losses: Callable[[Tensor], Tensor]) -> Tensor:
        """Returns the mean loss of the batch; each label counts with its own row's weight.

        Args:
            losses: Gives the losses [b] with respect to some labels [b].
        """
        own = losses(self.labels)
        own = own if self.weights is None else own * self.weights
        if self.mix is None:
            return own.mean()
        other = losses(self.mix.labels)
        other = other if self.mix.weights is None else other * self.mix.weights
        return (self.mix.shares * own + (1 - self.mix.shares) * other).mean()


class Preparer:
    """Turns raw inputs (uint8 images [b, h, w, c] or features [b, d]) into model inputs."""

    def __init__(self, data: Dataset, device: torch.device) -> None:
        self._images = data.kind == "images"
        # As long as a line of an image: a loop over three channels is slow on a CPU.
        width = data.input_shape[1] if self._images else 1
        self._mean = torch.from_numpy(np.tile(data.mean, width)).to(device)
        self._scale = torch.from_numpy(np.tile(data.std, width)).to(device).reciprocal()
        self.device = device

    def __call__(self, inputs: Tensor) -> Tensor:
        """Normalizes a batch; images become a channels_last view [b, c, h, w]."""
        return self.view(self.normalize(inputs))

    def normalize(self, inputs: Tensor) -> Tensor:
        """Returns new inputs of the same shape, float32 and normalized."""
        lines = inputs.flatten(2) if self._images else inputs
        return ((lines.float() - self._mean) * self._scale).view(inputs.shape)

    def view(self, inputs: Tensor) -> Tensor:
        """Returns images [b, h, w, c] as a channels_last view [b, c, h, w]."""
        return inputs.permute(0, 3, 1, 2) if self._images else inputs


@dataclass(frozen=True)
class Epoch:
    """The rows of an epoch on the device, by their place in its order.

    Attributes:
        positions: int64 [n], in the view.
        labels: [n].
        weights: [n], or None.
        draws: What is still to be done with prepared inputs.
        partners: int64 [n], the place that is mixed in: the one before in the same batch, since
            the order is random; None without mixup.
    """

    positions: Tensor
    labels: Tensor
    weights: Tensor | None
    draws: Draws
    partners: Tensor | None

    def finished(self, inputs: Tensor, places: range, cutout: int) -> Tensor:
        """Returns normalized inputs of some places, which are whole batches, cut out and mixed."""
        draws = self.draws.part(places.start, places.stop)
        inputs = cut_out(inputs, cutout, draws)
        if self.partners is None or draws.shares is None:
            return inputs
        others = inputs[self.partners[places.start : places.stop] - places.start]
        return torch.lerp(others, inputs, draws.shares.view(-1, *[1] * (inputs.ndim - 1)))

    def batch(self, inputs: Tensor, places: range, share: float = 1.0) -> Batch:
        """Returns a batch of finished inputs."""
        part = slice(places.start, places.stop)
        weights = None if self.weights is None else self.weights[part]
        mix = None
        if self.partners is not None and self.draws.shares is not None:
            others = self.partners[part]
            their_weights = None if self.weights is None else self.weights[others]
            mix = Mix(self.labels[others], their_weights, self.draws.shares[part])
        return Batch(inputs, self.labels[part], weights, self.positions[part], mix, share)


class Loader(ABC):
    """Iterates over the training batches of one epoch.

    Order and augmentation are a pure function of (seed, epoch, step), and the same for all
    loaders, so that a fit can go on in its middle, and elsewhere. Each row comes exactly once in
    an epoch. Epoch and first step are those that are set when the first batch is asked for.

    Where several processes train together, each gets its part of each batch, see `dealt`.

    Args:
        data: Gives the inputs.
        view: The rows, labels and weights to train on.
        batch_size: Rows in a batch; the last one may be short, but never a single row, which
            batch normalization could not train on.
        how: Augmentation; of features only mixup.
        seed: 0 or more.
        device: Where the batches are given.
    """

    def __init__(
        self,
        data: Dataset,
        view: View,
        *,
        batch_size: int,
        how: Augmentation,
        seed: int,
        device: torch.device,
    ) -> None:
        self._data = data
        self._view = view
        self._labels = torch.from_numpy(view.labels).to(device)
        weights = None if view.weights is None else torch.from_numpy(view.weights).float()
        # Of mean 1 over all rows, not over a batch: a row of weight 2 counts as two rows would.
        self._weights = None if weights is None else (weights / weights.mean()).to(device)
        self._prepare = Preparer(data, device)
        self._how = how.of(data)
        self._batch_size = batch_size
        self._seed = seed
        self._device = device
        self._epoch = 0
        self._start = 0

    @abstractmethod
    def _raw(self, order: Tensor, draws: Draws, parts: Sequence[range]) -> Iterator[Tensor]:
        """Yields the inputs of ranges of places on the device, cropped and flipped, else raw.

        Args:
            order: Positions in the view by place, on the host.
            draws: By place, on the host.
            parts: The ranges, each of whole batches.
        """

    @property
    def _at_once(self) -> int:
        """How many batches are made together; no batch depends on it."""
        return 1

    @property
    def sampler(self) -> Self:
        """Lightning calls ``sampler.set_epoch`` before each epoch."""
        return self

    def set_epoch(self, epoch: int) -> None:
        """Chooses the epoch that the next iteration goes over."""
        self._epoch = epoch

    def start_at(self, step: int) -> None:
        """Lets the next iteration, and only that, begin at a step of its epoch."""
        self._start = step

    def close(self) -> None:  # noqa: B027 most have nothing to end
        """Ends what iterating started."""

    def __len__(self) -> int:
        return max(1, math.ceil((len(self._labels) - 1) / self._batch_size))

    def __iter__(self) -> Iterator[Batch]:
        # A generator, so that it looks at epoch and start only when the first batch is asked for:
        # Lightning makes the iterator before it sets the epoch.
        start, self._start = self._start, 0
        order, draws, steps = self._order(), self._draws(), self._steps()
        deal = dealt(steps, here(), mixed=draws.shares is not None)
        if deal is not None:
            order, draws, steps = order[deal.places], draws.at(deal.places), deal.steps
        epoch = self._on_device(order, draws, steps, deal)
        groups = [steps[i : i + self._at_once] for i in range(start, len(steps), self._at_once)]
        parts = [range(group[0].start, group[-1].stop) for group in groups]
        made = self._raw(order, draws, parts)
        for group, places, raw in zip(groups, parts, made, strict=True):
            inputs = epoch.finished(self._prepare.normalize(raw), places, self._how.cutout)
            inputs = self._prepare.view(inputs)
            for step in group:
                own = step if deal is None else deal.own(step)
                part = slice(own.start - places.start, own.stop - places.start)
                share = 1.0 if deal is None else deal.share(step)
                yield epoch.batch(inputs[part], own, share)

    def _steps(self) -> list[range]:
        """Returns the places of each batch."""
        starts = [step * self._batch_size for step in range(len(self))]
        ends = [*starts[1:], len(self._labels)]
        return [range(start, end) for start, end in zip(starts, ends, strict=True)]

    def _order(self) -> Tensor:
        # A Mersenne Twister mixes poorly from close seeds, numpy's SeedSequence does not.
        words = np.random.SeedSequence((self._seed, self._epoch, Stream.ORDER))
        seed = int(words.generate_state(1, np.uint64)[0] >> np.uint64(1))
        return torch.randperm(len(self._labels), generator=torch.Generator().manual_seed(seed))

    def _draws(self) -> Draws:
        shape = self._data.input_shape
        return draw(self._how, len(self._labels), shape, self._seed, self._epoch)

    def _on_device(
        self, order: Tensor, draws: Draws, steps: Sequence[range], deal: Deal | None
    ) -> Epoch:
        partners = None
        if draws.shares is not None:
            partners = torch.arange(len(order)) - 1
            for step in steps:
                # of what was dealt, the first place is there only to be mixed into the second
                partners[step.start] = step.stop - 1 if deal is None else step.start
            partners = partners.to(self._device)
        positions = order.to(self._device)
        weights = None if self._weights is None else self._weights[positions]
        later = Draws(holes=draws.holes, shares=draws.shares).to(self._device)
        return Epoch(positions, self._labels[positions], weights, later, partners)
