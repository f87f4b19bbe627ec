"""The linear probe: logistic regression on raw or stored features, in milliseconds."""

from __future__ import annotations

import math
import time
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from alframe.data.dataset import Dataset
from alframe.data.stored import is_stored
from alframe.errors import UserError
from alframe.learners.dealt import observed_together
from alframe.learners.evaluate import Split, split_arrays
from alframe.learners.linear_scan import Directions, each_stretch, prepare
from alframe.observations import Table, TableObservations, joined, one_pass, passed_over, within
from alframe.options import check_range, check_whole
from alframe.protocols import Array, Need, Rows, State, View, Workspace
from alframe.store import Store
from alframe.tasks.classification import Classification
from alframe.world import here

BATCH = 4096  # rows of float64 features at a time
MEASURED = 16 * BATCH  # rows whose logits are measured at a time: each time costs a few calls
UNSEEN_LOGIT = -50.0
"""Below every seen class, so that a class without a label gets no probability but a finite loss."""


class ProbeLearner:
    """Multinomial logistic regression (scikit-learn's, L-BFGS) on flattened, normalized inputs.

    Args:
        data: Gives inputs by row, and the validation and test splits.
        task: Metrics.
        inverse_regularization: C of scikit-learn: larger = less regularized.
        max_iter: L-BFGS iterations at most.
        tolerance: Stops when no component of the mean gradient is larger. Hardly regularized fits
            of separable labels want a small one: two neighbors misclassified in opposite ways
            nearly cancel in the gradient.
    """

    records = frozenset({"probs", "embeddings"})

    def __init__(
        self,
        data: Dataset,
        task: Classification,
        inverse_regularization: float = 1.0,
        max_iter: int = 1000,
        tolerance: float = 1e-4,
    ) -> None:
        if not 0 < inverse_regularization < math.inf:
            raise UserError(
                f"inverse_regularization={inverse_regularization}: expected a number above 0; "
                "change the probe's inverse_regularization"
            )
        check_whole("max_iter", max_iter, at_least=1)
        check_range("tolerance", tolerance, 0, 1)
        self.data = data
        self.task = task
        self._inverse_regularization = inverse_regularization
        self._max_iter = max_iter
        self._tolerance = tolerance
        if is_stored(data.inputs):
            prepare()

    def features(self, inputs: Array) -> Array:
        """Returns normalized float64 features [n, d] of raw inputs."""
        normalized = inputs.astype(np.float64)
        normalized -= self.data.mean  # in place: fresh memory costs more than the sums
        normalized /= self.data.std
        return normalized.reshape(len(inputs), -1)

    def fit(
        self,
        view: View,
        rng: np.random.Generator,  # noqa: ARG002 the problem is convex: no randomness
        needs: Sequence[Need],  # noqa: ARG002 it records no dynamics
        workspace: Workspace,  # noqa: ARG002 it is over before it could be killed
    ) -> ProbeFitted:
        """See `alframe.protocols.Learner.fit`; of several processes the first one fits."""
        return self.restore(here().on_first(lambda: self._solve(view).state()))

    def _solve(self, view: View) -> ProbeFitted:
        from sklearn.exceptions import ConvergenceWarning
        from sklearn.linear_model import LogisticRegression

        start = time.perf_counter()
        features = self.features(self.data.inputs[view.rows])
        if len(np.unique(view.labels)) == 1:  # a core-set can hold one class: it is all there is
            weight, bias = np.zeros((1, features.shape[1])), np.zeros(1)
            return self._finished(weight, bias, view.labels[:1], time.perf_counter() - start)
        model = LogisticRegression(
            C=self._inverse_regularization, max_iter=self._max_iter, tol=self._tolerance
        )
        with warnings.catch_warnings():
            # Separable labels that are hardly regularized have no finite optimum to converge to.
            warnings.simplefilter("ignore", ConvergenceWarning)
            model.fit(features, view.labels, view.weights)
        weight, bias = model.coef_, model.intercept_
        if len(model.classes_) == 2:
            weight = np.concatenate([-weight / 2, weight / 2])
            bias = np.concatenate([-bias / 2, bias / 2])
        return self._finished(weight, bias, model.classes_, time.perf_counter() - start)

    def _finished(self, weight: Array, bias: Array, classes: Array, seconds: float) -> ProbeFitted:
        fitted = ProbeFitted(self, weight, bias, classes, seconds)
        error = self.task.error(fitted.evaluate("test"))
        point = {"epoch": 1, "seconds": seconds, "split": "test", "error": error}
        return replace(fitted, curve=[point])

    def restore(self, state: State) -> ProbeFitted:
        """See `alframe.protocols.Learner.restore`."""
        return ProbeFitted(self, **state)

    def width(self, what: Literal["probs", "embeddings"]) -> int:
        """See `alframe.protocols.Learner.width`."""
        return self.task.num_outputs if what == "probs" else math.prod(self.data.input_shape)

    def bytes_per_row(self, need: Need) -> int:
        """See `alframe.protocols.Learner.bytes_per_row`."""
        if need.reduce is not None:
            return 8
        return 8 * self.width("probs" if need.what == "probs" else "embeddings")


