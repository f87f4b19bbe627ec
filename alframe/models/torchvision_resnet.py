"""The ResNets of torchvision, on large or small images."""

from __future__ import annotations

from torch import Tensor, nn

from alframe.errors import UserError
from alframe.models.dropout import dropout_layers
from alframe.models.shapes import image_channels

_DEPTHS = (18, 34, 50, 101, 152)


class TorchvisionResNet(nn.Module):
    """A torchvision ResNet with random weights; the embedding is what enters its ``fc`` layer.

    **Source:** K. He et al., *Deep Residual Learning for Image Recognition*, 2016,
    arXiv:1512.03385. **Deviations:** for small images the stem is one 3x3 convolution of stride 1
    without max-pooling, and other than three channels are allowed.
    """

    def __init__(
        self,
        num_classes: int,
        input_shape: tuple[int, ...],
        depth: int = 18,
        small_images: bool = False,
        dropout: float = 0.0,
    ) -> None:
        """Builds the network.

        Args:
            num_classes: Number of logits.
            input_shape: Shape of one row: (height, width, channels).
            depth: 18, 34, 50, 101 or 152.
            small_images: Keep the resolution in the stem, for images of about 32x32.
            dropout: Probability of an embedding's value to be dropped, before the last layer.

        Raises:
            UserError: For another depth, rows that are not images, or a dropout outside [0, 1).
        """
        from torchvision import models  # slow to import, and needed by few runs

        super().__init__()
        if depth not in _DEPTHS:
            raise UserError(
                f"TorchvisionResNet expects a depth of {', '.join(map(str, _DEPTHS))}, got "
                f"{depth}: change model.depth"
            )
        channels = image_channels(input_shape, "TorchvisionResNet")
        body = models.get_model(f"resnet{depth}", weights=None, num_classes=num_classes)
        if small_images:
            body.conv1 = _stem(channels, kernel=3, stride=1)
            body.maxpool = nn.Identity()
        elif channels != body.conv1.in_channels:
            body.conv1 = _stem(channels, kernel=7, stride=2)
        self.head: nn.Linear = body.fc
        body.fc = nn.Sequential(*dropout_layers(dropout))  # nothing but the dropout, if any
        self.embed: nn.Module = body

    def forward(self, inputs: Tensor) -> Tensor:
        """Returns logits [b, classes] of images [b, channels, height, width]."""
        logits: Tensor = self.head(self.embed(inputs))
        return logits


def _stem(channels: int, kernel: int, stride: int) -> nn.Conv2d:
    conv = nn.Conv2d(channels, 64, kernel, stride, padding=kernel // 2, bias=False)
    nn.init.kaiming_normal_(conv.weight, mode="fan_out", nonlinearity="relu")  # as torchvision does
    return conv
