"""The parts of a run, as the config composed them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from alframe.protocols import Candidates, Learner, Oracle, Strategy, Task

if TYPE_CHECKING:
    from alframe.data.dataset import Dataset
    from alframe.limits import Limits
    from alframe.schedule import Schedule
    from alframe.sharing import Sharing


@dataclass(frozen=True)
class FirstParts:
    """Those that are there before anything is embedded, see `Parts`; the data may have raw inputs.

    Attributes:
        data: The dataset.
        task: What is learned.
        schedule: How many labels, when, and when to stop.
        strategy: How rows are picked.
    """

    data: Dataset
    task: Task
    schedule: Schedule
    strategy: Strategy


@dataclass(frozen=True)
class Parts:
    """The parts of a run, as the config composed them.

    Attributes:
        data: The dataset.
        task: What is learned.
        target: The learner whose accuracy counts.
        proxy: The learner that judges the rows instead of the target, or None.
        strategy: How rows are picked.
        candidates: Which rows are looked at.
        oracle: Who gives the labels.
        schedule: How many, when, and when to stop.
        limits: What a selection may take.
        sharing: Where fits are shared among runs, or None.
    """

    data: Dataset
    task: Task
    target: Learner
    strategy: Strategy
    candidates: Candidates
    oracle: Oracle
    schedule: Schedule
    limits: Limits
    proxy: Learner | None = None
    sharing: Sharing | None = None

    @property
    def selector(self) -> Learner:
        """The learner that the strategy listens to."""
        return self.target if self.proxy is None else self.proxy

    def role(self, learner: Learner) -> Literal["proxy", "target"]:
        """Returns the config key of one of the learners."""
        return "proxy" if learner is self.proxy else "target"
