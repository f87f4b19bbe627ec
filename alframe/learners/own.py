"""LightningModules of the user's own in place of ours."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytorch_lightning as pl
from torch import nn

from alframe.errors import UserError
from alframe.models.embedding import LastLayerSplit, with_embedding

Maker = Callable[..., nn.Module]


def make_network(model: Maker | None, module: Maker | None, **shape: Any) -> nn.Module:
    """Makes a network that gives logits and has an embedding, see `LightningLearner`.

    Args:
        model: Makes a network, called with ``shape``; None where ``module`` brings its own.
        module: Makes a LightningModule, called with ``model``, or without one with ``shape``; None
            for ours.
        shape: ``num_classes`` and ``input_shape``.

    Raises:
        UserError: If nothing, or something else, is made.
    """
    network = None if model is None else model(**shape)
    if module is not None:
        made = module(**shape) if network is None else module(model=network)
        _check(made)
        network = made
    if network is None:
        raise UserError("model=null: expected a model, or a module that brings its own")
    return with_embedding(network)


def own_module(network: nn.Module) -> pl.LightningModule | None:
    """Returns the LightningModule in a network of `make_network`, if there is one."""
    inner = network.module if isinstance(network, LastLayerSplit) else network
    return inner if isinstance(inner, pl.LightningModule) else None


def _check(module: nn.Module) -> None:
    name = type(module).__name__
    if not isinstance(module, pl.LightningModule):
        raise UserError(
            f"module._target_ makes a {name}: expected a LightningModule; a plain network belongs "
            "in model"
        )
    for method in ("forward", "training_step", "configure_optimizers"):
        if getattr(type(module), method) is getattr(pl.LightningModule, method):
            raise UserError(
                f"module._target_ makes a {name} without {method}: expected a LightningModule that "
                "gives logits and trains itself; write it, or set module=null"
            )
