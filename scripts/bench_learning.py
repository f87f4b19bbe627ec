"""Whether a short ResNet-20 learns as fast in alframe as by the same recipe in a bare PyTorch loop.

    python scripts/bench_learning.py [--small] [--seeds 0,1,2]

Both train on the same stratified part of CIFAR-10 and are tested on all 10,000 test images after
every epoch. The bare loop shares nothing with alframe but the network and the images: torchvision
crops, flips and normalizes row by row, torch's DataLoader shuffles, torch's SGD and OneCycleLR
train. So the weights differ, and the errors may differ by chance: their spread over seeds stands
beside them. Prints a Markdown table and writes results/bench_learning.json (with --small: nothing
is kept, and a few steps are made for a try). Needs ALFRAME_DATA_DIR with CIFAR-10.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
import warnings
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812
from bench_dynamics import Silent, parts_of
from bench_training import PerRow
from torch.optim.lr_scheduler import OneCycleLR
from torch.utils.data import DataLoader

from alframe.cli.console import set_up_logging
from alframe.cli.versions import git_state, versions
from alframe.data.batches import Preparer
from alframe.learners.lightning import LightningLearner
from alframe.pipelines.workspace import FitWorkspace
from alframe.protocols import View

RESULTS = Path(__file__).parents[1] / "results"


def errors_of(model: torch.nn.Module, learner: LightningLearner) -> float:
    """Returns the test error of a network in evaluation mode."""
    data = learner.data
    prepare = Preparer(data, torch.device("cpu"))
    model.eval()
    with torch.inference_mode():
        wrong = sum(
            int((model(prepare(inputs)).argmax(1) != labels).sum())
            for inputs, labels in zip(
                torch.from_numpy(data.test_inputs).split(500),
                torch.from_numpy(data.test_labels).split(500),
                strict=True,
            )
        )
    model.train()
    return wrong / len(data.test_labels)


def bare(learner: LightningLearner, view: View, seed: int) -> dict[str, Any]:
    """Trains in plain PyTorch; returns the error after each epoch and the seconds of its steps."""
    recipe = learner.recipe
    torch.manual_seed(seed)
    model = learner.build().train()
    loader = DataLoader(PerRow(learner, view), batch_size=recipe.batch_size, shuffle=True)
    rate, epochs = float(recipe.learning_rate), int(recipe.epochs)
    optimizer = torch.optim.SGD(
        model.parameters(),
        lr=rate,
        momentum=recipe.momentum,
        weight_decay=recipe.weight_decay,
        nesterov=recipe.nesterov,
    )
    steps = epochs * len(loader)
    schedule = OneCycleLR(optimizer, rate, total_steps=steps, cycle_momentum=False)
    errors, seconds = [], 0.0
    for _ in range(epochs):
        start = time.perf_counter()
        for inputs, labels in loader:
            optimizer.zero_grad()
            images = inputs.contiguous(memory_format=torch.channels_last)
            F.cross_entropy(model(images), labels).backward()
            optimizer.step()
            schedule.step()
        seconds += time.perf_counter() - start
        errors.append(errors_of(model, learner))
    return {"errors": errors, "seconds": round(seconds, 1)}


def alframe(learner: LightningLearner, view: View, seed: int) -> dict[str, Any]:
    """Trains the learner; returns the error after each epoch and the seconds of its steps."""
    workspace = FitWorkspace(None, "bench", Silent())
    fitted = learner.fit(view, np.random.default_rng(seed), [], workspace)
    errors = [point["error"] for point in fitted.curve if point["split"] == "test"]
    return {"errors": errors, "seconds": round(fitted.seconds, 1)}


def mean_and_spread(values: list[float]) -> str:
    """Returns the mean and the standard deviation in percent."""
    spread = statistics.stdev(values) if len(values) > 1 else 0.0
    return f"{100 * statistics.mean(values):.1f} +/- {100 * spread:.1f}"


def main() -> None:
    """Trains all and writes the table."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--small", action="store_true", help="a few steps; nothing is kept")
    parser.add_argument("--seeds", default="0,1,2", help="(default: %(default)s)")
    options = parser.parse_args()
    seeds = [int(seed) for seed in options.seeds.split(",")][: 1 if options.small else None]
    set_up_logging()
    warnings.filterwarnings("ignore", module="pytorch_lightning|lightning_fabric")
    rows, epochs = (300, 1) if options.small else (10_000, 5)
    words = ["data=cifar10", "data.validation=0", f"data.subset={rows}", "trainer=cpu"]
    words += ["learner@target=resnet20", "recipe@target.recipe=one_cycle_cpu"]
    parts, device = parts_of(
        [*words, f"target.recipe.epochs={epochs}", "target.recipe.curve_every=1"]
    )
    learner = parts.target
    assert isinstance(learner, LightningLearner)
    view = View(learner.data.pool_rows, learner.data.reveal(learner.data.pool_rows))
    ways = {"bare PyTorch loop": bare, "alframe": alframe}
    runs: dict[str, list[dict[str, Any]]] = {name: [] for name in ways}
    for seed in seeds:
        for name, train in ways.items():
            runs[name].append(train(learner, view, seed))
    heads = " | ".join(f"epoch {epoch + 1}" for epoch in range(epochs))
    print(f"{device}; test error in %, mean +/- standard deviation over {len(seeds)} seeds\n")
    print(f"| ResNet-20, {rows:,} rows | {heads} | seconds |\n{'|---' * (epochs + 2)}|")
    for name, made in runs.items():
        cells = [mean_and_spread([run["errors"][i] for run in made]) for i in range(epochs)]
        taken = statistics.median(run["seconds"] for run in made)
        print(f"| {name} | {' | '.join(cells)} | {taken:.0f} |")
    if options.small:
        return
    kept = {
        "command": f"python scripts/bench_learning.py --seeds {options.seeds}",
        "device": device,
        "versions": versions(),
        "git": git_state(),
        "seeds": seeds,
        "date": datetime.now(UTC).date().isoformat(),
        "rows": rows,
        "runs": runs,
    }
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / "bench_learning.json").write_text(json.dumps(kept, indent=1) + "\n")


if __name__ == "__main__":
    main()
