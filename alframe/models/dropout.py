"""The dropout of the models here, which Monte-Carlo draws (``mc_probs``) need."""

from __future__ import annotations

from torch import nn

from alframe.errors import UserError


def dropout_layers(probability: float) -> list[nn.Module]:
    """Returns a dropout layer in a list, or an empty one where nothing is to be dropped.

    Without a layer a model with ``dropout=0`` is the very model that it is without the option.

    Args:
        probability: Of an element to be set to zero, from 0 to below 1.

    Raises:
        UserError: For another probability.
    """
    if not 0 <= probability < 1:
        raise UserError(f"model.dropout={probability}: expected a number from 0 to below 1")
    return [nn.Dropout(probability)] if probability else []
