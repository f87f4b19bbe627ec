"""What an encoder promises."""

from __future__ import annotations

from typing import Protocol

from alframe.protocols import Array


class Encoder(Protocol):
    """Turns inputs into embeddings, each row on its own, the same way every time.

    Attributes:
        name: What it is, in a word; part of the key of a store.
        weights_hash: sha256 (hex) of all numbers that decide an embedding; ``none`` where there
            are none beside the dataset's own mean and standard deviation.
        width: Values of an embedding.
    """

    name: str
    weights_hash: str
    width: int

    def embed(self, inputs: Array) -> Array:
        """Returns embeddings.

        Args:
            inputs: Of some rows, as the dataset has them: uint8 images [b, h, w, c] or float32
                features [b, d]; as many as fit the device at a time.

        Returns:
            float32 [b, width], in the same order.
        """
        ...
