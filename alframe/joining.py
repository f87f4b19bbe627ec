"""Brings the processes together that were started for one run: see `alframe.world`."""

from __future__ import annotations

import atexit
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist
from torch._C._distributed_c10d import PrefixStore, TCPStore

from alframe.errors import UserError
from alframe.ranks import Ranks
from alframe.starters import Place, find_place
from alframe.watch import Watch
from alframe.world import World, follow

MEET = timedelta(minutes=5)
"""In which all processes must have started."""
STEP = timedelta(minutes=30)
"""In which the others' part of a training step must come, the first one's checkpoints included."""
WAIT = timedelta(days=7)
"""In which process 0 must have selected rows; whether it still lives is watched meanwhile."""

_joined: list[Ranks] = []
"""Of this process, once it has joined."""


@contextmanager
def ranks(gpu: bool) -> Iterator[World]:
    """Joins the processes that were started together, at the first call, and works with them.

    Args:
        gpu: Whether they train on GPUs.

    Raises:
        UserError: If this process was started alone, or others did not come.
    """
    place = find_place()
    if place.size == 1:
        yield World()
        return
    if gpu:
        _check_gpus()
    if not _joined:
        _joined.append(_join(place, gpu))
    with _joined[0].at_work():
        yield _joined[0]


def _check_gpus() -> None:
    """Refuses more processes than GPUs, where torchrun says how many there are here."""
    started, there = int(os.environ.get("LOCAL_WORLD_SIZE", "1")), torch.cuda.device_count()
    if started > there:
        raise UserError(
            f"torchrun started {started} processes on this machine: expected at most {there}, one "
            f"for each GPU; use --nproc-per-node {there}, or trainer.accelerator=cpu"
        )


def _join(place: Place, gpu: bool) -> Ranks:
    try:
        store = _store(place, serves=place.rank == 0 and not place.served)
        _meet(store, place)
        if gpu:
            torch.cuda.set_device(place.local_rank % torch.cuda.device_count())
        dist.init_process_group(
            "cpu:gloo,cuda:nccl" if gpu else "gloo",
            store=PrefixStore("work", store),
            rank=place.rank,
            world_size=place.size,
            timeout=STEP,
        )
        objects = dist.new_group(backend="gloo", timeout=WAIT)
    except (RuntimeError, OSError) as error:
        raise UserError(
            f"trainer=ddp: process {place.rank} of {place.size} cannot reach the others at "
            f"{place.address}:{place.port} ({str(error).splitlines()[0]}); set MASTER_ADDR and "
            "MASTER_PORT to a port of process 0's node that is free and open"
        ) from error
    watch = Watch(_of_this_start(_store(place, serves=False)), place.rank, place.size)
    watch.start()
    if place.rank:
        follow()
    atexit.register(_leave)
    return Ranks(place, objects, watch)


def _leave() -> None:
    """Says goodbye, where the others are there to hear it."""
    if not _joined:
        return
    _joined[0].watch.close()
    if _joined[0].sound:
        dist.destroy_process_group()


def _store(place: Place, *, serves: bool) -> Any:
    return TCPStore(place.address, place.port, None, serves, timeout=MEET, wait_for_workers=False)


def _of_this_start(store: Any) -> Any:
    """Torchrun keeps its store when it starts all processes again."""
    return PrefixStore(f"start {os.environ.get('TORCHELASTIC_RESTART_COUNT', 0)}", store)


def _meet(store: Any, place: Place) -> None:
    """Waits until all have come."""
    mine = _of_this_start(store)
    come, end = mine.add("come", 1), time.monotonic() + MEET.total_seconds()
    while come < place.size:
        if time.monotonic() > end:
            raise UserError(
                f"trainer=ddp: expected {place.size} processes within {MEET.seconds} seconds, "
                f"{come} came; start as many as WORLD_SIZE (or srun --ntasks) says"
            )
        time.sleep(0.05)
        come = mine.add("come", 0)
