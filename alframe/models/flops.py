"""How much arithmetic one row takes."""

from __future__ import annotations

import torch
from torch import Tensor, nn


def multiply_adds(model: nn.Module, inputs: Tensor) -> int:
    """Returns the multiply-adds of convolutions and matrix products, for each row.

    One multiply-add is two FLOPs; normalization, activations and pooling are left out, as in the
    figures that papers give. A training step takes about three times as many, for its backward
    pass.

    Args:
        model: In any mode, which is left as it is.
        inputs: A batch [b, ...] as the model wants it, on the model's device.

    Source: `torch.utils.flop_counter`, by the shapes of every operation that is dispatched.
    """
    from torch.utils.flop_counter import FlopCounterMode

    training = model.training
    model.eval()
    try:
        with torch.no_grad(), FlopCounterMode(display=False) as counter:
            model(inputs)
    finally:
        model.train(training)
    return int(counter.get_total_flops()) // 2 // len(inputs)
