"""The arrays that scripts/bench_selection.py measures on: real embeddings and random ones."""

from __future__ import annotations

import os
from functools import partial
from pathlib import Path

import numpy as np

CACHE = Path(__file__).parents[1] / "runs" / "bench_cache"
SMALL = bool(os.environ.get("BENCH_SMALL"))


def rows_of(count):
    """A hundredth of the rows where the benchmark is only tried out."""
    return max(count // 100, 200) if SMALL else count


def isotropic(rows, width):
    """Gaussian in every direction: the worst case, where all rows are about as far."""
    rng = np.random.default_rng(0)
    return rng.standard_normal((rows_of(rows), width), dtype=np.float32)


def clustered(rows, width, clusters=200):
    """Gaussian clusters of different sizes and spreads."""
    rng = np.random.default_rng(0)
    rows = rows_of(rows)
    sizes = rng.dirichlet(np.full(clusters, 0.5))
    home = rng.choice(clusters, rows, p=sizes)
    centers = 5 * rng.standard_normal((clusters, width), dtype=np.float32)
    spread = rng.uniform(0.2, 1.5, clusters).astype(np.float32)
    points = rng.standard_normal((rows, width), dtype=np.float32)
    points *= spread[home, None]
    for start in range(0, rows, 10_000):
        points[start : start + 10_000] += centers[home[start : start + 10_000]]
    return points


def duplicates(rows, width):
    """Every distinct row five times."""
    distinct = isotropic(rows, width)[: rows_of(rows) // 5]
    return np.random.default_rng(1).permutation(np.repeat(distinct, 5, axis=0))


def digits():
    """scikit-learn's digits, 1,797 x 64."""
    from sklearn.datasets import load_digits

    return load_digits().data.astype(np.float32)


def badge(rows, labels, width):
    """Probabilities of a fairly sure classifier, and embeddings after a ReLU."""
    rng = np.random.default_rng(0)
    rows = rows_of(rows)
    logits = 3 * rng.standard_normal((rows, labels), dtype=np.float32)
    odds = np.exp(logits - logits.max(1, keepdims=True))
    embeddings = rng.standard_normal((rows, width), dtype=np.float32).clip(0)
    return odds / odds.sum(1, keepdims=True), embeddings


def cifar10_resnet20():
    """Embeddings of CIFAR-10's 50,000 training images by a ResNet-20 that alframe trains.

    12 one-cycle epochs on a stratified 8,000 images (`experiment=svp_cifar10_small`); some minutes
    on two CPU cores, kept in runs/bench_cache.
    """
    file = CACHE / f"cifar10_resnet20{'_small' if SMALL else ''}.npy"
    if not file.is_file():
        from bench_dynamics import Silent, parts_of

        from alframe.pipelines.stages import FitWorkspace
        from alframe.protocols import Need, View

        words = ["experiment=svp_cifar10_small", "target.recipe.curve_every=0"]
        words += ["data.subset=200", "target.recipe.epochs=1"] if SMALL else []
        parts, _ = parts_of(words)
        rows = parts.data.pool_rows
        view = View(rows, parts.data.reveal(rows))
        workspace = FitWorkspace(None, "bench", Silent())
        fitted = parts.target.fit(view, np.random.default_rng(0), [], workspace)
        every = np.arange(rows_of(parts.data.num_rows))
        need = Need("embeddings")
        embeddings = fitted.observe({need: every}).embeddings(every).cpu().numpy()
        CACHE.mkdir(parents=True, exist_ok=True)
        np.save(file, embeddings)
    return np.load(file)


DATA = {
    "cifar10_resnet20": cifar10_resnet20,
    "clustered": partial(clustered, 50_000, 64),
    "isotropic": partial(isotropic, 50_000, 64),
    "duplicates": partial(duplicates, 50_000, 64),
    "digits": digits,
    "clustered_wide": partial(clustered, 100_000, 256),
    "isotropic_wide": partial(isotropic, 100_000, 256),
    "clustered_10k": partial(clustered, 10_000, 64),
    "million": partial(clustered, 1_000_000, 256),
    "badge": partial(badge, 50_000, 10, 512),
}
