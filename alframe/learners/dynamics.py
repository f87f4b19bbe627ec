"""What every row did in every epoch, recorded while the model trains."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import numpy as np
import torch
from torch import Tensor

from alframe.errors import UserError
from alframe.observations import Table
from alframe.protocols import Need, Rows
from alframe.tasks.classification import DYNAMICS
from alframe.world import here


def stop_after(needs: Sequence[Need], epochs: int) -> int:
    """Returns after how many of ``epochs`` a fit may stop: the last that any of its needs asks for.

    A fit that no need was passed to, or one that says nothing, goes to its end.
    """
    asked = [epochs if need.until_epoch is None else need.until_epoch for need in needs]
    return min(max(asked, default=epochs), epochs)


def history_bytes(need: Need, epochs: int) -> int:
    """Returns what one row's history takes; the mean of several fits is kept in float32.

    Raises:
        UserError: For a field that nothing records.
    """
    strange = sorted(set(need.fields) - set(DYNAMICS))
    if strange:
        raise UserError(
            f"the strategy needs the dynamics {', '.join(strange)}: expected some of "
            f"{', '.join(DYNAMICS)}; change strategy.field"
        )
    kept = torch.float32 if need.fits > 1 else history_type(need.fields)
    return kept.itemsize * len(need.fields) * stop_after([need], epochs)


def history_type(fields: tuple[str, ...]) -> torch.dtype:
    """Returns how these values are kept: the smallest type that holds them all.

    Most lie in [-1, 1.5]; the length of a gradient could pass float16's 65,504.
    """
    if fields == ("correct",):
        return torch.uint8
    return torch.float32 if "gradient_norm" in fields else torch.float16


@contextmanager
def _in_any_order() -> Iterator[None]:
    deterministic = torch.are_deterministic_algorithms_enabled()
    only_warns = torch.is_deterministic_algorithms_warn_only_enabled()
    torch.use_deterministic_algorithms(False)
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(deterministic, warn_only=only_warns)


def history_table(rows: Rows, history: Tensor, fields: tuple[str, ...]) -> Table:
    """Returns a recorded history [epochs, rows, fields] as a table; the rows ascend."""
    return Table(rows, history, "selector's dynamics", fields)


class Recorder:
    """Keeps some values of each training batch on the device, [epochs, rows, fields].

    Values are those of a row's own label, also where mixup mixes another row into its input.
    Nothing is synchronized with the host during the fit. ``correct`` alone takes a byte for each
    row and epoch, other fields two each (float16), or four where `history_type` says so.

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
        kept = history_type(fields)
        self.history = torch.zeros(epochs, rows, len(fields), dtype=kept, device=device)
        # Of the epoch that is not over: always in the same place, as a captured step needs it.
        self._current = torch.zeros(rows, len(fields), dtype=kept, device=device)

    def record(self, positions: Tensor, values: Tensor) -> None:
        """Takes a batch's values [b, fields] at its positions in the view."""
        # A row comes once, in whatever order: torch's deterministic way would wait for the device
        # to look at the positions, which a captured step cannot.
        with _in_any_order():
            self._current[positions] = values.to(self._current.dtype)

    def end_epoch(self) -> None:
        """Moves on to the next epoch."""
        self.history[self.epochs_done] = self._whole()
        self._current.zero_()
        self.epochs_done += 1

    def _whole(self) -> Tensor:
        """Returns what all processes recorded of the epoch; each row was trained on in one."""
        if here().size == 1:
            return self._current
        return here().total(self._current.float()).to(self._current.dtype)

    def table(self, rows: Rows) -> Table:
        """Returns the finished epochs.

        Args:
            rows: Of the view, in its order.
        """
        order = np.argsort(rows)
        history = self.history[: self.epochs_done].cpu()
        return history_table(rows[order], history[:, torch.from_numpy(order)], self.fields)

    def state(self) -> dict[str, Tensor | int]:
        """Returns what a checkpoint needs: the epochs so far, and what is known of the next."""
        return {
            "history": self.history[: self.epochs_done].cpu(),
            "epochs": self.epochs_done,
            "current": self._whole().cpu(),
        }

    def load(self, state: dict[str, Tensor | int]) -> None:
        """Goes on from `state`."""
        self.epochs_done = int(state["epochs"])
        self.history[: self.epochs_done] = torch.as_tensor(state["history"]).to(self.history.device)
        # version 0.1.0 saved at the end of an epoch alone; what all processes recorded is one's
        if "current" in state and here().first:
            self._current.copy_(torch.as_tensor(state["current"]))