@dataclass(frozen=True)
class ProbeFitted:
    """A trained probe: logits of the seen ``classes`` are features @ weight.T + bias.

    Its curve is one point, the end. ``metrics`` are kept by split, as far as they were measured.
    """

    learner: ProbeLearner
    weight: Array
    bias: Array
    classes: Array
    seconds: float
    curve: list[dict[str, Any]] = field(default_factory=list)
    metrics: dict[str, dict[str, float]] = field(default_factory=dict)

    @property
    def costs(self) -> dict[str, int]:
        """See `alframe.protocols.Fitted`."""
        return {"multiply_adds": self.weight.size}

    def logits(self, features: Array) -> Tensor:
        """Returns float64 logits [n, num_classes]."""
        logits = np.full((len(features), self.learner.task.num_outputs), UNSEEN_LOGIT)
        seen = features @ self.weight.T + self.bias
        # Only differences of logits matter; this keeps every seen class above the unseen ones.
        logits[:, self.classes] = seen - seen.max(axis=1, keepdims=True)
        return torch.from_numpy(logits)

    def observe(self, requests: Mapping[Need, Rows]) -> TableObservations:
        """See `alframe.protocols.Fitted.observe`."""
        rows, inputs = passed_over(requests), self.learner.data.inputs
        if is_stored(inputs) and {need.what for need in requests} <= {"probs"}:
            if not here().first:  # reading is what takes the time, and one process is enough
                return TableObservations({})
            return TableObservations(self._scanned(inputs.store, requests, rows))
        return TableObservations(observed_together(requests, BATCH, self._looked))

    def _looked(self, requests: Mapping[Need, Rows]) -> dict[Need, Table]:
        return one_pass(requests, self._batches(passed_over(requests)))

    def _scanned(
        self, store: Store, requests: Mapping[Need, Rows], rows: Rows
    ) -> dict[Need, Table]:
        """Looks at probabilities in float32, at the speed of reading the rows."""
        data, task = self.learner.data, self.learner.task

        def probs(seen: Tensor) -> Tensor:
            if len(self.classes) < task.num_outputs:
                logits = torch.full((task.num_outputs, seen.shape[1]), UNSEEN_LOGIT)
                logits[torch.from_numpy(self.classes)] = seen - seen.amax(dim=0)
                seen = logits
            return task.probs(seen.T)

        def look(own: Rows, batches: Iterator[tuple[Rows, Tensor]]) -> dict[Need, Table]:
            seen = ((some, {"probs": probs(logits)}) for some, logits in batches)
            return one_pass({need: within(asked, own) for need, asked in requests.items()}, seen)

        directions = Directions.of(self.weight, self.bias, data.mean, data.std)
        seen = each_stretch(store, rows, directions, task.num_outputs, look)
        return joined(requests, seen)

    def _batches(self, rows: Rows) -> Iterator[tuple[Rows, Mapping[str, Tensor]]]:
        for start in range(0, len(rows), BATCH):
            batch = rows[start : start + BATCH]
            features = self.learner.features(self.learner.data.inputs[batch])
            probs = self.learner.task.probs(self.logits(features))
            yield batch, {"probs": probs, "embeddings": torch.from_numpy(features)}

    def evaluate(self, split: Split) -> dict[str, float]:
        """See `alframe.protocols.Fitted.evaluate`."""
        if split not in self.metrics:
            self.metrics[split] = here().on_first(lambda: self._evaluate(split))
        return self.metrics[split]

    def _evaluate(self, split: Split) -> dict[str, float]:
        inputs, labels = split_arrays(self.learner.data, split)
        meter = self.learner.task.meter(torch.device("cpu"))
        for start in range(0, len(labels), MEASURED):
            firsts = range(start, min(start + MEASURED, len(labels)), BATCH)
            batches = (self.learner.features(inputs[first : first + BATCH]) for first in firsts)
            logits = torch.cat([self.logits(features) for features in batches])
            meter.update(logits, torch.from_numpy(labels[start : start + MEASURED]))
        return meter.compute()

    def state(self) -> State:
        """See `alframe.protocols.Fitted.state`."""
        return {
            "weight": self.weight,
            "bias": self.bias,
            "classes": self.classes,
            "seconds": self.seconds,
            "curve": self.curve,
            "metrics": self.metrics,
        }
