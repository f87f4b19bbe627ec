"""A small convolutional network for small images, such as 8x8 digits."""

from __future__ import annotations

from torch import Tensor, nn

from alframe.models.dropout import dropout_layers
from alframe.models.shapes import image_channels


class SmallCNN(nn.Module):
    """Three 3x3 convolutions with batch normalization and ReLU, then the average over the image.

    The second and the third convolution halve the image and double the filters; the embedding is
    ``4 * width`` wide. About 24,000 parameters at width 16.
    """

    def __init__(
        self,
        num_classes: int,
        input_shape: tuple[int, ...],
        width: int = 16,
        dropout: float = 0.0,
    ) -> None:
        """Builds the network.

        Args:
            num_classes: Number of logits.
            input_shape: Shape of one row: (height, width, channels).
            width: Filters of the first convolution.
            dropout: Probability of an embedding's value to be dropped, before the last layer.

        Raises:
            UserError: For rows that are not images, or a dropout outside [0, 1).
        """
        super().__init__()
        self.embed = nn.Sequential(
            *_conv_bn_relu(image_channels(input_shape, "SmallCNN"), width, stride=1),
            *_conv_bn_relu(width, 2 * width, stride=2),
            *_conv_bn_relu(2 * width, 4 * width, stride=2),
            nn.AdaptiveAvgPool2d(1),
            nn.Flatten(),
            *dropout_layers(dropout),
        )
        self.head = nn.Linear(4 * width, num_classes)

    def forward(self, inputs: Tensor) -> Tensor:
        """Returns logits [b, classes] of images [b, channels, height, width]."""
        logits: Tensor = self.head(self.embed(inputs))
        return logits


def _conv_bn_relu(in_channels: int, out_channels: int, stride: int) -> list[nn.Module]:
    return [
        nn.Conv2d(in_channels, out_channels, 3, stride, padding=1, bias=False),
        nn.BatchNorm2d(out_channels),
        nn.ReLU(inplace=True),
    ]
