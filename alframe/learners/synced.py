"""Batch normalization by the rows of all processes, as one process would normalize the batch."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from alframe.world import here


def synced(model: nn.Module, device: torch.device) -> nn.Module:
    """Returns a model whose batch normalization is that of whole batches; in place.

    On a GPU that is torch's own; on a CPU, for which torch has none, `SyncedBatchNorm`.
    """
    if here().size == 1:
        return model
    if device.type == "cuda":
        convert: Callable[[nn.Module], nn.Module] = nn.SyncBatchNorm.convert_sync_batchnorm
        return convert(model)
    for parent in list(model.modules()):
        for name, child in parent.named_children():
            if isinstance(child, _BatchNorm) and not isinstance(child, SyncedBatchNorm):
                setattr(parent, name, SyncedBatchNorm.of(child))
    return model


class SyncedBatchNorm(_BatchNorm):
    """Batch normalization of inputs [b, c, ...] over the batches of all processes."""

    @classmethod
    def of(cls, plain: _BatchNorm) -> SyncedBatchNorm:
        """Returns one with the parameters and statistics of ``plain``, which it shares."""
        made = cls(
            plain.num_features,
            plain.eps,
            plain.momentum,
            affine=plain.affine,
            track_running_stats=plain.track_running_stats,
        )
        own = (*plain.named_parameters(recurse=False), *plain.named_buffers(recurse=False))
        for name, values in own:
            setattr(made, name, values)
        return made.train(plain.training)

    def _check_input_dim(self, inputs: Tensor) -> None:
        if inputs.dim() < 2:
            raise ValueError(f"expected inputs [b, c, ...], got {inputs.dim()} dimensions")

    def forward(self, inputs: Tensor) -> Tensor:
        """Normalizes by the statistics of all processes' inputs in training."""
        if not self.training or here().size == 1:
            return super().forward(inputs)
        self._check_input_dim(inputs)
        values = inputs.float()
        over = [0, *range(2, values.dim())]
        count = values.new_full((1,), values.numel() / values.shape[1])
        sums = summed(torch.cat([values.sum(over), count]))
        mean, total = sums[:-1] / sums[-1], float(sums[-1].detach())
        shape = (1, -1, *[1] * (values.dim() - 2))
        centered = values - mean.view(shape)
        variance = summed(centered.square().sum(over)) / total
        self._track(mean.detach(), variance.detach() * (total / max(total - 1, 1)))
        scale = torch.rsqrt(variance + self.eps)
        if self.weight is not None:
            scale = scale * self.weight
        outputs = centered * scale.view(shape)
        if self.bias is not None:
            outputs = outputs + self.bias.view(shape)
        return outputs.to(inputs.dtype)

    def _track(self, mean: Tensor, variance: Tensor) -> None:
        if not self.track_running_stats or self.running_mean is None or self.running_var is None:
            return
        assert self.num_batches_tracked is not None
        self.num_batches_tracked.add_(1)
        part = self.momentum
        if part is None:  # the mean of all batches
            part = 1.0 / float(self.num_batches_tracked)
        self.running_mean.lerp_(mean, part)
        self.running_var.lerp_(variance, part)


class _Summed(torch.autograd.Function):
    """The sum over all processes; so is its gradient, since each of them uses the result."""

    @staticmethod
    def forward(ctx: Any, values: Tensor) -> Tensor:  # noqa: ARG004
        values = values.clone()
        dist.all_reduce(values)
        return values

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:  # noqa: ARG004
        gradient = gradient.clone()
        dist.all_reduce(gradient)
        return gradient


def summed(values: Tensor) -> Tensor:
    """Returns the sum over all processes, for training: gradients flow to all of them."""
    result: Tensor = _Summed.apply(values)
    return result
