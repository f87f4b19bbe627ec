"""Nearest neighbors by their definition, for small pools."""

from __future__ import annotations

import numpy as np
from scipy.spatial.distance import cdist


class PlainNeighbors:
    """Sorts all distances; notes which rows were searched for."""

    def __init__(self, where):
        self.where = where
        self.num_rows = len(where)
        self.searched = []

    def of(self, rows, k):
        self.searched.append(np.asarray(rows))
        distances = cdist(self.where[rows], self.where)
        distances[np.arange(len(rows)), rows] = np.inf
        return distances.argsort(axis=1, kind="stable")[:, :k]

    def points(self, rows):
        return self.where[rows].astype(np.float32)
