"""What errors name: the config keys of whoever fills a store."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Keys:
    """The config keys with which a store is filled.

    Attributes:
        folder: Of the store's folder.
        dtype: Of the type that is stored.
        drop: What leaves rows out that cannot be searched.
        memory: What lets an encoder do with less memory.
    """

    folder: str
    dtype: str
    drop: str
    memory: str


EMBED = Keys(
    folder="out",
    dtype="store.dtype",
    drop="set store.invalid=drop and run alframe-embed again to leave these rows out",
    memory="lower batch_size",
)
"""Those of alframe-embed."""

RUN = Keys(
    folder="embeddings.dir",
    dtype="embeddings.dtype",
    drop="fill the stores with alframe-embed and store.invalid=drop, and name them in "
    "embeddings.train and embeddings.test, to leave these rows out",
    memory="choose a smaller embeddings.encoder, or fill the stores with alframe-embed and a lower "
    "batch_size, and name them in embeddings.train and embeddings.test",
)
"""Those of a run with an ``embeddings.encoder``."""
