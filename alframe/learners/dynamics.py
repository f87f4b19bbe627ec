"""What every row did in every epoch, recorded while the model trains."""

from __future__ import annotations

import torch
from torch import Tensor


class Recorder:
    """Keeps some values of each training batch on the device, [epochs, rows, fields].

    Nothing is synchronized with the host during the fit. ``correct`` alone takes a byte for each
    row and epoch, other fields two (float16).

    Args:
        fields: The values, see `alframe.protocols.Need.fields`.
        epochs: Passes over the rows at most.
        rows: Rows of the view.
        device: Where the model trains.
    """

    def __init__(
        self, fields: tuple[str, ...], epochs: int, rows: int, device: torch.device
    ) -> None:
        self.fields = fields
        self.epochs_done = 0
        dtype = torch.uint8 if fields == ("correct",) else torch.float16
        self.history = torch.zeros(epochs, rows, len(fields), dtype=dtype, device=device)

    def record(self, positions: Tensor, values: Tensor) -> None:
        """Takes a batch's values [b, fields] at its positions in the view."""
        self.history[self.epochs_done, positions] = values.to(self.history.dtype)

    def end_epoch(self) -> None:
        """Moves on to the next epoch."""
        self.epochs_done += 1

    def state(self) -> dict[str, Tensor | int]:
        """Returns what a checkpoint needs: the epochs so far."""
        return {"history": self.history[: self.epochs_done].cpu(), "epochs": self.epochs_done}

    def load(self, state: dict[str, Tensor | int]) -> None:
        """Goes on from `state`."""
        self.epochs_done = int(state["epochs"])
        self.history[: self.epochs_done] = torch.as_tensor(state["history"]).to(self.history.device)
