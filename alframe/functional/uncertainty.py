"""Acquisition functions on class probabilities: how unsure a model is of each row.

Every function takes probabilities [n, classes] and returns scores [n], higher = sooner. Numpy in
means numpy out; torch in means torch on the same device. float16 and bfloat16 are computed, and
returned, in float32.

**Source:** B. Settles, *Active Learning Literature Survey*, University of Wisconsin-Madison,
Computer Sciences Technical Report 1648, 2009, section 3.1.
"""

from __future__ import annotations

from typing import Any

import numpy.typing as npt
import torch
from torch import Tensor

from alframe.functional.arrays import ArrayT, as_tensor, like, refuse_rows

# Averages of rounded probabilities may pass 1 by a few bfloat16 roundings (2 ** -8 each).
_ABOVE_ONE = 2**-6


def least_confidence(probs: ArrayT) -> ArrayT:
    """One minus the probability of the likeliest class, in [0, 1 - 1 / classes].

    Args:
        probs: Class probabilities [n, classes].

    Returns:
        Scores [n].

    Raises:
        ValueError: For another shape, or rows that hold NaN or values outside [0, 1].

    **Source:** Settles 2009, section 3.1; Lewis & Gale 1994, arXiv:cmp-lg/9407020.
    """
    return like(1 - _checked(probs, 1).amax(dim=1), probs)


def margin(probs: ArrayT) -> ArrayT:
    """The negative difference of the two largest probabilities, in [-1, 0].

    Args:
        probs: Class probabilities [n, classes], at least two classes.

    Returns:
        Scores [n].

    Raises:
        ValueError: For another shape, or rows that hold NaN or values outside [0, 1].

    **Source:** Settles 2009, section 3.1; Scheffer, Decomain & Wrobel 2001. **Deviations:** the
    sign is turned, so that higher = sooner.
    """
    largest = _checked(probs, 2).topk(2, dim=1).values
    return like(largest[:, 1] - largest[:, 0], probs)


def entropy(probs: ArrayT) -> ArrayT:
    """Shannon entropy in nats, in [0, log classes]; 0 log 0 counts as 0.

    Args:
        probs: Class probabilities [n, classes].

    Returns:
        Scores [n], always finite.

    Raises:
        ValueError: For another shape, or rows that hold NaN or values outside [0, 1].

    **Source:** Settles 2009, section 3.1; Shannon 1948.
    """
    return like(torch.special.entr(_checked(probs, 1)).sum(dim=1), probs)


def _checked(probs: Tensor | npt.NDArray[Any], classes: int) -> Tensor:
    """Returns the probabilities in float32 or float64, refusing what cannot be probabilities."""
    values = as_tensor(probs)
    if values.ndim != 2 or values.shape[1] < classes:
        raise ValueError(
            f"expected probabilities [n, classes >= {classes}], got shape {tuple(values.shape)}"
        )
    values = values if values.dtype == torch.float64 else values.float()
    valid = (values >= 0) & (values <= 1 + _ABOVE_ONE)  # NaN fails both
    refuse_rows(~valid.all(dim=1), "probabilities in [0, 1] without NaN")
    return values
