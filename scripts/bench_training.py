"""What batches and training steps cost: alframe against torchvision and against bare loops.

    python scripts/bench_training.py [--small] [--repeats 5] [--minutes 9] [--into FOLDER]

Prints a Markdown table and writes results/bench_training.json, anew after each case, so that a
killed one keeps what it has; after --minutes no other case is begun (with --small: nothing is kept,
and a few steps are measured for a try). Needs ALFRAME_DATA_DIR with CIFAR-10. Contenders of a case
take turns in one process, after one turn that is not counted; in it torch compiles, where it does.

- batches: of 128 images with random crops and flips, ready on the device, against torchvision's
  transforms for each row in this process, as training scripts usually do it.
- training: a ResNet-20 by SGD. The bare loop is plain PyTorch with the same model, batches,
  optimizer and compile setting; the same step is what alframe takes, CUDA graphs included, in a
  loop of its own without Lightning. On the CPU all must end with the same weights.
"""

from __future__ import annotations

import argparse
import json
import math
import statistics
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import closing
from copy import copy
from dataclasses import replace
from datetime import UTC, datetime
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812
from bench_dynamics import Silent, parts_of
from torch import nn
from torch.utils.data import DataLoader
from torch.utils.data import Dataset as Samples
from torchvision.transforms import v2

from alframe.cli.console import set_up_logging
from alframe.cli.versions import git_state, versions
from alframe.data.batches import Batch
from alframe.data.loaders import make_loader
from alframe.data.loading import Loading
from alframe.learners.lightning import LightningLearner
from alframe.learners.step import Objective, Step
from alframe.pipelines.workspace import FitWorkspace
from alframe.protocols import View

RESULTS = Path(__file__).parents[1] / "results"
PAPERS = 128
"""The batch size of Selection via Proxy."""
SAME_STEP = "alframe's step, without Lightning"
Contenders = dict[str, Callable[[], float]]


class PerRow(Samples[tuple[torch.Tensor, int]]):
    """Rows as torchvision's transforms make them, one at a time."""

    def __init__(self, learner: LightningLearner, view: View) -> None:
        data = learner.data
        self._images, self._labels = torch.from_numpy(data.inputs[view.rows]), view.labels
        side, channels = data.input_shape[0], data.input_shape[2]
        mean, std = data.mean / 255, data.std / 255
        assert channels == len(mean)
        self._transforms = v2.Compose(
            [
                v2.RandomCrop(side, padding=learner.recipe.crop),
                v2.RandomHorizontalFlip(),
                v2.ToDtype(torch.float32, scale=True),
                v2.Normalize(mean.tolist(), std.tolist()),
            ]
        )

    def __len__(self) -> int:
        return len(self._images)

    def __getitem__(self, row: int) -> tuple[torch.Tensor, int]:
        return self._transforms(self._images[row].permute(2, 0, 1)), int(self._labels[row])


def view_of(learner: LightningLearner, rows: int) -> View:
    """Returns the first rows of the pool."""
    chosen = learner.data.pool_rows[:rows]
    return View(chosen, learner.data.reveal(chosen))


def wait(learner: LightningLearner) -> None:
    """Waits for the device."""
    if learner.hardware.device.type == "cuda":
        torch.cuda.synchronize()


def fed_by(learner: LightningLearner, loading: Loading) -> LightningLearner:
    """Returns the learner, making its batches in another way."""
    other = copy(learner)
    other.data = replace(learner.data, loading=loading)
    return other


def loader_of(learner: LightningLearner, view: View, seed: int) -> Any:
    """Returns the loader that the learner trains with."""
    how, device = learner.recipe.augmentation, learner.hardware.device
    size = learner.recipe.batch_size
    return make_loader(learner.data, view, batch_size=size, how=how, seed=seed, device=device)


def seconds_of(learner: LightningLearner, batches: Any) -> float:
    """Goes over an epoch, each batch on the device, and returns the seconds for a batch."""
    device = learner.hardware.device
    wait(learner)
    start = time.perf_counter()
    for batch in batches:
        if not isinstance(batch, Batch):  # alframe's are there
            for values in batch:
                values.to(device)
    wait(learner)
    return (time.perf_counter() - start) / len(batches)


