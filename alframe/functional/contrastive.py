"""How much the predictions for a point differ from those for its neighbors."""

from __future__ import annotations

import torch

from alframe.functional.arrays import ArrayT, as_tensor, like, refuse_rows

_CHUNK = 2**17  # values in one temporary: 1 MB of float64, which stays in a CPU's cache
_FLOOR = torch.finfo(torch.float32).tiny


def neighbor_divergence(probs: ArrayT, neighbor_probs: ArrayT, neighbors: ArrayT) -> ArrayT:
    """The mean Kullback-Leibler divergence of a point's prediction from those of its neighbors.

    Args:
        probs: Class probabilities of the points [n, classes].
        neighbor_probs: Those of all that may be neighbors [m, classes].
        neighbors: Rows of ``neighbor_probs`` for each point [n, k], int64, k >= 1.

    Returns:
        (1 / k) sum over neighbors l of KL(p_l || p) [n], in nats, float64, finite. Time O(n k
        classes), memory O(n) and chunks of 1 MB.

    Raises:
        ValueError: For shapes that do not fit, neighbors out of range, or rows that hold NaN or
            values below 0.

    **Source:** K. Margatina, G. Vernikos, L. Barrault & N. Aletras, *Active Learning by Acquiring
    Contrastive Examples*, EMNLP 2021, algorithm 1, arXiv:2109.03764. **Deviations:** probabilities
    below the smallest normal float32 (1.2e-38), such as 0, count as that in the logarithms, where
    the paper has logits and no zeros.
    """
    own, others, rows = as_tensor(probs), as_tensor(neighbor_probs), as_tensor(neighbors)
    if own.ndim != 2 or others.ndim != 2 or own.shape[1] != others.shape[1]:
        raise ValueError(
            f"expected probabilities [n, classes] and [m, classes], got shapes {tuple(own.shape)} "
            f"and {tuple(others.shape)}"
        )
    if rows.ndim != 2 or len(rows) != len(own) or rows.shape[1] == 0:
        raise ValueError(f"expected neighbors [{len(own)}, k >= 1], got {tuple(rows.shape)}")
    if len(rows) and not 0 <= rows.min() <= rows.max() < len(others):
        raise ValueError(f"expected neighbors from 0 to {len(others) - 1}")
    for values in (own, others):
        refuse_rows(~(values.isfinite() & (values >= 0)).all(dim=1), "probabilities without NaN")
    divergence = torch.zeros(len(own), dtype=torch.float64, device=own.device)
    step = max(1, _CHUNK // max(1, own.shape[1]))
    for start in range(0, len(own), step):
        log = own[start : start + step].double().clamp_min(_FLOOR).log_()
        for column in rows[start : start + step].unbind(dim=1):
            near = others[column].double()
            ratio = near.clamp_min(_FLOOR).log_().sub_(log)
            divergence[start : start + step] += ratio.mul_(near).sum(dim=1)
    return like(divergence / rows.shape[1], probs)
