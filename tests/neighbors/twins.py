"""The nearest rows by the definition, and embeddings to search."""

import numpy as np


def brute(points, queries, k, metric, exclude=None, invalid=()):
    """Values [m, k] and rows [m, k] by float64, one query after the other."""
    x, values, rows = points.astype(np.float64), [], []
    for i, query in enumerate(queries.astype(np.float64)):
        if metric == "euclidean":
            badness = np.sqrt(((x - query) ** 2).sum(axis=1))
        else:
            badness = -(x @ query)
            if metric == "cosine":
                badness /= np.sqrt((x**2).sum(axis=1)) * np.sqrt((query**2).sum())
        left_out = {*invalid, *([] if exclude is None else [exclude[i]])}
        order = [row for row in np.argsort(badness, kind="stable") if row not in left_out][:k]
        rows.append(order)
        values.append(badness[order] * (1 if metric == "euclidean" else -1))
    return np.array(values), np.array(rows)


def clusters(rows, width, seed=0, centers=30):
    rng = np.random.default_rng(seed)
    middle = 3 * rng.standard_normal((centers, width))
    points = middle[rng.integers(0, centers, rows)] + rng.standard_normal((rows, width))
    return points.astype(np.float32)


class Chunked:
    """A source that gives chunks of odd sizes, as shards end where they end."""

    def __init__(self, source, at_most):
        self.source, self.at_most = source, at_most
        self.num_rows, self.width, self.key = source.num_rows, source.width, source.key

    def chunks(self, rows_per_chunk):
        yield from self.source.chunks(min(self.at_most, rows_per_chunk))

    def take(self, rows):
        return self.source.take(rows)