def batches(learner: LightningLearner, rows: int) -> Iterator[tuple[str, Contenders]]:
    """Yields the case of batches."""
    view = view_of(learner, rows)
    workers = Loading("workers")
    with (
        closing(loader_of(fed_by(learner, workers), view, 0)) as by_workers,
        closing(loader_of(fed_by(learner, Loading("device")), view, 0)) as by_device,
    ):
        per_row = DataLoader(PerRow(learner, view), batch_size=PAPERS, shuffle=True)
        yield (
            f"batches of {PAPERS}",
            {
                "alframe, on the device": lambda: seconds_of(learner, by_device),
                "torchvision, row by row": lambda: seconds_of(learner, per_row),
                f"alframe, {workers.processes} workers": lambda: seconds_of(learner, by_workers),
            },
        )


class Training:
    """One network trained in several ways, each from the same weights on the same batches."""

    def __init__(self, learner: LightningLearner, rows: int) -> None:
        self.learner = learner
        self.view = view_of(learner, rows)
        self.weights: dict[str, dict[str, torch.Tensor]] = {}
        self.seed = int(np.random.default_rng(0).integers(2**31))  # as the learner draws it

    def _start(self) -> tuple[nn.Module, Any]:
        torch.manual_seed(self.seed)
        device = self.learner.hardware.device
        model = self.learner.build().to(device).train()
        return model, loader_of(self.learner, self.view, self.seed)

    def _loop(self, name: str, model: nn.Module, loader: Any, step: Callable[[Any], None]) -> float:
        epochs = self.learner.recipe.total_epochs(len(loader))
        wait(self.learner)
        start = time.perf_counter()
        for epoch in range(epochs):
            loader.set_epoch(epoch)
            for batch in loader:
                step(batch)
        wait(self.learner)
        self.weights[name] = model.state_dict()
        return (time.perf_counter() - start) / (epochs * len(loader))

    def bare(self) -> float:
        """Plain PyTorch."""
        model, loader = self._start()
        of, recipe = self.learner.hardware, self.learner.recipe
        fused = of.device.type == "cuda"
        optimizer, schedule = recipe.optimizer(model, len(loader), fused)
        run = torch.compile(model, dynamic=False) if of.compile is True else model

        def step(batch: Any) -> None:
            optimizer.zero_grad()
            with torch.autocast(of.device.type, of.autocast, of.autocast is not None):
                logits = run(batch.inputs)
                loss = F.cross_entropy(logits, batch.labels, label_smoothing=recipe.label_smoothing)
            loss.backward()
            optimizer.step()
            schedule.step()

        return self._loop("bare", model, loader, step)

    def same_step(self) -> float:
        """The step that alframe takes, without Lightning."""
        model, loader = self._start()
        of, recipe = self.learner.hardware, self.learner.recipe
        fused = of.device.type == "cuda"
        optimizer, schedule = recipe.optimizer(model, len(loader), fused)
        objective = Objective(model, self.learner.task, recipe.label_smoothing)
        compiled = recipe.batch_size if of.compile is True else 0
        step = Step(objective, optimizer, schedule, of, compiled)
        return self._loop("same step", model, loader, step)

    def alframe(self) -> float:
        """The learner, seconds of its training steps as its metrics have them."""
        workspace = FitWorkspace(None, "bench", Silent())
        fitted = self.learner.fit(self.view, np.random.default_rng(0), [], workspace)
        self.weights["alframe"] = fitted.model.state_dict()
        batches = len(loader_of(self.learner, self.view, self.seed))
        return fitted.seconds / (batches * self.learner.recipe.total_epochs(batches))

    def check(self) -> None:
        """On the CPU, where sums have one order: all ways end with the same weights."""
        if self.learner.hardware.device.type == "cpu":
            first, *others = self.weights.values() or ({},)
            for other in others:
                for name, values in first.items():
                    torch.testing.assert_close(other[name], values, rtol=1e-2, atol=1e-3)


def learner_of(words: list[str]) -> tuple[LightningLearner, str]:
    """Builds a ResNet-20 on CIFAR-10 that tests itself on few rows, and names the device."""
    common = ["data=cifar10", "data.validation=0", "learner@target=resnet20"]
    common += ["recipe@target.recipe=one_cycle_cpu", "target.recipe.curve_every=0"]
    parts, device = parts_of([*common, *words])
    learner = parts.target
    assert isinstance(learner, LightningLearner)
    data = learner.data
    few = {"test_inputs": data.test_inputs[:128], "test_labels": data.test_labels[:128]}
    learner.data = replace(data, **few)
    return learner, device


