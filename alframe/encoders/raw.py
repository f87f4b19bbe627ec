"""The inputs themselves, as a linear probe sees them."""

from __future__ import annotations

import math

import numpy as np

from alframe.data.dataset import Dataset
from alframe.protocols import Array


class RawEncoder:
    """Gives the inputs, flattened, standardized as the dataset says.

    Args:
        data: Whose inputs are embedded.
    """

    name = "raw"
    weights_hash = "none"

    def __init__(self, data: Dataset) -> None:
        self._mean, self._std = data.mean, data.std
        self.width = math.prod(data.input_shape)

    def embed(self, inputs: Array) -> Array:
        """See `alframe.encoders.protocol.Encoder.embed`."""
        standardized: Array = (inputs.astype(np.float32) - self._mean) / self._std
        return standardized.reshape(len(inputs), -1)
