"""Embeddings of a frozen encoder on disk, memory-mapped, in shards.

A store is a folder: ``store.json`` says what the embeddings are of, and ``shard_00000.npy``,
``shard_00001.npy``, ... hold them, row after row. numpy alone reads a shard:
``np.load("shard_00000.npy", mmap_mode="r")`` gives an array [rows, width].

What they are of is the store's key: the sha256 of the inputs and how they are standardized, the
split, the encoder's name, the sha256 of its weights, and the type that is stored. An index that was
built on a store keeps the key, so that it is never searched with other embeddings.
`alframe.store.writer` fills stores.
"""

from alframe.store.plan import Plan
from alframe.store.reading import Store
from alframe.store.writer import Filled, StoreWriter, Work

__all__ = ["Filled", "Plan", "Store", "StoreWriter", "Work"]
