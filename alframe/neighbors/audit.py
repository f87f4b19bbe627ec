"""How much of what exact search finds an index finds."""

from __future__ import annotations

import logging
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from alframe.errors import UserError
from alframe.neighbors.exact import ExactIndex
from alframe.neighbors.index import NeighborIndex
from alframe.neighbors.source import EmbeddingSource
from alframe.options import check_range, check_whole
from alframe.protocols import Array, Rows

log = logging.getLogger(__name__)
ON_LOW = ("warn", "refuse")


@dataclass(frozen=True)
class Recall:
    """What an audit found.

    Attributes:
        recall: Mean over the queries, in [0, 1].
        lowest: Of one query.
        k: Rows that each query looked for.
        queries: How many there were.
        seed: What drew them.
    """

    recall: float
    lowest: float
    k: int
    queries: int
    seed: int

    def record(self) -> dict[str, Any]:
        """Returns it as JSON values."""
        return asdict(self)


@dataclass(frozen=True)
class Audit:
    """Measures an index on some of its own rows.

    Attributes:
        queries: How many rows are drawn; fewer where there are not so many.
        k: Neighbors of each; fewer where there are not so many.
        min_recall: What the mean recall must reach, in [0, 1].
        on_low_recall: What is done below it: warn or refuse.
        seed: Draws the rows.
        remedies: Config keys that make the index find more, if they are raised.
    """

    queries: int = 200
    k: int = 100
    min_recall: float = 0.9
    on_low_recall: str = "warn"
    seed: int = 0
    remedies: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        check_whole("queries", self.queries, at_least=1)
        check_whole("k", self.k, at_least=1)
        check_whole("index.seed", self.seed, at_least=0)
        check_range("index.min_recall", self.min_recall, 0, 1)
        if self.on_low_recall not in ON_LOW:
            raise UserError(
                f"index.on_low_recall={self.on_low_recall}: expected one of {', '.join(ON_LOW)}."
            )

    def recall(self, index: NeighborIndex, source: EmbeddingSource, exact: ExactIndex) -> Recall:
        """Returns the recall of an index against exact search, its own rows left out.

        Args:
            index: Built on the source.
            source: The embeddings.
            exact: Built on the source, with the same metric.

        Raises:
            UserError: Where there are fewer than two rows.
        """
        if index.metric != exact.metric:
            raise ValueError(f"expected one metric, got {index.metric} and {exact.metric}")
        valid = np.setdiff1d(np.arange(source.num_rows), exact.invalid, assume_unique=True)
        if len(valid) < 2:
            raise UserError(f"expected two rows or more for an audit, got {len(valid)}")
        rng, k = np.random.default_rng(self.seed), min(self.k, len(valid) - 1)
        rows = np.sort(rng.choice(valid, min(self.queries, len(valid)), replace=False))
        queries = source.take(rows)
        shares = recalls(exact.search(queries, k, rows)[1], index.search(queries, k, rows)[1])
        return Recall(float(shares.mean()), float(shares.min()), k, len(rows), self.seed)

    def judge(self, found: Recall) -> None:
        """Warns of a recall below the minimum, or refuses it.

        Raises:
            UserError: If it is to be refused.
        """
        raised = f"raise {' or '.join(self.remedies)}, " if self.remedies else ""
        words = (
            f"recall@{found.k} of the index is {found.recall:.3f} on {found.queries} rows: "
            f"expected index.min_recall={self.min_recall:g} or more; {raised}set index=exact, or "
            "lower index.min_recall"
        )
        if found.recall >= self.min_recall:
            log.info("recall@%d of the index is %.3f", found.k, found.recall)
        elif self.on_low_recall == "refuse":
            raise UserError(words)
        else:
            log.warning("%s", words)


def recalls(true: Rows, found: Rows) -> Array:
    """Returns the share of the true rows [m, k] that were found [m, k], for each query [m]."""
    hits = [len(np.intersect1d(a, b)) for a, b in zip(true, found, strict=True)]
    shares: Array = np.array(hits, dtype=np.float64) / true.shape[1]
    return shares
