"""Two processes that share a run, as torchrun starts them, and without it."""

import json
import os
import socket
import subprocess
import sys
import time
from pathlib import Path

from tiny_runs import environment

HERE = Path(__file__).parent
DDP = ("trainer=ddp", "trainer.accelerator=cpu")
ALONE = {"RANK": "0", "WORLD_SIZE": "1"}
"""The environment of a single process with the same trainer."""
NAMES = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT")


def free_port():
    with socket.socket() as listener:
        listener.bind(("localhost", 0))
        return listener.getsockname()[1]


def clean_environment(**extra):
    found = environment(OMP_NUM_THREADS="1", PYTHONUNBUFFERED="1", **extra)
    found["PYTHONPATH"] += f"{os.pathsep}{HERE}"
    known = {name: value for name, value in found.items() if name not in NAMES or name in extra}
    return {name: value for name, value in known.items() if not name.startswith("TORCHELASTIC")}


def torchrun(*words, cwd):
    """Starts two processes; they are ended with the returned one."""
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2"]
    command += ["--master-port", str(free_port()), *words]
    return subprocess.Popen(
        command,
        cwd=cwd,
        env=clean_environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def by_hand(*words, cwd):
    """Starts two processes that only know of each other by the environment."""
    port = str(free_port())
    return [
        subprocess.Popen(
            [sys.executable, "-m", "alframe", *words, *DDP],
            cwd=cwd,
            env=clean_environment(
                RANK=str(rank), WORLD_SIZE="2", MASTER_ADDR="localhost", MASTER_PORT=port
            ),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for rank in range(2)
    ]


def several(runs, cwd):
    """Does several runs, one after the other, in the same two processes.

    Returns the message of each that a user could mend, or None.
    """
    (cwd / "runs.json").write_text(json.dumps([[*words, *DDP] for words in runs]))
    process = torchrun(str(HERE / "several_runs.py"), cwd=cwd)
    said, _ = process.communicate(timeout=500)
    assert process.returncode == 0, said
    return json.loads((cwd / "said.json").read_text())


def workers(pid):
    """Returns the processes that a process has started, by their rank."""
    found = {}
    for status in Path("/proc").glob("[0-9]*/stat"):
        try:
            parent = int(status.read_text().rpartition(")")[2].split()[1])
            if parent == pid:
                words = (status.parent / "environ").read_bytes().split(b"\0")
                rank = next(word[5:] for word in words if word.startswith(b"RANK="))
                found[int(rank)] = int(status.parent.name)
        except (OSError, StopIteration):
            continue
    return found


def wait_for(path, seconds=300):
    """Waits until a file or a folder is there."""
    end = time.monotonic() + seconds
    while not path.exists():
        assert time.monotonic() < end, f"{path} did not come"
        time.sleep(0.05)


def stop(*processes):
    """Ends what is left of a test."""
    for process in processes:
        for pid in workers(process.pid).values():
            os.kill(pid, 9)
        process.kill()
        process.communicate()
