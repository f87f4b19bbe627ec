"""Builds the neighborhood of a run: an index of the embeddings of a store, or of the inputs."""

from __future__ import annotations

import hashlib
import json
import logging
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from alframe.data.dataset import Dataset
from alframe.data.on_embeddings import open_store
from alframe.encoders.raw import RawEncoder
from alframe.files import write_json
from alframe.neighbors.audit import Audit
from alframe.neighbors.exact import ExactIndex
from alframe.neighbors.index import NeighborIndex
from alframe.neighbors.neighborhood import Neighborhood
from alframe.neighbors.saving import META
from alframe.neighbors.source import ArraySource, EmbeddingSource
from alframe.run_dir import HeldError, take_lock

log = logging.getLogger(__name__)
RECALL = "recall.json"
POLL = 0.5  # seconds between two looks at another process's lock


def neighborhood(
    data: Dataset, index: NeighborIndex, words: Mapping[str, Any], folder: str | None
) -> Neighborhood:
    """Returns the neighborhood of the rows of a dataset.

    An index of a store is built once and kept beside the embeddings, for all runs that ask for the
    same one; while a process builds it, others wait.

    Args:
        data: Whose rows are searched.
        index: As the config made it, not built.
        words: Its config: another one is another index.
        folder: Of the store (the config key ``embeddings.train``); None = the inputs themselves,
            which may lie in a store.

    Raises:
        UserError: If the store is of other rows, or embeddings or index are not to be used.
    """
    store = data.stores.get("train") if folder is None else open_store(folder, data, "train")
    if store is None:
        source: EmbeddingSource = ArraySource(RawEncoder(data).embed(data.inputs))
        index.build(source)
        return Neighborhood(index, source, _recall(index, source))
    signed = json.dumps([dict(words), store.key], sort_keys=True, default=str)
    place = store.folder / f"index_{hashlib.sha256(signed.encode()).hexdigest()[:12]}"
    took = {}
    with _held(place):
        if (place / META).is_file():
            index.load(place, store)
        else:
            start = time.perf_counter()
            index.build(store)
            took = {"build_seconds": round(time.perf_counter() - start, 1)}
            index.save(place)
            log.info("index of %d rows built in %s s", store.num_rows, took["build_seconds"])
        if not (place / RECALL).is_file():
            write_json(place / RECALL, {**_recall(index, store), **took})
    return Neighborhood(index, store, json.loads((place / RECALL).read_text()))


def _recall(index: NeighborIndex, source: EmbeddingSource) -> dict[str, Any]:
    """Measures an index that is not exact."""
    if index.describe()["kind"] == "exact":
        return {}
    audit: Audit = getattr(index, "audit", Audit())
    exact = ExactIndex(metric=index.metric, drop_invalid=True)
    exact.build(source)
    return audit.measure(index, source, exact).record()


@contextmanager
def _held(folder: Path) -> Iterator[None]:
    """Waits until no other process builds or reads the index."""
    folder.mkdir(parents=True, exist_ok=True)
    said = False
    while True:
        try:
            lock = take_lock(folder)
            break
        except HeldError as held:
            if not said:
                log.info("%s builds the index in %s: waiting", held, folder)
            said = True
            time.sleep(POLL)
    with lock:
        yield
