"""The sweeps of scripts/seals_cifar10.sh: those of one folder are one sweep."""

import os
import subprocess
from collections import defaultdict
from pathlib import Path

SCRIPT = Path(__file__).parents[2] / "scripts" / "seals_cifar10.sh"
SWEPT = ("concept=", "seed=", "candidates")
"""What may differ between commands that go on with one sweep."""


def test_what_is_swept_in_one_folder_differs_in_swept_keys_only(tmp_path):
    said = tmp_path / "said.txt"
    for name in ("alframe", "alframe-report", "python"):
        program = tmp_path / name
        program.write_text(f'#!/bin/sh\necho {name} "$@" >> {said}\n')
        program.chmod(0o755)
    environment = {**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}"}
    subprocess.run(["bash", SCRIPT, "out"], env=environment, check=True)
    sweeps = defaultdict(list)
    for line in said.read_text().splitlines():
        words = line.split()
        if words[0] == "alframe":
            (folder,) = (word for word in words if word.startswith("hydra.sweep.dir="))
            sweeps[folder].append({word for word in words if not word.startswith(SWEPT)})
    assert len(sweeps) == 4
    for words in sweeps.values():
        assert all(own == words[0] for own in words)
