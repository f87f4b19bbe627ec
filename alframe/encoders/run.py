"""The model of a finished run, or of a shared fit."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, NamedTuple

from torch import nn

from alframe.data.batches import Preparer
from alframe.data.dataset import Dataset
from alframe.encoders.network import NetworkEncoder
from alframe.errors import UserError
from alframe.learners.hardware import Hardware


class Trained(NamedTuple):
    """A model that was trained.

    Attributes:
        network: See `alframe.models.embedding.with_embedding`.
        data: What it was trained on, which says how its inputs are standardized.
        fit: The name of its fit, for people.
    """

    network: nn.Module
    data: Dataset
    fit: str


class RunEncoder(NetworkEncoder):
    """Embeds with a model that alframe trained, on inputs standardized as in its training.

    Args:
        data: Whose inputs are embedded; it need not be what the model was trained on.
        hardware: Where it runs.
        trained: Finds and restores a model; given ``run``, ``model`` and ``fit``.
        run: A run directory, or the folder of a shared fit.
        model: Which of a run's models.
        fit: A fit of the run by its name, such as ``round_003_target``; None = the one on all rows
            in a core-set run, the last round's in an active-learning run.

    Attributes:
        fit: The name of the fit.
    """

    def __init__(
        self,
        data: Dataset,
        hardware: Hardware,
        trained: Callable[[str, str, str | None], Trained],
        run: str,
        model: Literal["target", "proxy"] = "target",
        fit: str | None = None,
    ) -> None:
        if model not in ("target", "proxy"):
            raise UserError(f"encoder.model={model}: expected target or proxy")
        network, learned, self.fit = trained(run, model, fit)
        if learned.input_shape != data.input_shape:
            raise UserError(
                f"encoder.run={run}: its model was trained on rows of shape "
                f"{learned.input_shape}, got rows of shape {data.input_shape}; change encoder.run "
                "or data"
            )
        name = type(getattr(network, "module", network)).__name__
        numbers = (learned.mean, learned.std)
        prepare = Preparer(learned, hardware.device)
        super().__init__(name, network, prepare, numbers, hardware.device, data.inputs[:1])
