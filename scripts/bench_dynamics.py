"""What it costs to record training dynamics: fits with and without, in turn, in one process.

    python scripts/bench_dynamics.py [--repeats 5]

Prints a Markdown table and writes results/bench_dynamics.json. The claim: below 5 % of the fit.
"""

import argparse
import json
import statistics
import tempfile
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf

from alframe.cli.build import build_parts
from alframe.cli.compose import CONFIGS
from alframe.cli.versions import versions
from alframe.parts import Parts
from alframe.pipelines.stages import FitWorkspace
from alframe.protocols import Need, View

RESULTS = Path(__file__).parents[1] / "results"
CASES = {
    "digits, small_cnn, 20 epochs of 1,132": ["learner@target=small_cnn", "data.validation=0.1"],
    "CIFAR-10, resnet8, 2 epochs of 2,000": [
        "data=cifar10",
        "data.subset=2000",
        "data.validation=0",
        "learner@target=resnet8",
        "recipe@target.recipe=one_cycle_cpu",
        "target.recipe.epochs=2",
        "target.recipe.curve_every=0",
    ],
}
NEEDS = {
    "none": [],
    "forgetting (correct)": [Need("dynamics", fields=("correct",))],
    "EL2N (error_norm)": [Need("dynamics", fields=("error_norm",))],
    "all four fields": [
        Need("dynamics", fields=("correct", "error_norm", "margin", "probability"))
    ],
}


class Silent:
    """A tracker that takes no values."""

    def log(self, *_: object) -> None:
        """Does nothing."""


def parts_of(overrides: list[str]) -> tuple[Parts, str]:
    """Builds the parts of a composed config, and names the device."""
    with initialize_config_dir(str(CONFIGS), version_base="1.3"):
        config = OmegaConf.to_container(compose("run", overrides), resolve=False)
    config = OmegaConf.create({**config, "run_dir": "unused"})
    parts, hardware = build_parts(OmegaConf.to_container(config, resolve=True))
    return parts, hardware.describe()


def seconds(parts: Parts, needs: list[Need]) -> float:
    """Trains on the whole pool and returns the fit's seconds."""
    rows = parts.data.pool_rows
    view = View(rows, parts.data.reveal(rows))
    with tempfile.TemporaryDirectory() as folder:
        workspace = FitWorkspace(Path(folder), "bench", Silent())
        return parts.target.fit(view, np.random.default_rng(0), needs, workspace).seconds


def main() -> None:
    """Measures all cases and writes the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=5)
    repeats = parser.parse_args().repeats
    table, device = [], ""
    for case, overrides in CASES.items():
        parts, device = parts_of(overrides)
        seconds(parts, [])  # warm-up
        turns = [
            {name: seconds(parts, needs) for name, needs in NEEDS.items()} for _ in range(repeats)
        ]
        for name in NEEDS:
            ratios = [turn[name] / turn["none"] - 1 for turn in turns]
            row = {
                "case": case,
                "recorded": name,
                "seconds": round(statistics.median(turn[name] for turn in turns), 3),
                "cost": round(statistics.median(ratios), 4),
            }
            table.append(row)
    print(
        f"{device}; medians of {repeats}\n\n| case | recorded | fit, s | cost |\n|---|---|---|---|"
    )
    for row in table:
        print(f"| {row['case']} | {row['recorded']} | {row['seconds']} | {row['cost']:+.1%} |")
    kept = {
        "command": f"python scripts/bench_dynamics.py --repeats {repeats}",
        "device": device,
        "versions": versions(),
        "seed": 0,
        "date": datetime.now(UTC).date().isoformat(),
        "cases": table,
    }
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / "bench_dynamics.json").write_text(json.dumps(kept, indent=1) + "\n")


if __name__ == "__main__":
    main()
