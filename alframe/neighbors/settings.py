"""The settings of an index of FAISS."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypedDict

from alframe.errors import UserError
from alframe.neighbors.audit import Audit
from alframe.neighbors.index import check_metric_option
from alframe.options import check_whole, is_number


class Options(TypedDict, total=False):
    """The fields of `Settings`, as a config names them."""

    metric: str
    drop_invalid: bool
    nprobe: int | None
    ef_search: int | None
    refine: int
    train_rows: int | None
    seed: int
    memory_gib: float | None
    gpu: bool
    min_recall: float
    on_low_recall: str


@dataclass(frozen=True)
class Settings:
    """How an index of FAISS is built and searched.

    Attributes:
        metric: euclidean, cosine or dot.
        drop_invalid: Leave out rows that are NaN, infinite or (under cosine) zero, rather than
            refuse them.
        nprobe: Inverted lists that a search looks into; None = 64. More find more, and take longer.
        ef_search: Rows that a search of a graph keeps in view; None = 128.
        refine: Look for so many times k rows, and decide among them in float64 by the source's own
            embeddings, ties to the lowest row; 0 = do not.
        train_rows: Random rows that the index is trained on; None = 64 for each list, 65,536 at
            least.
        seed: Draws them, and starts the k-means of the lists.
        memory_gib: Refuse an index, or rows to train it on, that take more; None = what is free.
        gpu: Search on GPUs where FAISS sees one and has the kind for it.
        min_recall: What the recall against exact search must reach, in [0, 1].
        on_low_recall: What is done below it: warn or refuse.
    """

    metric: str = "euclidean"
    drop_invalid: bool = False
    nprobe: int | None = None
    ef_search: int | None = None
    refine: int = 0
    train_rows: int | None = None
    seed: int = 0
    memory_gib: float | None = None
    gpu: bool = True
    min_recall: float = 0.9
    on_low_recall: str = "warn"

    def __post_init__(self) -> None:
        check_metric_option(self.metric)
        check_whole("index.refine", self.refine, at_least=0)
        check_whole("index.seed", self.seed, at_least=0)
        for name in ("nprobe", "ef_search", "train_rows"):
            value = getattr(self, name)
            if value is not None:
                check_whole(f"index.{name}", value, at_least=1)
        if self.memory_gib is not None and not (is_number(self.memory_gib) and self.memory_gib > 0):
            raise UserError(f"index.memory_gib={self.memory_gib}: expected null or GiB above 0.")
        self.audit  # noqa: B018  refuses other options

    @property
    def audit(self) -> Audit:
        """How the index is to be measured."""
        return Audit(min_recall=self.min_recall, on_low_recall=self.on_low_recall, seed=self.seed)

    @property
    def effort(self) -> dict[str, int]:
        """How hard a search looks, by FAISS's names."""
        return {"nprobe": self.nprobe or 64, "efSearch": self.ef_search or 128}
