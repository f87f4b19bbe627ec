"""The processes that work on one run together; one process by itself is a world of one.

Every process runs the same pipeline with the same seeds. What must happen once (choosing rows,
asking the oracle, writing) process 0 does and tells the others; what is large (training, looking at
rows) all do together, each its share. Code says which of both it is through `here`:

- `World.on_first` for what process 0 does alone: the others wait and get what it returned;
- `World.lead` where process 0 decides whether all do something together;
- everything else is done by each process, in the same order.

With several processes `here` gives an `alframe.ranks.Ranks`, which `alframe.joining.ranks` makes.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from torch import Tensor

    from alframe.watch import Failure

T = TypeVar("T")
R = TypeVar("R")


class World:
    """One process, which is its own world: nothing is sent, nobody is waited for.

    Attributes:
        rank: Of this process, from 0; several that each work by themselves keep their numbers.
        size: Processes that share the work at this moment.
        local_rank: Of this process on its node, which chooses its GPU.
        processes: Of the run, also while one of them does something alone.
    """

    def __init__(self, rank: int = 0, local_rank: int = 0, processes: int = 1) -> None:
        self.rank = rank
        self.size = 1
        self.local_rank = local_rank
        self.processes = processes

    @property
    def first(self) -> bool:
        """Whether this process writes, logs and decides."""
        return self.rank == 0

    def share(self, value: T) -> T:
        """Returns the first process's value; those of the others do not matter."""
        return value

    def lead(self, work: Callable[[Callable[..., R]], T], together: Callable[..., R]) -> T:
        """Lets the first process do ``work``, and all of them what it calls.

        Args:
            work: Is given ``together`` and may call it; its result, or what it raises, is
                everybody's. Within, the first process is alone.
            together: Run by every process, with the arguments that the first one gives.
        """
        return work(together)

    def on_first(self, work: Callable[[], T]) -> T:
        """Lets the first process do something alone; all get what it returns or raises."""
        return self.lead(lambda _: work(), _nothing)

    def in_turn(self, work: Callable[[], T]) -> T:
        """Lets the first process do something, then all others, each by itself.

        What the first one finds missing and makes, the others then find. What any of them raises,
        all raise.
        """
        return work()

    def gather(self, value: T) -> list[T]:
        """Returns the values of all processes, in their order."""
        return [value]

    def joined(self, values: Tensor) -> Tensor | None:
        """Returns the tensors [n_i, ...] of all processes as one [n, ...]; None but on the first.

        Only the first dimension may differ. The result is where the first one's tensor was.
        """
        return values

    def total(self, values: Tensor) -> Tensor:
        """Returns the sum over all processes, of tensors of one shape."""
        return values

    def either(self, *marks: bool) -> tuple[bool, ...]:
        """Returns, for each mark, whether it is set in any process."""
        return marks

    def at_a_loss(self, tell: Callable[[Failure], None]) -> None:
        """Lets ``tell`` be called with what happened if another process ends this one."""


_worlds = [World()]
"""What `here` returns comes last."""
_followers = 0  # 1 where this process is one


def here() -> World:
    """Returns the processes that share the work that is done at this moment."""
    return _worlds[-1]


@contextmanager
def within(world: World) -> Iterator[None]:
    """Makes ``world`` what `here` returns."""
    _worlds.append(world)
    try:
        yield
    finally:
        _worlds.pop()


def repeats_others() -> bool:
    """Tells whether another process, with the same command, says what this one would say."""
    started = "TORCHELASTIC_RUN_ID" in os.environ and os.environ.get("RANK", "0") != "0"
    return started or _followers > 0


def follow() -> None:
    """Notes that this process has joined others, and is not the first."""
    global _followers
    _followers = 1


def _nothing(*_: Any) -> None:
    raise AssertionError("nothing was to be done together")
