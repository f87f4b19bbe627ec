"""Processes of a pool take different GPUs."""

import os
import subprocess
import sys

from tiny_runs import environment

from alframe.sweeps.gpus import visible

TAKE = (
    "import os, sys; from pathlib import Path; from alframe.sweeps.gpus import take_gpu\n"
    "take_gpu(Path(sys.argv[1])); take_gpu(Path(sys.argv[1]))\n"
    "print(os.environ.get('CUDA_VISIBLE_DEVICES'), flush=True); sys.stdin.read()"
)


class Process:
    def __init__(self, folder, gpus):
        self.process = subprocess.Popen(
            [sys.executable, "-c", TAKE, str(folder)], env=environment(CUDA_VISIBLE_DEVICES=gpus),
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip
        self.gpu = self.process.stdout.readline().strip()

    def end(self):
        self.process.communicate("")


def test_each_takes_the_one_that_the_fewest_have(tmp_path):
    pool = [Process(tmp_path, "4,GPU-ab/c") for _ in range(4)]
    assert [one.gpu for one in pool] == ["4", "GPU-ab/c"] * 2
    pool[1].end()
    new = Process(tmp_path, "4,GPU-ab/c")
    assert new.gpu == "GPU-ab/c"
    for one in (pool[0], *pool[2:], new):
        one.end()


def test_one_gpu_or_none_is_left_as_it_is(tmp_path):
    for gpus in ("3", ""):
        alone = Process(tmp_path / "none", gpus)
        assert alone.gpu == gpus
        alone.end()
    assert not (tmp_path / "none").exists()


def test_without_a_driver_there_are_none(monkeypatch):
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.setenv("PATH", os.devnull)
    assert visible() == []
