"""The search for a rare concept: two classes, few positives at first, average precision."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from sklearn.metrics import average_precision_score
from torch import Tensor

from alframe.data.dataset import Dataset
from alframe.errors import UserError
from alframe.options import check_whole
from alframe.protocols import Array, Rows
from alframe.tasks.classification import Classification, Meter

POSITIVE = 1


class RankingMeter(Meter):
    """A `Meter` that also gives ``average_precision`` of the positive class, in [0, 1]."""

    def __init__(self, num_classes: int, device: torch.device) -> None:
        super().__init__(num_classes, device)
        self._scores: list[Tensor] = []
        self._labels: list[Tensor] = []

    def update(self, logits: Tensor, labels: Tensor) -> None:
        """Adds a batch: logits [b, 2], labels [b]."""
        super().update(logits, labels)
        # Not the probability, which is 1 for many rows where the logits still differ.
        self._scores.append((logits[:, POSITIVE] - logits[:, 0]).double())
        self._labels.append(labels)

    def compute(self) -> dict[str, float]:
        """Returns the metrics of all batches; without a positive there is no precision: NaN."""
        scores, labels = (torch.cat(part).cpu().numpy() for part in (self._scores, self._labels))
        positive = labels == POSITIVE
        ranking = average_precision_score(positive, scores) if positive.any() else math.nan
        return {**super().compute(), "average_precision": float(ranking)}


class RareConcept(Classification):
    """One concept against the rest, see `alframe.data.one_against_rest`.

    The first labels are an experimenter's starting condition, drawn with a look at hidden labels:
    some rows of the concept, as one who searches for it has, and random ones of the rest.

    Args:
        data: The dataset, of two classes; 1 is the concept.
        positives: Rows of the concept that are labeled at first, 1 or more.
        negatives: Rows of the rest that are labeled at first, 1 or more.

    Raises:
        UserError: For data of more classes, for concepts of which no test row is, and for numbers
            below 1.

    **Source:** C. Coleman et al., *Similarity Search for Efficient Active Learning and Search of
    Rare Concepts*, AAAI 2022, section 4, arXiv:2007.00077: 5 positives and 19 x 5 negatives.
    """

    def __init__(self, data: Dataset, positives: int = 5, negatives: int = 95) -> None:
        super().__init__(data)
        if data.num_classes != 2:
            raise UserError(
                f"task=rare_concept: expected data of two classes, got {data.num_classes} of data="
                f"{data.name}; set concept to the name of one of them"
            )
        if not (data.test_labels == POSITIVE).any():
            raise UserError(
                f"concept={data.classes[POSITIVE]}: expected test rows of the concept, for the "
                f"average precision, got 0 among {len(data.test_labels)} of data={data.name}; "
                "choose another concept"
            )
        check_whole("task.positives", positives, at_least=1)
        check_whole("task.negatives", negatives, at_least=1)
        self._counts = {POSITIVE: positives, 0: negatives}

    def initial_rows(self, size: int, eligible: Rows, rng: np.random.Generator) -> Rows:
        """See `alframe.protocols.Task.initial_rows`."""
        if size != sum(self._counts.values()):
            raise UserError(
                f"schedule.initial={size}: expected task.positives={self._counts[POSITIVE]} plus "
                f"task.negatives={self._counts[0]}; change schedule.initial"
            )
        shuffled = rng.permutation(eligible)
        labels = self._data.reveal(shuffled)
        drawn = []
        for label, key in ((POSITIVE, "positives"), (0, "negatives")):
            members, count = shuffled[labels == label], self._counts[label]
            if len(members) < count:
                raise UserError(
                    f"task.{key}={count}: expected at most the {len(members)} rows of "
                    f"{self._data.classes[label]} in the pool; lower task.{key}, or change concept"
                )
            drawn.append(members[:count])
        return np.concatenate(drawn)

    def progress(self, labels: Array) -> dict[str, Any]:
        """See `alframe.protocols.Task.progress`."""
        return {"positives_found": int((labels == POSITIVE).sum())}

    def error(self, metrics: Mapping[str, float]) -> float:
        """Returns one minus the average precision: nearly all rows are negatives.

        1 for validation rows of which none is a positive.
        """
        precision = metrics["average_precision"]
        return 1.0 if math.isnan(precision) else 1.0 - precision

    def meter(self, device: torch.device) -> Meter:
        """Returns a fresh accumulator of the task's metrics."""
        return RankingMeter(self.num_outputs, device)