def training(rows: int, epochs: int) -> Iterator[tuple[str, Contenders]]:
    """Yields the cases of training, and checks each when it is measured."""
    gpu = torch.cuda.is_available()
    settings = [(PAPERS, "false")]
    if gpu:
        settings += [(PAPERS, "true"), (1024, "false"), (1024, "true")]
    for size, compiled in settings:
        words = [f"target.recipe.epochs={epochs}", f"target.recipe.batch_size={size}"]
        learner, _ = learner_of([*words, f"trainer.compile={compiled}"])
        work = Training(learner, rows // size * size)
        name = f"ResNet-20, step of {size}{', compiled' if compiled == 'true' else ''}"
        yield (
            name,
            {
                "bare loop": work.bare,
                SAME_STEP: work.same_step,
                "alframe": work.alframe,
            },
        )
        work.check()  # of nothing, where the case was left out
    learner, _ = learner_of(["target.recipe.epochs=2", "trainer.compile=false"])
    of_device, of_workers = (
        Training(fed_by(learner, how), rows // PAPERS * PAPERS)
        for how in (Loading("device"), Loading("workers"))
    )
    yield (
        f"ResNet-20, step of {PAPERS}, batches made",
        {"on the device": of_device.alframe, "by workers": of_workers.alframe},
    )


def measured(case: str, contenders: Contenders, repeats: int) -> list[dict[str, Any]]:
    """Lets the contenders take turns; returns a row for each, beside the first one."""
    for work in contenders.values():
        work()
    turns = [{name: work() for name, work in contenders.items()} for _ in range(repeats)]
    first = next(iter(contenders))

    def ratio(name: str, base: str) -> float:
        return round(statistics.median(turn[name] / turn[base] for turn in turns), 4)

    return [
        {
            "case": case,
            "contender": name,
            "milliseconds": round(1000 * statistics.median(turn[name] for turn in turns), 4),
            "times_as_long": ratio(name, first),
            "times_the_same_step": ratio(name, SAME_STEP) if SAME_STEP in contenders else None,
        }
        for name in contenders
    ]


def main() -> None:
    """Measures the cases and writes the table."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--small", action="store_true", help="a few steps; nothing is kept")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--minutes", type=float, default=math.inf, help="then begin no other case")
    parser.add_argument("--into", type=Path, default=RESULTS, help="(default: results/)")
    options = parser.parse_args()
    repeats = 1 if options.small else options.repeats
    rows, epochs = (49_920, 5) if torch.cuda.is_available() else (1_280, 4)
    rows, epochs = (384, 1) if options.small else (rows, epochs)
    set_up_logging()
    warnings.filterwarnings("ignore", module="pytorch_lightning|lightning_fabric")
    learner, device = learner_of([])
    print(f"{device}; medians of {repeats}\n")
    print("| case | contender | ms | times as long as the first | as the same step |")
    print("|---|---|---|---|---|")
    begun, table = time.monotonic(), list[dict[str, Any]]()
    cases = chain(batches(learner, 10 * rows if options.small else 12_800), training(rows, epochs))
    for case, contenders in cases:
        if time.monotonic() - begun > 60 * options.minutes:
            print(f"left out: {case}")
            continue
        found = measured(case, contenders, repeats)
        print(*map(line, found), sep="\n", flush=True)
        table += found
        if not options.small:
            keep(table, device, repeats, options.into)


def line(row: dict[str, Any]) -> str:
    """Returns a row as Markdown."""
    same = row["times_the_same_step"]
    return (
        f"| {row['case']} | {row['contender']} | {row['milliseconds']} "
        f"| {row['times_as_long']:.3f} | {'' if same is None else f'{same:.3f}'} |"
    )


def keep(table: list[dict[str, Any]], device: str, repeats: int, folder: Path) -> None:
    """Writes what there is so far."""
    kept = {
        "command": f"python scripts/bench_training.py --repeats {repeats}",
        "device": device,
        "versions": versions(),
        "git": git_state(),
        "seed": 0,
        "date": datetime.now(UTC).date().isoformat(),
        "cases": table,
    }
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "bench_training.json").write_text(json.dumps(kept, indent=1) + "\n")


if __name__ == "__main__":
    main()
