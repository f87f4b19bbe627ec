"""A multilayer perceptron for features and flattened images."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise

from torch import Tensor, nn

from alframe.models.dropout import dropout_layers


class MLP(nn.Module):
    """Linear layers with ReLU between them; the embedding is the last hidden layer."""

    def __init__(
        self,
        num_classes: int,
        input_shape: tuple[int, ...],
        hidden: Sequence[int] = (64,),
        dropout: float = 0.0,
    ) -> None:
        """Builds the network.

        Args:
            num_classes: Number of logits.
            input_shape: Shape of one row: any; it is flattened.
            hidden: Widths of the hidden layers; none makes it a linear model of its inputs.
            dropout: Probability of a hidden value to be dropped, after each ReLU.

        Raises:
            UserError: For a dropout outside [0, 1).
        """
        super().__init__()
        widths = [math.prod(input_shape), *hidden]
        layers: list[nn.Module] = [nn.Flatten()]
        for before, after in pairwise(widths):
            layers += [nn.Linear(before, after), nn.ReLU(inplace=True), *dropout_layers(dropout)]
        self.embed = nn.Sequential(*layers)
        self.head = nn.Linear(widths[-1], num_classes)

    def forward(self, inputs: Tensor) -> Tensor:
        """Returns logits [b, classes] of features [b, d] or images [b, channels, height, width]."""
        logits: Tensor = self.head(self.embed(inputs))
        return logits
