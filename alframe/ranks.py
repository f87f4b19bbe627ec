"""Several processes that share one run, by `torch.distributed`: see `alframe.world`."""

from __future__ import annotations

import pickle
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, NoReturn, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor

from alframe.errors import UserError
from alframe.starters import Place
from alframe.watch import Failure, Watch
from alframe.world import World, within

T = TypeVar("T")
R = TypeVar("R")


class Ranks(World):
    """Several processes, of which this is one.

    Args:
        place: Of this process.
        objects: The group in which values that lie on the host are sent.
        watch: Ends this process when others are gone.

    Attributes:
        sound: Whether all that they did together ended well.
    """

    def __init__(self, place: Place, objects: Any, watch: Watch) -> None:
        super().__init__(place.rank, place.local_rank, place.size)
        self.size = place.size
        self.watch = watch
        self.sound = True
        self._objects = objects
        self._alone = World(place.rank, place.local_rank, place.size)

    def share(self, value: T) -> T:
        """See `alframe.world.World.share`."""
        box: list[Any] = [value if self.first else None]
        dist.broadcast_object_list(box, src=0, group=self._objects)
        shared: T = box[0]
        return shared

    def lead(self, work: Callable[[Callable[..., R]], T], together: Callable[..., R]) -> T:
        """See `alframe.world.World.lead`."""
        if not self.first:
            followed: T = self._follow(together)
            return followed
        at_it = False

        def call(*args: Any) -> R:
            nonlocal at_it
            self.share(("call", args))
            at_it = True
            with within(self):
                done = together(*args)
            at_it = False
            return done

        try:
            with within(self._alone):
                result = work(call)
        except Exception as error:
            if not at_it:  # else the others wait for a part of it, not for a word
                self.share(("raise", sendable(error)))
            raise
        self.share(("return", result))
        return result

    def _follow(self, together: Callable[..., Any]) -> Any:
        while True:
            message: tuple[str, Any] = ("", None)
            verb, value = self.share(message)
            if verb == "return":
                return value
            if verb == "raise":
                raise value
            together(*value)

    def in_turn(self, work: Callable[[], T]) -> T:
        """See `alframe.world.World.in_turn`."""
        error: Exception | None = None
        result: Any = None
        for mine in (self.first, not self.first):
            if mine:
                try:
                    with within(self._alone):
                        result = work()
                except Exception as raised:
                    error = raised
            errors = self.gather(None if error is None else sendable(error))
            for theirs in errors:
                if theirs is not None:
                    raise error or theirs
        done: T = result
        return done

    def gather(self, value: T) -> list[T]:
        """See `alframe.world.World.gather`."""
        values: list[Any] = [None] * self.size
        dist.all_gather_object(values, value, group=self._objects)
        return values

    def joined(self, values: Tensor) -> Tensor | None:
        """See `alframe.world.World.joined`."""
        counts = self.gather(len(values))
        if not self.first:
            if len(values):
                dist.send(_bytes(values), 0, group=self._objects)
            return None
        host = values.new_empty((sum(counts), *values.shape[1:]), device="cpu")
        host[: counts[0]] = values
        start = counts[0]
        for rank, count in enumerate(counts[1:], 1):
            if count:
                dist.recv(_bytes(host[start : start + count]), rank, group=self._objects)
            start += count
        return host.to(values.device)

    def total(self, values: Tensor) -> Tensor:
        """See `alframe.world.World.total`."""
        summed = values.clone()
        dist.all_reduce(summed)
        return summed

    def either(self, *marks: bool) -> tuple[bool, ...]:
        """See `alframe.world.World.either`."""
        flags = torch.tensor(marks, dtype=torch.uint8)
        dist.all_reduce(flags, dist.ReduceOp.MAX, group=self._objects)
        return tuple(bool(flag) for flag in flags)

    def at_a_loss(self, tell: Callable[[Failure], None]) -> None:
        """See `alframe.world.World.at_a_loss`."""
        self.watch.last_words.append(tell)

    @contextmanager
    def at_work(self) -> Iterator[None]:
        """Makes these processes the ones that are `alframe.world.here`, until all are done.

        Raises:
            UserError: If one of them ended with one.
            RuntimeError: If one of them failed, or is gone.
        """
        self.watch.clear()
        try:
            with within(self):
                yield
                self.gather(None)  # none may leave before all are done
        except BaseException as error:
            self._failed(error)
        finally:
            self.watch.active = False
            self.watch.last_words.clear()

    def _failed(self, error: BaseException) -> NoReturn:
        """Raises what ended the run: this process's error, or that of the one behind it."""
        self.sound = False
        mistake = isinstance(error, UserError)
        # A broken connection is what an error of another process looks like from here.
        broken = isinstance(error, RuntimeError)
        failure = self.watch.posted(2.0 if broken else 0.0)
        if failure is None or failure.rank == self.rank:
            words = str(error) if mistake else self._told(error)
            stopped = isinstance(error, KeyboardInterrupt)
            self.watch.post(Failure(self.rank, words, mistake, stopped))
            if is_loss(error):
                raise RuntimeError(words) from error
            raise error
        if self.first:
            for tell in self.watch.last_words:
                tell(failure)
        elif not mistake:
            raise SystemExit(failure.exit_code) from error  # the first one says why
        if failure.interrupted:
            raise KeyboardInterrupt from error
        if failure.mistake and not mistake:
            raise UserError(failure.reason) from error
        if mistake:
            raise error
        raise RuntimeError(failure.reason) from error

    def _told(self, error: BaseException) -> str:
        """Says what an error of this process means."""
        if not is_loss(error):
            return f"process {self.rank} failed ({type(error).__name__}: {error})"
        other = f"process {1 - self.rank}" if self.size == 2 else "another process"
        return (
            f"{other} of {self.size} is gone: process {self.rank} lost its connection to it; it "
            f"was killed, ran out of memory, or lost its network ({str(error).splitlines()[0]})"
        )


def is_loss(error: BaseException) -> bool:
    """Tells whether an error is a broken connection, of which gloo and nccl have many words."""
    named = isinstance(error, RuntimeError) and "/gloo/" in str(error)
    return named or isinstance(error, dist.DistBackendError | dist.DistNetworkError)


def sendable(error: Exception) -> Exception:
    """Returns an error that can be sent to another process."""
    try:
        pickle.loads(pickle.dumps(error))
    except Exception:
        return RuntimeError(f"{type(error).__name__}: {error}")
    return error


def _bytes(values: Tensor) -> Tensor:
    """Returns a tensor on the host as its bytes, which any group can send."""
    return values.cpu().contiguous().view(-1).view(torch.uint8)
