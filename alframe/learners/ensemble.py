"""A deep ensemble: one network, trained several times from different seeds."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, nn

from alframe.data.dataset import Dataset
from alframe.errors import UserError
from alframe.files import CorruptFileError, decode_state, encode_state, write_atomic
from alframe.learners.dealt import observed_together
from alframe.learners.evaluate import Split, batch_size, forward, split_arrays
from alframe.learners.hardware import Hardware
from alframe.learners.lightning import LightningFitted, LightningLearner
from alframe.observations import Table, TableObservations, one_pass, passed_over
from alframe.options import check_whole
from alframe.protocols import Need, Rows, State, View, Workspace
from alframe.tasks.classification import Classification
from alframe.world import here

log = logging.getLogger(__name__)


class EnsembleLearner:
    """Trains the members one after the other; their mean probabilities are the prediction.

    ``mc_probs`` are the members' probabilities, and embeddings those of the first member.
    Everything takes as many times the seconds and the memory of a model as there are members.

    **Source:** Lakshminarayanan, Pritzel & Blundell, "Simple and Scalable Predictive Uncertainty
    Estimation using Deep Ensembles" (NeurIPS 2017), algorithm 1; arXiv:1612.01474. For active
    learning: Beluch et al., "The Power of Ensembles for Active Learning in Image Classification"
    (CVPR 2018). **Deviations:** no adversarial training, as in the latter.

    Args:
        member: A partial `LightningLearner`, to be given data, task and hardware.
        members: How many, 2 or more.
        data: Gives inputs by row, and the validation and test splits.
        task: Loss and metrics.
        hardware: Device and precision.
    """

    records = frozenset({"probs", "mc_probs", "embeddings"})

    def __init__(
        self,
        member: Callable[..., LightningLearner],
        members: int,
        data: Dataset,
        task: Classification,
        hardware: Hardware,
    ) -> None:
        check_whole("members", members, at_least=2)
        made_by = getattr(member, "func", member)
        if not (isinstance(made_by, type) and issubclass(made_by, LightningLearner)):
            raise UserError(
                f"member={getattr(made_by, '__name__', made_by)}: expected a LightningLearner, "
                "whose fits differ by their seeds, such as that of learner=small_cnn"
            )
        self.member = member(data=data, task=task, hardware=hardware)
        self.members = members

    def fit(
        self,
        view: View,
        rng: np.random.Generator,
        needs: Sequence[Need],  # noqa: ARG002 it records no dynamics
        workspace: Workspace,
    ) -> EnsembleFitted:
        """See `alframe.protocols.Learner.fit`."""
        fitted: list[LightningFitted] = []
        for number, seed in enumerate(rng.integers(2**63, size=self.members).tolist()):
            place = MemberWorkspace(workspace, number, _epochs(fitted))
            fitted.append(self._fit_member(view, seed, place))
        ensemble = EnsembleFitted(self, fitted)
        error = self.member.task.error(ensemble.evaluate("test"))
        point = {"epoch": _epochs(fitted), "seconds": ensemble.seconds, "split": "test"}
        ensemble.curve = [{**point, "error": error}]
        return ensemble

    def restore(self, state: State) -> EnsembleFitted:
        """See `alframe.protocols.Learner.restore`."""
        fitted = []
        for number in range(self.members):
            prefix = _name(number) + "/"
            own = {k.removeprefix(prefix): v for k, v in state.items() if k.startswith(prefix)}
            fitted.append(self.member.restore(own))
        return EnsembleFitted(self, fitted, state["curve"], state["metrics"])

    def width(self, what: Literal["probs", "embeddings"]) -> int:
        """See `alframe.protocols.Learner.width`."""
        return self.member.width(what)

    def bytes_per_row(self, need: Need) -> int:
        """See `alframe.protocols.Learner.bytes_per_row`.

        Raises:
            UserError: If more draws are asked for than there are members.
        """
        if need.draws > self.members:
            raise UserError(
                f"members={self.members}: expected at least as many as the strategy draws "
                f"(strategy.draws={need.draws}); set strategy.draws={self.members} or raise members"
            )
        return self.member.bytes_per_row(need)

    def _fit_member(self, view: View, seed: int, place: MemberWorkspace) -> LightningFitted:
        """Trains a member, goes on with it, or returns it from where it was saved."""
        saved = here().on_first(place.saved)
        if saved is not None:
            return self.member.restore(saved)
        fitted = self.member.fit(view, np.random.default_rng(seed), (), place)
        place.save(fitted.state())
        return fitted


@dataclass(frozen=True)
class MemberWorkspace:
    """A member's part of the ensemble's workspace.

    Attributes:
        whole: The ensemble's.
        number: Of the member.
        epochs: Of the members before it, from which its own are counted on.
    """

    whole: Workspace
    number: int
    epochs: int

    @property
    def folder(self) -> Path | None:
        """See `alframe.protocols.Workspace.folder`."""
        if self.whole.folder is None:
            return None
        folder = self.whole.folder / _name(self.number)
        folder.mkdir(parents=True, exist_ok=True)
        return folder

    def log(self, epoch: int, values: Mapping[str, float]) -> None:
        """See `alframe.protocols.Workspace.log`."""
        named = {f"{_name(self.number)}_{key}": value for key, value in values.items()}
        self.whole.log(self.epochs + epoch, named)

    def save(self, state: State) -> None:
        """Keeps a finished member, and nothing else of its fit."""
        if self.folder is not None:
            write_atomic(self.folder.with_suffix(".npz"), encode_state(state))
            shutil.rmtree(self.folder)

    def saved(self) -> State | None:
        """Returns what was saved, or None."""
        path = None if self.folder is None else self.folder.with_suffix(".npz")
        if path is None or not path.is_file():
            return None
        try:
            return decode_state(path)
        except CorruptFileError as error:
            log.warning("%s; the member is trained again", error)
            return None


@dataclass
class EnsembleFitted:
    """Trained networks.

    Attributes:
        learner: Who trained them.
        members: The networks.
        curve: One point, the end, after the epochs of all members.
        metrics: By split, as far as they were measured.
    """

    learner: EnsembleLearner
    members: list[LightningFitted]
    curve: list[dict[str, Any]] = field(default_factory=list)
    metrics: dict[str, dict[str, float]] = field(default_factory=dict)

    @property
    def seconds(self) -> float:
        """See `alframe.protocols.Fitted.seconds`."""
        return sum(member.seconds for member in self.members)

    @property
    def costs(self) -> dict[str, float | None]:
        """See `alframe.protocols.Fitted`; the members were trained one after the other."""
        members = [member.costs for member in self.members]
        if not all(members):  # version 0.1.0 kept none
            return {}
        peaks = [costs["peak_bytes"] for costs in members]
        return {
            "samples": sum(costs["samples"] or 0 for costs in members),
            "peak_bytes": max((peak for peak in peaks if peak is not None), default=None),
            "multiply_adds": sum(costs["multiply_adds"] or 0 for costs in members),
            "compile_seconds": sum(costs.get("compile_seconds") or 0.0 for costs in members),
        }

    def observe(self, requests: Mapping[Need, Rows]) -> TableObservations:
        """See `alframe.protocols.Fitted.observe`."""
        for need in requests:
            self.learner.bytes_per_row(need)  # refuses more draws than there are members
        size = batch_size(self.learner.member.hardware.device)
        return TableObservations(observed_together(requests, size, self._looked))

    def _looked(self, requests: Mapping[Need, Rows]) -> dict[Need, Table]:
        return one_pass(requests, self._batches(passed_over(requests)))

    def _batches(self, rows: Rows) -> Iterator[tuple[Rows, Mapping[str, Tensor]]]:
        of = self.learner.member
        device = of.hardware.device
        for seen in forward(self._side_by_side, of.data, of.data.inputs, rows, device):
            probs = of.task.probs(seen.logits)
            own = seen.embeddings[:, : self.learner.width("embeddings")].float()
            # A copy, which does not hold on to the other members' embeddings.
            outputs = {"probs": probs.mean(1), "mc_probs": probs, "embeddings": own.clone()}
            yield seen.rows, outputs

    def evaluate(self, split: Split) -> dict[str, float]:
        """See `alframe.protocols.Fitted.evaluate`."""
        if split not in self.metrics:
            of = self.learner.member
            inputs, labels = split_arrays(of.data, split)
            meter = of.task.meter(of.hardware.device)
            device = of.hardware.device
            wanted = torch.from_numpy(labels).to(device)
            every = np.arange(len(labels))
            for seen in forward(self._side_by_side, of.data, inputs, every, device):
                probs = of.task.probs(seen.logits.double()).mean(1)
                tiny = torch.finfo(probs.dtype).tiny  # a finite loss where no member sees a chance
                meter.update(probs.clamp_min(tiny).log(), wanted[seen.places])
            self.metrics[split] = meter.compute()
        return self.metrics[split]

    def state(self) -> State:
        """See `alframe.protocols.Fitted.state`."""
        state: State = {"seconds": self.seconds, "curve": self.curve, "metrics": self.metrics}
        for number, member in enumerate(self.members):
            state |= {f"{_name(number)}/{key}": value for key, value in member.state().items()}
        return state

    @property
    def _side_by_side(self) -> SideBySide:
        return SideBySide([member.model for member in self.members])


class SideBySide(nn.Module):
    """Networks of one shape, as one model whose logits are [b, networks, classes].

    Its embedding holds those of the networks, one after the other.
    """

    def __init__(self, networks: Sequence[nn.Module]) -> None:
        super().__init__()
        self.networks: Any = nn.ModuleList(networks)  # nn.Module says nothing of embed and head

    def embed(self, inputs: Tensor) -> Tensor:
        """Returns embeddings [b, networks * d]."""
        # A copy for each network, which may change what it is given.
        return torch.cat([network.embed(inputs.clone()) for network in self.networks], 1)

    def head(self, embedding: Tensor) -> Tensor:
        """Returns logits [b, networks, classes]."""
        parts = embedding.chunk(len(self.networks), 1)
        pairs = zip(self.networks, parts, strict=True)
        return torch.stack([network.head(part) for network, part in pairs], 1)


def _name(number: int) -> str:
    return f"member_{number}"


def _epochs(fitted: Sequence[LightningFitted]) -> int:
    return sum(member.curve[-1]["epoch"] for member in fitted)
