"""How hard a row was to learn, from what was recorded of it in every epoch of a fit.

Every function takes a history [epochs, n] and returns difficulties [n] in float64, higher = harder.
Numpy in means numpy out; torch in means torch on the same device. Epochs are read one after the
other: time O(epochs * n), memory O(n) beyond the input, and the same values on any device.
"""

from __future__ import annotations

import torch
from torch import Tensor

from alframe.functional.arrays import ArrayT, as_tensor, like, refuse_rows


def at_the_end(history: ArrayT) -> ArrayT:
    """The last epoch's value: EL2N of error norms, GraNd of gradient norms.

    Args:
        history: [epochs, n], at least one epoch; values that are large for hard rows.

    Raises:
        ValueError: For another shape, or rows that hold NaN or infinity.

    **Source:** Paul, Ganguli & Dziugaite, "Deep Learning on a Data Diet: Finding Important
    Examples Early in Training" (NeurIPS 2021), definitions 2.1 and 2.2; arXiv:2107.07075.
    """
    return like(_checked(history)[-1].double(), history)


def low_on_average(history: ArrayT) -> ArrayT:
    """Minus the mean over the epochs: of margins (AUM), of the label's probability (confidence).

    Args:
        history: [epochs, n], at least one epoch; values that are small for hard rows.

    Raises:
        ValueError: For another shape, or rows that hold NaN or infinity.

    **Source:** Pleiss, Zhang, Elenberg & Weinberger, "Identifying Mislabeled Data using the Area
    Under the Margin Ranking" (NeurIPS 2020), arXiv:2001.10528; Swayamdipta et al., "Dataset
    Cartography: Mapping and Diagnosing Datasets with Training Dynamics" (EMNLP 2020), section 2,
    arXiv:2009.10795. **Deviations:** the sign is turned, so that higher = harder.
    """
    return like(-_mean(_checked(history)), history)


def spread(history: ArrayT) -> ArrayT:
    """The standard deviation over the epochs (divided by their number): variability.

    Args:
        history: [epochs, n], at least one epoch; the label's probability for data maps.

    Raises:
        ValueError: For another shape, or rows that hold NaN or infinity.

    **Source:** Swayamdipta et al., "Dataset Cartography: Mapping and Diagnosing Datasets with
    Training Dynamics" (EMNLP 2020), section 2; arXiv:2009.10795.
    """
    values = _checked(history)
    scale = torch.zeros_like(values[0], dtype=torch.float64)
    for epoch in values:
        scale = torch.maximum(scale, epoch.double().abs())
    unit = torch.where(scale > 0, scale, 1.0)  # squares of huge or tiny values leave the range
    mean, squares = torch.zeros_like(scale), torch.zeros_like(scale)
    for count, epoch in enumerate(values, 1):  # Welford: exactly 0 for a row that never changes
        value = epoch.double() / unit
        before = value - mean
        mean += before / count
        squares += before * (value - mean)
    return like((squares / len(values)).sqrt() * scale, history)


def _mean(values: Tensor) -> Tensor:
    mean = torch.zeros_like(values[0], dtype=torch.float64)
    for count, epoch in enumerate(values, 1):  # a sum of huge values could be infinite
        mean += epoch.double() / count - mean / count
    return mean


def _checked(history: ArrayT) -> Tensor:
    values = as_tensor(history)
    if values.ndim != 2 or not len(values):
        raise ValueError(
            f"expected a history [epochs, n] of at least one epoch, got {tuple(values.shape)}"
        )
    bad = torch.zeros_like(values[0], dtype=torch.bool)
    for epoch in values:
        bad |= ~torch.isfinite(epoch)
    refuse_rows(bad, "finite values in every epoch")
    return values
