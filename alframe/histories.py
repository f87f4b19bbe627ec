"""What several fits saw: the mean of their histories, and observations put together."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from alframe.observations import Table, TableObservations
from alframe.protocols import Need, Observations, Rows


class MeanHistory:
    """The mean of what some fits recorded for one need, of which one is held at a time.

    Where early stopping ended the fits after different numbers of epochs, the mean is over the
    epochs that all of them have.

    Args:
        need: Of dynamics.
        rows: For which it is needed, ascending.
    """

    def __init__(self, need: Need, rows: Rows) -> None:
        self._need = need
        self._rows = rows
        self._fits = 0
        self._mean = torch.empty(0)

    def add(self, seen: Observations) -> None:
        """Takes what one more fit recorded: all fields of the need, and no other need's."""
        fields = [seen.dynamics(self._rows, field) for field in self._need.fields]
        history = torch.stack(fields, -1)[: self._need.until_epoch]
        self._fits += 1
        if self._fits == 1:
            self._mean = history.float() if self._need.fits > 1 else history
            return
        epochs = min(len(self._mean), len(history))
        # in place: a step towards the new history, of one part in as many as there are by now
        self._mean = self._mean[:epochs].lerp_(history[:epochs].float(), 1 / self._fits)

    @property
    def table(self) -> Table:
        """The mean so far, [epochs, rows, fields]."""
        return Table(self._rows, self._mean, "selector's dynamics", self._need.fields)


def averaged(means: Mapping[Need, MeanHistory]) -> TableObservations:
    """Returns the means so far, as what was seen for their needs."""
    return TableObservations({need: mean.table for need, mean in means.items()})


class Joined:
    """Observations that come from several models, each of which serves some of the needs.

    Args:
        sources: The needs that are served together, and what was seen for them.
    """

    def __init__(self, sources: Sequence[tuple[Sequence[Need], Observations]]) -> None:
        self._sources = sources

    def probs(self, rows: Rows) -> Tensor:
        """See `alframe.protocols.Observations.probs`."""
        return self._source("probs").probs(rows)

    def mc_probs(self, rows: Rows) -> Tensor:
        """See `alframe.protocols.Observations.mc_probs`."""
        return self._source("mc_probs").mc_probs(rows)

    def embeddings(self, rows: Rows) -> Tensor:
        """See `alframe.protocols.Observations.embeddings`."""
        return self._source("embeddings").embeddings(rows)

    def dynamics(self, rows: Rows, field: str) -> Tensor:
        """See `alframe.protocols.Observations.dynamics`."""
        return self._source("dynamics", field).dynamics(rows, field)

    def of(self, needs: Sequence[Need]) -> Joined:
        """See `alframe.protocols.Observations.of`."""
        kept = [([n for n in served if n in needs], seen) for served, seen in self._sources]
        return Joined([(served, seen.of(served)) for served, seen in kept if served])

    def _source(self, what: str, field: str | None = None) -> Observations:
        name = what if field is None else f"{what} {field}"
        sources = [
            seen
            for served, seen in self._sources
            if any(n.what == what and (field is None or field in n.fields) for n in served)
        ]
        if not sources:
            raise KeyError(f"{name} is not among the strategy's needs")
        if len(sources) > 1:
            raise ValueError(
                f"{name} was asked for in {len(sources)} forms: expected seen.of(needs) with the "
                "needs of one of them"
            )
        return sources[0]
