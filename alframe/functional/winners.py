"""The best of many values of which only some are worth computing exactly."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor


def exact_argmax(levels: Tensor, errors: Tensor, exact: Callable[[Tensor], Tensor]) -> int:
    """Returns the position of the largest exact value, ties to the lowest.

    Args:
        levels: Rough values [n]; minus infinity for those that may not win.
        errors: How far at most each is from the exact value [n], finite.
        exact: Called with ascending positions [m], returns their exact values [m].
    """
    floor = (levels - errors).amax()
    near = (levels + errors >= floor).nonzero().flatten()
    if len(near) == 1:
        return int(near)
    return int(near[torch.argmax(exact(near))])  # argmax returns the first of equals
