"""How well the picks of facility location cover the points, where few similarities matter."""

from __future__ import annotations

import torch
from torch import Tensor

_CANDIDATES = 1024  # evaluated at a time
_NOISE = 1e-14  # of float64, relative to the covers that a gain is summed from


class SparseCover:
    """Covers where each candidate j can raise only a few points: rows[starts[j] : starts[j + 1]].

    Args:
        starts: int64 [n + 1].
        rows: Which points [pairs], int32 or int64.
        values: Their similarities to the candidate [pairs], float64.
        cover: Largest similarity of each point to a pick [n], float64; changed in place.
        weights: Of each point in the sum [n], float64, or None for ones.
    """

    def __init__(
        self, starts: Tensor, rows: Tensor, values: Tensor, cover: Tensor, weights: Tensor | None
    ) -> None:
        self._starts, self._rows, self._values = starts, rows, values
        self.cover, self.weights = cover, weights

    def gains(self, candidates: Tensor) -> Tensor:
        """Returns how much each candidate [b] would raise the weighted sum of covers, float64."""
        pairs, lengths = self._pairs(candidates)
        rows = self._rows.index_select(0, pairs)
        raised = self._values.index_select(0, pairs).sub_(self.cover.index_select(0, rows))
        raised.clamp_(min=0)
        if self.weights is not None:
            raised.mul_(self.weights.index_select(0, rows))
        return torch.segment_reduce(raised, "sum", lengths=lengths, initial=0, unsafe=True)

    def all_gains(self) -> Tensor:
        """Returns the gains [n] of all candidates."""
        everyone = torch.arange(len(self._starts) - 1, device=self.cover.device)
        return torch.cat([self.gains(part) for part in torch.split(everyone, _CANDIDATES)])

    def add(self, row: int, bounds: Tensor | None = None) -> None:  # noqa: ARG002
        """Makes one candidate a pick; bounds of gains are as good as before."""
        pairs = slice(int(self._starts[row]), int(self._starts[row + 1]))
        rows = self._rows[pairs].long()
        self.cover[rows] = torch.maximum(self.cover[rows], self._values[pairs])

    def noise(self) -> float:
        """Returns by how much rounding may change a gain."""
        return noise_of(self.cover, self.weights)

    def _pairs(self, candidates: Tensor) -> tuple[Tensor, Tensor]:
        """Returns where the pairs of the candidates [b] are, one after the other, and how many."""
        first = self._starts.index_select(0, candidates)
        lengths = self._starts.index_select(0, candidates + 1) - first
        ends = lengths.cumsum(0)
        # Where a candidate's pairs begin, jump to them (repeat_interleave would start threads).
        jumps = torch.diff(first - ends + lengths, prepend=first.new_zeros(1))
        offsets = first.new_zeros(int(ends[-1]) + 1).index_add_(0, ends - lengths, jumps)
        offsets = offsets.cumsum(0)[:-1]
        return offsets.add_(torch.arange(len(offsets), device=offsets.device)), lengths


def noise_of(cover: Tensor, weights: Tensor | None) -> float:
    """Returns by how much rounding may change a gain over these covers."""
    sums = cover.abs() if weights is None else cover.abs() * weights
    return _NOISE * float(sums.sum())
