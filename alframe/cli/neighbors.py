"""Builds the neighborhood of a run: an index of the embeddings of a store, or of the inputs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from alframe.cli.kept import Words, judged, measured, place_of, ready, recall_of
from alframe.data.dataset import Dataset
from alframe.data.on_embeddings import made_by, open_store
from alframe.encoders.raw import RawEncoder
from alframe.neighbors.index import NeighborIndex
from alframe.neighbors.neighborhood import Neighborhood
from alframe.neighbors.source import ArraySource, EmbeddingSource
from alframe.parts import Parts


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
        return Neighborhood(index, source, raw, judged(index, measured(index, source)))
    place = place_of(words, store)
    ready(index, store, place)
    found = recall_of(index, words, store, place)
    return Neighborhood(index, store, made_by(store), judged(index, found))


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
