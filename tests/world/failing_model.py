"""A network that fails in training in process 1."""

import os

from torch import nn


class Failing(nn.Module):
    def __init__(self, num_classes, input_shape):
        super().__init__()
        self.embed = nn.Flatten()
        self.head = nn.Linear(64, num_classes)
        self._steps = 0

    def forward(self, inputs):
        self._steps += self.training
        if self._steps > 20 and os.environ["RANK"] == "1":
            raise ValueError("nothing works in process 1")
        return self.head(self.embed(inputs))
