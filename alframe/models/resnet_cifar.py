"""The pre-activation residual networks for CIFAR.

**Source:** K. He et al., *Identity Mappings in Deep Residual Networks*, 2016, arXiv:1603.05027;
the depths and the parameter counts are those of C. Coleman et al., *Selection via Proxy*, 2020,
arXiv:1906.11829, which share one convention: shortcuts that change the shape are 1x1 convolutions
of the pre-activated input without batch normalization, and only the last layer has a bias.
"""

from __future__ import annotations

from torch import Tensor, nn

from alframe.errors import UserError
from alframe.models.dropout import dropout_layers
from alframe.models.shapes import image_channels

_BLOCKS_PER_STAGE = {8: 1, 20: 3, 56: 9, 110: 18, 164: 18}
_BOTTLENECK_DEPTHS = {164}
_WIDTHS = (16, 32, 64)


class ResNetCifar(nn.Module):
    """A pre-activation ResNet in three stages of 16, 32 and 64 filters.

    The embedding is the average over the image after the last normalization and ReLU: 64 wide, or
    256 at depth 164. Images may have any size; the second and third stage halve it.

    **Deviations:** weights are drawn by fan-out (He et al. 2015, arXiv:1502.01852, section 2.2), as
    Selection via Proxy does.
    """

    def __init__(
        self,
        num_classes: int,
        input_shape: tuple[int, ...],
        depth: int = 20,
        dropout: float = 0.0,
    ) -> None:
        """Builds the network.

        Args:
            num_classes: Number of logits.
            input_shape: Shape of one row: (height, width, channels).
            depth: 8, 20, 56 or 110 (basic blocks), or 164 (bottlenecks).
            dropout: Probability of an embedding's value to be dropped, before the last layer.

        Raises:
            UserError: For another depth, rows that are not images, or a dropout outside [0, 1).
        """
        super().__init__()
        if depth not in _BLOCKS_PER_STAGE:
            raise UserError(
                f"ResNetCifar expects a depth of {', '.join(map(str, _BLOCKS_PER_STAGE))}, got "
                f"{depth}: change model.depth"
            )
        channels = _WIDTHS[0]
        layers: list[nn.Module] = [_conv(image_channels(input_shape, "ResNetCifar"), channels, 3)]
        for width in _WIDTHS:
            for i in range(_BLOCKS_PER_STAGE[depth]):
                stride = 2 if i == 0 and width > _WIDTHS[0] else 1
                block = PreActivationBlock(channels, width, stride, depth in _BOTTLENECK_DEPTHS)
                layers.append(block)
                channels = block.out_channels
        layers += [*_bn_relu(channels), nn.AdaptiveAvgPool2d(1), nn.Flatten()]
        layers += dropout_layers(dropout)
        self.embed = nn.Sequential(*layers)
        self.head = nn.Linear(channels, num_classes)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, inputs: Tensor) -> Tensor:
        """Returns logits [b, classes] of images [b, channels, height, width]."""
        logits: Tensor = self.head(self.embed(inputs))
        return logits


class PreActivationBlock(nn.Module):
    """A residual block: batch normalization and ReLU come before each convolution.

    Attributes:
        out_channels: What comes out: ``width``, or four times as much from a bottleneck.
    """

    def __init__(self, in_channels: int, width: int, stride: int, bottleneck: bool) -> None:
        super().__init__()
        self.out_channels = 4 * width if bottleneck else width
        self.activate = nn.Sequential(*_bn_relu(in_channels))
        if bottleneck:
            branch = [
                _conv(in_channels, width, 1),
                *_bn_relu(width),
                _conv(width, width, 3, stride),
                *_bn_relu(width),
                _conv(width, self.out_channels, 1),
            ]
        else:
            branch = [
                _conv(in_channels, width, 3, stride),
                *_bn_relu(width),
                _conv(width, width, 3),
            ]
        self.branch = nn.Sequential(*branch)
        same_shape = stride == 1 and in_channels == self.out_channels
        self.shortcut = None if same_shape else _conv(in_channels, self.out_channels, 1, stride)

    def forward(self, inputs: Tensor) -> Tensor:
        """Returns [b, out_channels, height / stride, width / stride]."""
        activated = self.activate(inputs)
        residual: Tensor = self.branch(activated)
        return residual + (inputs if self.shortcut is None else self.shortcut(activated))


def _bn_relu(channels: int) -> list[nn.Module]:
    return [nn.BatchNorm2d(channels), nn.ReLU(inplace=True)]


def _conv(in_channels: int, out_channels: int, kernel: int, stride: int = 1) -> nn.Conv2d:
    padding = kernel // 2
    return nn.Conv2d(in_channels, out_channels, kernel, stride, padding, bias=False)
