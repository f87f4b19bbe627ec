"""Builds the neighborhood of a run: an index of the embeddings of a store, or of the inputs."""

from __future__ import annotations

import hashlib
import json
import logging
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from alframe.data.dataset import Dataset
from alframe.data.on_embeddings import made_by, open_store
from alframe.encoders.raw import RawEncoder
from alframe.files import write_json
from alframe.neighbors.audit import Audit, Recall
from alframe.neighbors.exact import ExactIndex
from alframe.neighbors.index import NeighborIndex
from alframe.neighbors.neighborhood import Neighborhood
from alframe.neighbors.saving import META
from alframe.neighbors.source import ArraySource, EmbeddingSource
from alframe.parts import Parts
from alframe.run_dir import HeldError, take_lock
from alframe.store import Store

log = logging.getLogger(__name__)
POLL = 0.5  # seconds between two looks at another process's lock
HARMLESS = ("min_recall", "on_low_recall", "gpu", "device", "keep_gib")
"""Keys of an index that change neither what is built nor, but for rounding, what is found."""
SEARCHES = ("nprobe", "ef_search", "refine")
"""Keys of an index that change what is found, but not what is built."""

Words = Mapping[str, Any]


def neighborhood(
    data: Dataset, index: NeighborIndex, words: Words, folder: str | None
) -> Neighborhood:
    """Returns the neighborhood of the rows of a dataset.

    An index of a store is built once and kept beside the embeddings, for all runs that ask for the
    same one; while a process builds it, others wait. Its recall is measured once, too, and judged
    in every run.

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
        raw = {"encoder": RawEncoder.name, "weights": RawEncoder.weights_hash}
        return Neighborhood(index, source, raw, _judged(index, _recall(index, source)))
    place = store.folder / f"index_{_hash(words, [*HARMLESS, *SEARCHES], store.key)}"
    recall_file = place / f"recall_{_hash(words, HARMLESS, store.key)}.json"
    try:
        found = _kept(index, store, place, recall_file)
    except OSError as error:  # a disk that is full, or a store that may only be read
        log.warning("the index is for this run alone: %s cannot be written (%s)", place, error)
        index.build(store)
        found = _recall(index, store)
    return Neighborhood(index, store, made_by(store), _judged(index, found))


def facts(config: Mapping[str, Any], parts: Parts, found: Neighborhood | None) -> dict[str, Any]:
    """Returns, for the run's record, whose embeddings the index and the selector look at.

    Nothing where all look at the inputs.

    Args:
        config: The composed config, plain.
        parts: Built from it.
        found: The neighborhood of the candidate rule, or None.
    """
    seen = parts.data.stores.get("train")
    if found is None and seen is None:
        return {}
    role = parts.role(parts.selector)
    learner = (config.get("choices") or {}).get(role) or type(parts.selector).__name__
    inputs = {"data": parts.data.name} if seen is None else made_by(seen)
    embeddings: dict[str, Any] = {"selector": {"role": role, "learner": learner, "of": inputs}}
    if found is None:
        return {"embeddings": embeddings}
    embeddings["index"] = found.embeddings
    return {"embeddings": embeddings, "recall": found.recall, "faiss": found.faiss}


def _kept(index: NeighborIndex, store: Store, place: Path, recall_file: Path) -> Words:
    """Loads the index that is beside a store, or builds it there; returns its recall."""
    with _held(place):
        if (place / META).is_file():
            index.load(place, store)
        else:
            start = time.perf_counter()
            store.verify()
            index.build(store)
            index.save(place)
            seconds = time.perf_counter() - start
            log.info("index of %d rows built in %.1f s: %s", store.num_rows, seconds, place)
        if not recall_file.is_file():
            write_json(recall_file, _recall(index, store))
    recall: Words = json.loads(recall_file.read_text())
    return recall


def _recall(index: NeighborIndex, source: EmbeddingSource) -> dict[str, Any]:
    """Measures an index that is not exact."""
    if index.describe()["kind"] == "exact":
        return {}
    exact = ExactIndex(metric=index.metric, drop_invalid=True)
    exact.build(source)
    return _audit(index).recall(index, source, exact).record()


def _judged(index: NeighborIndex, recall: Words) -> Words:
    if recall:
        _audit(index).judge(Recall(**recall))
    return recall


def _audit(index: NeighborIndex) -> Audit:
    audit: Audit = getattr(index, "audit", Audit())
    return audit


def _hash(words: Words, but: Iterable[str], key: str) -> str:
    kept = {name: value for name, value in words.items() if name not in but}
    signed = json.dumps([kept, key], sort_keys=True, default=str)
    return hashlib.sha256(signed.encode()).hexdigest()[:12]


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
