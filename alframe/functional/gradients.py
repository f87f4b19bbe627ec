"""Last-layer gradients that are never built: each is an outer product of two short vectors.

The gradient of the cross-entropy of row i in the weights of the last layer is the outer product of
its residual (probabilities minus one-hot label) and its embedding. So inner products factor,
<g_i, g_j> = <residual_i, residual_j> <embedding_i, embedding_j>, and classes x d numbers a row are
never needed.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy.typing as npt
import torch
from torch import Tensor

from alframe.functional.arrays import ArrayT, as_tensor, like, refuse_rows

_CHUNK = 2**17  # values in one float64 temporary: 1 MB
# Below this share of the squared norms, a squared distance is computed from direct differences.
_CLOSE = 2.0**-20
_ABOVE_ONE = 2**-6  # averages of rounded probabilities may pass 1: see uncertainty.py


def residuals(probs: ArrayT, labels: Tensor | npt.NDArray[Any] | None = None) -> ArrayT:
    """Probabilities minus one-hot labels: the gradient of the cross-entropy in the logits.

    Args:
        probs: Class probabilities [n, classes].
        labels: Classes [n], integers; without them the likeliest class, ties to the lowest.

    Returns:
        Residuals [n, classes] in [-1, 1]: float64 for float64, otherwise float32.

    Raises:
        ValueError: For another shape, rows that hold NaN or values outside [0, 1], or labels that
            are not classes.

    **Source:** Ash et al. 2020, section 3, arXiv:1906.03671.
    """
    values = as_tensor(probs)
    if values.ndim != 2 or values.shape[1] < 1:
        raise ValueError(
            f"expected probabilities [n, classes >= 1], got shape {tuple(values.shape)}"
        )
    values = values if values.dtype == torch.float64 else values.float()
    low, high = _range(values)
    if not (low >= 0 and high <= 1 + _ABOVE_ONE):  # NaN fails both
        valid = (values >= 0) & (values <= 1 + _ABOVE_ONE)
        refuse_rows(~valid.all(dim=1), "probabilities in [0, 1] without NaN")
    classes = values.argmax(dim=1) if labels is None else _checked_labels(labels, values)
    minus_one = values.new_full((len(values), 1), -1.0)
    return like(values.scatter_add(1, classes[:, None], minus_one), probs)


def last_layer_gradients(
    probs: Tensor | npt.NDArray[Any],
    embeddings: Tensor | npt.NDArray[Any],
    labels: Tensor | npt.NDArray[Any] | None = None,
    bias: bool = False,
) -> OuterProducts:
    """Gradients of the cross-entropy in the weights of the last, linear layer, as factors.

    Args:
        probs: Class probabilities [n, classes].
        embeddings: Inputs of the last layer [n, d], any real dtype.
        labels: Classes [n], integers; without them the likeliest class, ties to the lowest.
        bias: Whether the layer's bias counts as well: one more input, always 1.

    Returns:
        n gradients: the residuals are ``left``, the embeddings ``right``. Embeddings whose largest
        value is not within 1e-60 .. 1e60 are multiplied by a power of two, `OuterProducts.scale`.
        Memory beyond the inputs is that of the residuals.

    Raises:
        ValueError: See `residuals`; for embeddings of another shape or with NaN or infinity.

    **Source:** Ash et al. 2020, section 3, arXiv:1906.03671.
    """
    left, right = residuals(as_tensor(probs), labels), finite_rows(embeddings, "embeddings")
    if len(left) != len(right):
        raise ValueError(
            f"expected one embedding for each of the {len(left)} rows of probabilities, got "
            f"{len(right)}"
        )
    largest = max(largest_value(right), float(bias))
    scale = 1.0 if largest == 0 or 1e-60 < largest < 1e60 else safe_scale(largest)
    return OuterProducts.of(left, right, scale if bias else 0.0, scale)


@dataclass(frozen=True)
class OuterProducts:
    """n vectors: vector i is the outer product of ``left[i]`` and ``right[i]``, flattened.

    Args:
        left: [n, a], any real dtype.
        right: [n, b], any real dtype, on the same device.
        squared_norms: Of the n vectors, [n], float64; `of` computes them.
        bias: The value of one more column of ``right``; 0 for none.
        scale: What ``right`` is multiplied by before use.
        origin: [b], float64, or 0: what is subtracted from the scaled ``right`` before use.
    """

    left: Tensor
    right: Tensor
    squared_norms: Tensor
    bias: float = 0.0
    scale: float = 1.0
    origin: Tensor | float = 0.0

    @classmethod
    def of(
        cls,
        left: Tensor,
        right: Tensor,
        bias: float = 0.0,
        scale: float = 1.0,
        origin: Tensor | float = 0.0,
    ) -> OuterProducts:
        """Returns the vectors with their squared norms: one pass, in float64, part by part."""
        norms = torch.empty(len(left), dtype=torch.float64, device=left.device)
        vectors = cls(left, right, norms, bias, scale, origin)
        for rows, part in vectors.parts():
            norms[rows] = part.left.square().sum(1) * (part.right.square().sum(1) + bias**2)
        return vectors

    def __len__(self) -> int:
        return len(self.left)

    def take(self, rows: Tensor | slice) -> OuterProducts:
        """Returns only these vectors, with factors ready for use: in float64."""
        right = self.right[rows].double()
        right = right if self.scale == 1 else right * self.scale
        right = right - self.origin if isinstance(self.origin, Tensor) else right
        return OuterProducts(
            self.left[rows].double(), right, self.squared_norms[rows], bias=self.bias
        )

    def parts(self, width: int = 1) -> Iterator[tuple[slice, OuterProducts]]:
        """Yields (rows, those vectors), one after the other, with factors in float64.

        Args:
            width: How many values the caller makes of each vector; parts are as long as keeps
                these, and the factors, near 2 MB.
        """
        step = max(1, _CHUNK // max(width, self.left.shape[1], self.right.shape[1], 1))
        for start in range(0, len(self), step):
            rows = slice(start, min(start + step, len(self)))
            yield rows, self.take(rows)

    def inner(self, others: OuterProducts) -> Tensor:
        """Returns the inner products with some other vectors, [n, m], float64."""
        these, those = self.take(slice(None)), others.take(slice(None))
        right = these.right @ those.right.T
        if self.bias:
            right += self.bias * others.bias
        return right.mul_(these.left @ those.left.T)

    def squared_distances(self, others: OuterProducts) -> Tensor:
        """Returns the squared distances to some other vectors, [n, m], float64.

        They come from inner products, or from direct differences where the vectors nearly agree:
        the relative error stays below (a + b) * 2 ** -31, unless a longer left and a shorter right
        give nearly the same vector. Equal factors are at distance exactly 0.
        """
        sums = self.squared_norms[:, None] + others.squared_norms
        squares = self.inner(others).mul_(-2).add_(sums)
        i, j = (squares <= sums.mul_(_CLOSE)).nonzero(as_tuple=True)
        step = max(1, _CHUNK // (self.left.shape[1] + self.right.shape[1] + 1))
        for near in range(0, len(i), step):
            rows, columns = i[near : near + step], j[near : near + step]
            squares[rows, columns] = _direct(self.take(rows), others.take(columns))
        return squares

    def project(self, matrix: Tensor) -> Tensor:
        """Returns the inner products [n], float64, with one vector [a, b], given unflattened.

        With a bias the matrix is [a, b + 1].
        """
        products = torch.empty_like(self.squared_norms)
        weights = matrix.double()
        for rows, part in self.parts():
            products[rows] = ((part.left @ weights) * part._full_right()).sum(1)
        return products

    def weighted_sum(self, weights: Tensor) -> Tensor:
        """Returns the sum of all vectors times their weights [n], float64, unflattened: [a, b].

        With a bias it is [a, b + 1].
        """
        columns = self.right.shape[1] + bool(self.bias)
        total = self.squared_norms.new_zeros(self.left.shape[1], columns)
        for rows, part in self.parts():
            total += (part.left * weights[rows, None].double()).T @ part._full_right()
        return total

    def build(self) -> Tensor:
        """Returns the vectors themselves, [n, a * b], float64 (b + 1 with a bias): for few rows."""
        these = self.take(slice(None))
        return (these.left[:, :, None] * these._full_right()[:, None, :]).flatten(1)

    def _full_right(self) -> Tensor:
        if not self.bias:
            return self.right
        return torch.cat([self.right, self.right.new_full((len(self), 1), self.bias)], dim=1)


def _direct(these: OuterProducts, others: OuterProducts) -> Tensor:
    """Returns the squared distances [n] of n pairs, from the differences of their factors.

    a b' - c d' = (a - c) m' + k (b - d)' with the means m = (b + d) / 2 and k = (a + c) / 2.
    """
    left, right = these.left - others.left, these.right - others.right
    left_mean, right_mean = (these.left + others.left) / 2, (these.right + others.right) / 2
    squares = left.square().sum(1) * (right_mean.square().sum(1) + these.bias**2)
    squares += left_mean.square().sum(1) * right.square().sum(1)
    squares += 2 * (left * left_mean).sum(1) * (right * right_mean).sum(1)
    return squares.clamp_(min=0)


def finite_rows(values: Tensor | npt.NDArray[Any], name: str) -> Tensor:
    """Returns the values [n, d] as a tensor, refusing another shape, NaN and infinity."""
    rows = as_tensor(values)
    if rows.ndim != 2:
        raise ValueError(f"expected {name} [n, d], got shape {tuple(rows.shape)}")
    low, high = _range(rows)
    if not (math.isfinite(low) and math.isfinite(high)):
        refuse_rows(~rows.isfinite().all(dim=1), f"{name} without NaN or infinity")
    return rows


def largest_value(values: Tensor) -> float:
    """Returns the largest absolute value, 0 where there are no values."""
    return max(map(abs, _range(values)))


def safe_scale(largest: float) -> float:
    """Returns a power of two (which rounds nothing) that brings the largest value near 1."""
    return float(2.0 ** min(1000, -math.frexp(largest)[1]))


def _range(values: Tensor) -> tuple[float, float]:
    """Returns the lowest and the highest value: NaN if there is any, 0 if there are no values."""
    if not values.numel():
        return 0.0, 0.0
    low, high = torch.aminmax(values)
    return low.item(), high.item()


def _checked_labels(labels: Tensor | npt.NDArray[Any], probs: Tensor) -> Tensor:
    given = as_tensor(labels)
    whole = not given.is_floating_point() and given.dtype != torch.bool
    if given.shape != probs.shape[:1] or not whole:
        raise ValueError(
            f"expected {len(probs)} integer labels, got {given.dtype} of shape {tuple(given.shape)}"
        )
    classes = given.to(probs.device).long()
    refuse_rows(
        (classes < 0) | (classes >= probs.shape[1]), f"labels from 0 to {probs.shape[1] - 1}"
    )
    return classes
