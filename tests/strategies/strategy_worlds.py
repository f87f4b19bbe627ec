"""Synthetic rows for the tests of strategies: random values, gappy and shuffled row numbers."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

import hydra
import numpy as np
import torch
from omegaconf import OmegaConf

from alframe.cli.build import build
from alframe.observations import Table, TableObservations, one_pass
from alframe.pool import Pool
from alframe.selection import scoped

CONFIGS = Path(__file__).parents[2] / "configs"
NAMES = sorted(path.stem for path in (CONFIGS / "strategy").glob("*.yaml"))


@cache
def _node(name):
    with hydra.initialize_config_dir(str(CONFIGS), version_base="1.3"):
        config = hydra.compose(f"strategy/{name}")
    return OmegaConf.to_container(config.strategy, resolve=True)


def strategy_of(name):
    """Builds configs/strategy/NAME.yaml as the command line does."""
    return build({"strategy": _node(name)}, "strategy", seed=0)


@dataclass(frozen=True)
class World:
    """Values of some rows; ``rows[i]`` is a row number, in no order, with gaps between them."""

    num_rows: int
    rows: np.ndarray
    labeled: np.ndarray
    candidates: np.ndarray
    labels: np.ndarray
    probs: torch.Tensor
    mc_probs: torch.Tensor  # [n, DRAWS, labels]
    embeddings: torch.Tensor
    dynamics: torch.Tensor  # [epochs, n, fields], in the order of FIELDS

    def pool(self, pipeline):
        pool = Pool(self.num_rows, self.rows)
        if pipeline == "core_set":
            pool.disclose(self.rows, self.labels)
        elif len(self.labeled):
            known = np.searchsorted(np.sort(self.rows), self.labeled)
            pool.ask(self.labeled, 0)
            pool.label(self.labeled, self.labels[np.argsort(self.rows)][known], 0)
        return pool


FIELDS = ("probability", "margin", "correct", "error_norm", "gradient_norm")
DRAWS = 20  # at least as many as any configured strategy asks for


def world(seed=0, rows=53, labeled=12, candidates=37, classes=5, epochs=None):
    """Draws a world without ties (but for forgetting events where ``epochs`` are few)."""
    rng = np.random.default_rng(seed)
    numbers = rng.choice(20 * rows, rows, replace=False)
    dynamics = rng.random((epochs or 2 * rows + 3, rows, len(FIELDS)))
    correct = _distinct_histories(rng.permutation(rows), len(dynamics))
    dynamics[..., FIELDS.index("correct")] = correct
    return World(
        num_rows=20 * rows,
        rows=numbers,
        labeled=np.sort(numbers[:labeled]),
        candidates=np.sort(numbers[labeled : labeled + candidates]),
        labels=rng.integers(classes, size=rows),
        probs=torch.from_numpy(rng.dirichlet(np.ones(classes), rows)),
        mc_probs=torch.from_numpy(rng.dirichlet(np.ones(classes), (rows, DRAWS))),
        embeddings=torch.from_numpy(rng.normal(size=(rows, 4))),
        dynamics=torch.from_numpy(dynamics),
    )


def _distinct_histories(forgotten, epochs):
    """Returns [epochs, rows] of 0 and 1 in which row i is forgotten ``forgotten[i]`` times."""
    epochs = np.arange(epochs)[:, None]
    return (epochs % 2 == 0) & (epochs // 2 < forgotten) | (epochs >= 2 * forgotten + 1)


def renumbered(before, seed=1, same_order=False):
    """Returns the same rows under other numbers, and the new number of each old one."""
    numbers = np.random.default_rng(seed).permutation(2 * before.num_rows)[: before.num_rows]
    numbers = np.sort(numbers) if same_order else numbers
    after = replace(
        before,
        num_rows=2 * before.num_rows,
        rows=numbers[before.rows],
        labeled=np.sort(numbers[before.labeled]),
        candidates=np.sort(numbers[before.candidates]),
    )
    return after, numbers


def observe(strategy, seen, pool, batch=7):
    """Returns what the strategy declared to need, and nothing else."""
    order = np.argsort(seen.rows)
    rows = seen.rows[order]
    passed = {"probs": seen.probs, "mc_probs": seen.mc_probs, "embeddings": seen.embeddings}
    passed = {what: values[order] for what, values in passed.items()}
    requests = {need: scoped(need, seen.candidates, pool) for need in strategy.needs}
    starts = range(0, len(rows), batch)
    batches = (
        (rows[i : i + batch], {what: values[i : i + batch] for what, values in passed.items()})
        for i in starts
    )
    tables = one_pass(requests, batches)
    for need, asked in requests.items():
        if need.what == "dynamics":
            columns = [FIELDS.index(field) for field in need.fields]
            at = np.searchsorted(rows, asked)
            history = seen.dynamics[: need.until_epoch, order][:, at][..., columns]
            tables[need] = Table(asked, history, "dynamics", need.fields)
    return TableObservations(tables)


def select(strategy, seen, size, seed=0, pipeline=None, batch=7):
    """Lets the strategy pick from a world, in the first pipeline where it is defined."""
    pool = seen.pool(pipeline or min(strategy.pipelines))
    observations = observe(strategy, seen, pool, batch)
    rng = np.random.default_rng(seed)
    return strategy.select(size, seen.candidates, pool, observations, rng)
