"""How many labels, in which steps, and when to stop; and one random stream per purpose."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from alframe.errors import UserError
from alframe.options import as_list, check_whole, is_number, is_whole


def rng(seed: int, purpose: str, round_id: int = 0) -> np.random.Generator:
    """Returns the random stream of one purpose in one round.

    Streams of different purposes are independent of each other, so that at one seed every
    strategy starts from the same labeled rows and every fit of a round has the same batch order.
    """
    check_whole("seed", seed, at_least=0)
    return np.random.default_rng([seed, zlib.crc32(purpose.encode()), round_id])


@dataclass(frozen=True)
class Schedule:
    """The label budget of an active-learning run.

    Attributes:
        initial: Rows that are labeled at random before the first round.
        query_size: Rows asked for in each round: one number (repeated until the budget), or one
            number for each round.
        budget: Labels in total, the initial ones included; None where ``query_size`` is a list
            (then it is their sum), or for the whole pool.
        evaluate_at: Label counts at which the target is trained and evaluated where there is a
            proxy; None for every round. The last round is always evaluated.
        target_accuracy: Stop when this accuracy is reached on the validation rows.
    """

    initial: int
    query_size: int | Sequence[int]
    budget: int | None = None
    evaluate_at: Sequence[int] | None = None
    target_accuracy: float | None = None

    def __post_init__(self) -> None:
        check_whole("schedule.initial", self.initial, at_least=1)
        sizes = as_list(self.query_size)
        if not sizes or not all(is_whole(size) and size >= 1 for size in sizes):
            raise UserError(
                f"schedule.query_size={self.query_size}: expected whole numbers, 1 or more a round"
            )
        if self.budget is not None:
            check_whole("schedule.budget", self.budget, at_least=1)
        if not isinstance(self.evaluate_at, Sequence | None):
            raise UserError(
                f"schedule.evaluate_at={self.evaluate_at}: expected a list of label counts or null"
            )
        if self.budget is not None and self.budget < self.initial:
            raise UserError(
                f"schedule.budget={self.budget} is below schedule.initial={self.initial}: "
                "raise the budget or start with fewer labels"
            )
        target = self.target_accuracy
        if target is not None and not (is_number(target) and 0 < target <= 1):
            raise UserError(
                f"schedule.target_accuracy={self.target_accuracy}: expected a share in (0, 1]"
            )

    def counts(self, pool_size: int) -> list[int]:
        """Returns the number of labels at each round, the initial one first.

        The last round is short where the budget or the pool ends within it.

        Raises:
            UserError: If more labels are asked for than the pool has rows.
        """
        for key, asked in (("initial", self.initial), ("budget", self.budget)):
            if asked is not None and asked > pool_size:
                raise UserError(
                    f"schedule.{key}={asked}: expected at most the {pool_size} rows of the pool; "
                    f"lower schedule.{key}, data.validation or raise data.subset"
                )
        if isinstance(self.query_size, int):
            end = pool_size if self.budget is None else self.budget
            return [*range(self.initial, end, self.query_size), end]
        wanted = (self.initial + np.cumsum(self.query_size)).tolist()
        if self.budget is not None and self.budget > wanted[-1]:
            raise UserError(
                f"schedule.budget={self.budget} is never reached: schedule.query_size="
                f"{list(self.query_size)} asks for {wanted[-1]} labels in all; lengthen "
                "schedule.query_size or set schedule.budget=null"
            )
        end = wanted[-1] if self.budget is None else self.budget
        if end > pool_size:
            raise UserError(
                f"schedule.query_size={list(self.query_size)} asks for {end} labels in all: "
                f"expected at most the {pool_size} rows of the pool; shorten schedule.query_size"
            )
        steps = [self.initial, *(count for count in wanted if count < end)]
        return [*steps, end] if end > steps[-1] else steps

    def usual_size(self, round_id: int) -> int:
        """Returns the rows that round ``round_id`` (1 or later) asks for unless it is the last."""
        sizes = self.query_size
        return sizes if isinstance(sizes, int) else sizes[round_id - 1]

    def evaluates(self, labeled: int, last: bool) -> bool:
        """Says whether an expensive target is trained at this number of labels."""
        return last or self.evaluate_at is None or labeled in self.evaluate_at

    def check_evaluate_at(self, counts: Sequence[int]) -> None:
        """Refuses label counts that no round reaches."""
        missed = sorted(set(self.evaluate_at or ()) - set(counts))
        if missed:
            raise UserError(
                f"schedule.evaluate_at={missed}: expected some of the label counts that a round "
                f"reaches, {list(counts)}; change schedule.evaluate_at"
            )
