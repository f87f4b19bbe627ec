"""Which process of how many this is, as torchrun, Slurm's srun or the environment says."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass

from alframe.errors import UserError

HOW = "torchrun --nproc-per-node 2 -m alframe ... trainer=ddp"


@dataclass(frozen=True)
class Place:
    """One process among those that were started together.

    Attributes:
        rank: Of the process, from 0.
        size: How many there are.
        local_rank: Of the process on its node, from 0.
        address: Of the node of process 0.
        port: Where they find each other there.
        served: Whether the starter has opened that port already, as torchrun does.
    """

    rank: int
    size: int
    local_rank: int
    address: str
    port: int
    served: bool = False


def find_place(environment: Mapping[str, str] = os.environ) -> Place:
    """Returns the place of this process, for ``trainer=ddp``.

    Raises:
        UserError: If it was started alone, or what the environment says makes no sense.
    """
    if "RANK" in environment and "WORLD_SIZE" in environment:
        return _by_variables(environment)
    if "SLURM_STEP_ID" in environment:
        return _by_slurm(environment)
    if int(environment.get("SLURM_NTASKS", "1")) > 1:
        raise UserError(
            f"trainer=ddp in a Slurm job of {environment['SLURM_NTASKS']} tasks: expected one "
            "process for each task, got one in all; start it with srun: srun alframe ... "
            "trainer=ddp"
        )
    raise UserError(
        "trainer=ddp: expected several processes, started by torchrun or srun, got one; use "
        f"{HOW}, or another trainer"
    )


def check_alone(environment: Mapping[str, str] = os.environ) -> None:
    """Refuses several processes that would each do the whole run in the same place.

    Raises:
        UserError: If torchrun started more than one.
    """
    size = environment.get("WORLD_SIZE", "1")
    if "TORCHELASTIC_RUN_ID" in environment and size != "1":
        raise UserError(
            f"torchrun started {size} processes: expected trainer=ddp, with which they share the "
            "work; add it, or start alframe without torchrun"
        )


def check_one_run(environment: Mapping[str, str] = os.environ) -> None:
    """Refuses a sweep in processes that share one run.

    Raises:
        UserError: If torchrun started more than one.
    """
    size = environment.get("WORLD_SIZE", "1")
    if "TORCHELASTIC_RUN_ID" in environment and size != "1":
        raise UserError(
            f"--multirun in {size} processes of torchrun: expected a single run, which they share; "
            "start torchrun once for each cell, with a run_dir of its own"
        )


def _by_variables(environment: Mapping[str, str]) -> Place:
    rank, size = (_number(environment, key) for key in ("RANK", "WORLD_SIZE"))
    if not 0 <= rank < size:
        raise UserError(f"RANK={rank} with WORLD_SIZE={size}: expected 0 to {size - 1}")
    if size == 1:
        return Place(0, 1, 0, "localhost", 0)
    for key in ("MASTER_ADDR", "MASTER_PORT"):
        if key not in environment:
            raise UserError(
                f"trainer=ddp with WORLD_SIZE={size}: expected {key} in the environment, where "
                f"process 0 is found; set it, or use {HOW}"
            )
    served = environment.get("TORCHELASTIC_USE_AGENT_STORE") == "True"
    local = _number(environment, "LOCAL_RANK") if "LOCAL_RANK" in environment else rank
    port = _number(environment, "MASTER_PORT")
    return Place(rank, size, local, environment["MASTER_ADDR"], port, served)


def _by_slurm(environment: Mapping[str, str]) -> Place:
    tasks = "SLURM_STEP_NUM_TASKS" if "SLURM_STEP_NUM_TASKS" in environment else "SLURM_NTASKS"
    rank, local = (_number(environment, key) for key in ("SLURM_PROCID", "SLURM_LOCALID"))
    nodes = environment.get("SLURM_STEP_NODELIST") or environment.get("SLURM_JOB_NODELIST", "")
    address = environment.get("MASTER_ADDR") or first_host(nodes)
    # Steps of one job may run at the same time on one node.
    job, step = (_number(environment, f"SLURM_{key}_ID") for key in ("JOB", "STEP"))
    port = environment.get("MASTER_PORT") or str(20000 + (job * 31 + step) % 12000)
    return Place(rank, _number(environment, tasks), local, address, int(port))


def first_host(nodes: str) -> str:
    """Returns the first of Slurm's list of nodes, such as ``gpu[01-03,07],login``."""
    match = re.match(r"([^,\[]+)(?:\[([^\],-]+)[^\]]*\]([^,\[]*))?", nodes)
    if match is None:
        raise UserError(
            f"SLURM_STEP_NODELIST={nodes}: expected a list of nodes; set MASTER_ADDR to the one of "
            "process 0"
        )
    return "".join(part or "" for part in match.groups())


def _number(environment: Mapping[str, str], key: str) -> int:
    value = environment.get(key, "")
    if not value.isdecimal():
        raise UserError(f"{key}={value}: expected a whole number in the environment of trainer=ddp")
    return int(value)
