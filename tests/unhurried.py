"""A model that takes its time, as a fit on a fast machine would be over before it is killed."""

import time

from alframe.models.small_cnn import SmallCNN


class UnhurriedCNN(SmallCNN):
    """A small CNN whose every forward pass takes 20 milliseconds more."""

    def forward(self, inputs):
        time.sleep(0.02)
        return super().forward(inputs)
