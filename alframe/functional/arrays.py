"""What the pure functions share: numpy in means numpy out, torch in means torch out."""

from __future__ import annotations

import warnings
from typing import Any, TypeVar, overload

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

_UNSIGNED = (torch.uint16, torch.uint32, torch.uint64)

ArrayT = TypeVar("ArrayT", Tensor, npt.NDArray[Any])


def as_tensor(values: Tensor | npt.NDArray[Any]) -> Tensor:
    """Returns the values as a tensor, without a copy where that is possible.

    Args:
        values: Any shape and real dtype. The result may share their memory and must not be written
            to. Unsigned numbers of several bytes, other byte orders and long doubles are converted.

    Raises:
        ValueError: If they are no real numbers.
    """
    if isinstance(values, Tensor):
        if values.is_complex():
            raise ValueError(f"expected real numbers, got {values.dtype}")
        return values.detach().long() if values.dtype in _UNSIGNED else values.detach()
    if values.dtype.kind not in "fiub":
        raise ValueError(f"expected real numbers, got {values.dtype}")
    if values.dtype.kind == "u" and values.itemsize > 1:  # torch computes little with these
        values = values.astype(np.float64 if values.itemsize == 8 else np.int64)
    elif values.dtype == np.longdouble and values.itemsize > 8:
        values = values.astype(np.float64)
    elif not values.dtype.isnative:
        values = values.astype(values.dtype.newbyteorder("="))
    with warnings.catch_warnings():  # torch warns of read-only memory; nothing here writes
        warnings.filterwarnings("ignore", message="The given NumPy array is not writable")
        return torch.from_numpy(np.ascontiguousarray(values))


def as_numpy(values: Tensor | npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Returns the values as a numpy array on the host, without a copy where that is possible."""
    return values.detach().cpu().numpy() if isinstance(values, Tensor) else values


@overload
def like(result: Tensor, example: Tensor) -> Tensor: ...
@overload
def like(result: Tensor, example: npt.NDArray[Any]) -> npt.NDArray[Any]: ...
def like(result: Tensor, example: Tensor | npt.NDArray[Any]) -> Tensor | npt.NDArray[Any]:
    """Returns the result as a tensor or a numpy array, whichever the example is."""
    return result.to(example.device) if isinstance(example, Tensor) else result.cpu().numpy()


def refuse_rows(bad: Tensor, expected: str) -> None:
    """Raises ValueError with the count and the first rows that are marked as bad.

    Args:
        bad: Marks [n], boolean.
        expected: What every row should have been, for the message.
    """
    rows = bad.nonzero().flatten()
    if len(rows):
        first = ", ".join(map(str, rows[:5].tolist()))
        more = ", ..." if len(rows) > 5 else ""
        raise ValueError(
            f"expected {expected}, got {len(rows)} bad rows of {len(bad)}: {first}{more}"
        )
