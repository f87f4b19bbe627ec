"""The seams: what the parts of a run promise each other.

Rows are always training-row numbers of the dataset (int64 numpy arrays), never positions in some
subset. Values are torch tensors, on whatever device they already are.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from torch import Tensor

    from alframe.pool import Pool

Rows = npt.NDArray[np.int64]
Array = npt.NDArray[Any]
State = dict[str, Any]
"""What a stage leaves behind: numpy arrays and JSON values by name, so that no pickle is needed."""

PipelineName = Literal["active_learning", "core_set"]


class Scope(StrEnum):
    """The rows for which a strategy needs something."""

    CANDIDATES = "candidates"
    LABELED = "labeled"
    POOL = "pool"
    """Candidates and labeled rows: under a restricted candidate rule the pool means just these."""


@dataclass(frozen=True)
class Need:
    """What a strategy must see of the rows in ``scope``.

    Attributes:
        what: ``probs`` [n, classes], ``mc_probs`` [n, draws, classes] (Monte-Carlo dropout or the
            members of an ensemble), ``embeddings`` [n, d] (what enters the model's last layer), or
            ``dynamics`` [epochs, n, fields] (recorded while the selector trains).
        scope: The rows.
        reduce: Applied to each batch within the pass, so that only its result is kept:
            [b, ...] -> [b] or [b, k]. Perhaps in several threads at a time.
        fields: For ``dynamics``, the values to record for every row in every epoch:
            ``probability`` (of the label), ``margin``, ``correct``, ``error_norm``,
            ``gradient_norm``.
        draws: For ``mc_probs``, how many draws (an ensemble has as many as it has members).
        fits: For ``dynamics``, over how many fits the history is averaged.
        until_epoch: For ``dynamics``, epochs after which these fits may stop; None = to their end.
    """

    what: Literal["probs", "mc_probs", "embeddings", "dynamics"]
    scope: Scope = Scope.CANDIDATES
    reduce: Callable[[Tensor], Tensor] | None = None
    fields: tuple[str, ...] = ()
    draws: int = 0
    fits: int = 1
    until_epoch: int | None = None

    @property
    def short(self) -> bool:
        """Whether fits of their own serve it, as they are several or may stop early."""
        return self.fits > 1 or self.until_epoch is not None


class Observations(Protocol):
    """What the selector saw, asked by row number.

    Raises:
        KeyError: For a need that was not declared, or a row that was not observed.
    """

    def probs(self, rows: Rows) -> Tensor:
        """Class probabilities [n, classes] (or what the need's ``reduce`` made of them)."""
        ...

    def embeddings(self, rows: Rows) -> Tensor:
        """Embeddings [n, d]."""
        ...

    def mc_probs(self, rows: Rows) -> Tensor:
        """Probabilities of each draw [n, draws, classes] (or what ``reduce`` made of them)."""
        ...

    def dynamics(self, rows: Rows, field: str) -> Tensor:
        """One recorded field [epochs, n], averaged over the need's fits."""
        ...

    def of(self, needs: Sequence[Need]) -> Observations:
        """What was seen for some of the needs: what a wrapper hands to the strategy inside."""
        ...


@dataclass(frozen=True)
class Query:
    """The rows picked in one round, best first.

    Attributes:
        rows: Distinct candidate rows.
        scores: One per row, falling, or None where the strategy has no score.
        weights: One positive training weight per row, or None.
    """

    rows: Rows
    scores: Array | None = None
    weights: Array | None = None


@dataclass(frozen=True)
class View:
    """What a learner trains on: rows, their labels, and optional weights, one per row."""

    rows: Rows
    labels: Array
    weights: Array | None = None


@dataclass(frozen=True)
class Work:
    """How large a selection is, known before anything is trained.

    Attributes:
        size: Rows to pick.
        candidates: Rows that are looked at.
        labeled: Rows that are labeled by then.
        width: Values of one embedding.
        outputs: Class probabilities of one row.
    """

    size: int
    candidates: int
    labeled: int
    width: int
    outputs: int

    @property
    def rows(self) -> int:
        """Candidates and labeled rows."""
        return self.candidates + self.labeled


@dataclass(frozen=True)
class Cost:
    """What a selection takes at most, beyond the observations themselves.

    Attributes:
        bytes: Memory at the peak, on whatever device the observations are.
        operations: Multiply-adds, to tell minutes from days.
    """

    bytes: int
    operations: float


class Strategy(Protocol):
    """Picks rows. Holds no model, loader, device, config or global random state.

    It may also have ``cost(work: Work) -> Cost``; without it, it is taken to be linear in the rows.
    ``scores_rows = True`` says that its scores are of each row on its own, whatever else is picked:
    then other strategies may build on them.
    """

    needs: tuple[Need, ...]
    pipelines: frozenset[PipelineName]
    stochastic: bool

    def select(
        self, size: int, candidates: Rows, pool: Pool, seen: Observations, rng: np.random.Generator
    ) -> Query:
        """Returns ``size`` distinct rows of ``candidates`` (ascending, unique), best first."""
        ...


class Candidates(Protocol):
    """Chooses which unlabeled rows are looked at, as a function of the pool's state.

    It may also have ``look_up(pool)``: called when labels came, if another choice is to follow.
    """

    def rows(self, pool: Pool, size: int, rng: np.random.Generator) -> Rows:
        """Returns unlabeled rows, ascending, from which ``size`` are going to be picked."""
        ...

    def at_least(self, unlabeled: int) -> int:
        """Returns how many rows it gives at the least while so many are unlabeled."""
        ...

    def at_most(self, unlabeled: int, labeled: int) -> int:
        """Returns how many rows it gives at the most, though never fewer than are asked for."""
        ...


class Workspace(Protocol):
    """Where a fit may keep what it needs to go on after a kill, and whom it tells of its epochs."""

    @property
    def folder(self) -> Path | None:
        """The fit's own folder, or None where nothing is kept."""
        ...

    def log(self, epoch: int, values: Mapping[str, float]) -> None:
        """Reports one epoch's values, for display only."""
        ...


class Fitted(Protocol):
    """A trained model.

    It may also have ``costs``, by name: ``samples`` (rows that it was trained on, counted again in
    each epoch), ``peak_bytes`` (of device memory at a time; None on a CPU; of the last part of an
    interrupted fit), ``multiply_adds`` (of the model, for one row) and ``compile_seconds`` (of
    compiling the training step, which are not among ``seconds``).
    """

    @property
    def seconds(self) -> float:
        """Wall-clock of the training itself, over all parts of an interrupted fit."""
        ...

    def observe(self, requests: Mapping[Need, Rows]) -> Observations:
        """Looks at un-augmented rows, once for all needs."""
        ...

    def evaluate(self, split: Literal["validation", "test"]) -> dict[str, float]:
        """Returns the task's metrics on a split, at least ``loss``."""
        ...

    def state(self) -> State:
        """Returns all that `Learner.restore` needs; ``curve`` lists the fit's own curve."""
        ...


class Learner(Protocol):
    """Trains models: proxy and target are two objects of this one type."""

    records: frozenset[str]
    """The values of `Need.what` that a fit of this learner can give."""

    def fit(
        self, view: View, rng: np.random.Generator, needs: Sequence[Need], workspace: Workspace
    ) -> Fitted:
        """Trains from scratch, or goes on where a killed fit in the same workspace stopped."""
        ...

    def restore(self, state: State) -> Fitted:
        """Returns the fitted model whose `Fitted.state` was saved."""
        ...

    def width(self, what: Literal["probs", "embeddings"]) -> int:
        """Returns how many values one row's probabilities or its embedding have."""
        ...

    def bytes_per_row(self, need: Need) -> int:
        """Returns what observing one row for a need takes, in bytes, before anything is trained."""
        ...


class Oracle(Protocol):
    """Answers queries with labels."""

    free: bool
    """Whether asking costs nothing, so that labels may be looked at before the run begins."""

    def answer(self, rows: Rows) -> tuple[Rows, Array]:
        """Returns labels for a part of the rows, all of them, or none ("not yet").

        After a part the run stops; the next one asks for all again, so an oracle keeps its answers.
        """
        ...


class Task(Protocol):
    """Everything that is particular to, say, classification; pipelines know only this much."""

    histories: tuple[str, ...]
    """The `Need.fields` that cost little to record."""

    def initial_rows(self, size: int, eligible: Rows, rng: np.random.Generator) -> Rows:
        """Draws the rows that are labeled before the first round."""
        ...

    def progress(self, labels: Array) -> dict[str, Any]:
        """Returns further columns of ``metrics.csv``: what the labels acquired so far tell."""
        ...

    def check_labels(self, labels: Array, remedy: str) -> None:
        """Raises `UserError` where a model cannot be trained on these labels.

        Args:
            labels: Of the rows that the first model would see.
            remedy: Which config keys to change, for the error.
        """
        ...
