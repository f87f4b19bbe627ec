"""The Lightning learner: fit, observe and evaluate a neural network."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import pytorch_lightning as pl
import torch
from torch import Tensor, nn

from alframe.data.dataset import Dataset
from alframe.data.device import DeviceLoader, Preparer
from alframe.errors import UserError
from alframe.learners.dropout import ConsistentDropout, dropping_layers
from alframe.learners.dynamics import Recorder, history_bytes, stop_after
from alframe.learners.evaluate import Split, evaluate, forward, observed
from alframe.learners.hardware import Hardware
from alframe.learners.keeper import Keeper, checkpoint_in
from alframe.learners.module import FitModule
from alframe.learners.recipe import Recipe
from alframe.models.embedding import with_embedding
from alframe.observations import Table, TableObservations, one_pass, passed_over
from alframe.progress import bar
from alframe.protocols import Array, Need, Rows, State, View, Workspace
from alframe.tasks.classification import Classification

WEIGHT = "weight/"


class LightningLearner:
    """Trains a model by a recipe on one device.

    Args:
        data: Gives inputs by row, and the validation and test splits.
        task: Loss, metrics, and what is recorded.
        model: Called with ``num_classes`` and ``input_shape``, returns a module.
        recipe: Optimizer, schedule, epochs, augmentation.
        hardware: Device and precision.

    Attributes:
        records: Also ``mc_probs`` where the model has dropout layers, see `ConsistentDropout`.
    """

    records = frozenset({"probs", "embeddings", "dynamics"})

    def __init__(
        self,
        data: Dataset,
        task: Classification,
        model: Callable[..., nn.Module],
        recipe: Recipe,
        hardware: Hardware,
    ) -> None:
        if recipe.early_stopping is not None and not len(data.validation_rows):
            raise UserError(
                f"recipe.early_stopping={recipe.early_stopping} watches the validation rows: "
                "expected some, got data.validation=0; set recipe.early_stopping=null or "
                "data.validation"
            )
        self.data = data
        self.task = task
        self.recipe = recipe
        self.hardware = hardware
        self._model = model
        hardware.set_up()
        self._embedding_width = self._try_model()

    def build(self) -> nn.Module:
        """Returns an untrained model, its initial weights drawn from torch's random state."""
        model = self._model(num_classes=self.task.num_outputs, input_shape=self.data.input_shape)
        layout = torch.channels_last if self.data.kind == "images" else torch.preserve_format
        return with_embedding(model).to(memory_format=layout)

    def fit(
        self, view: View, rng: np.random.Generator, needs: Sequence[Need], workspace: Workspace
    ) -> LightningFitted:
        """See `alframe.protocols.Learner.fit`."""
        seed = int(rng.integers(2**31))
        fields = recorded_fields(needs)
        device = self.hardware.device
        loader = DeviceLoader(
            self.data,
            view,
            batch_size=self.recipe.batch_size,
            how=self.recipe.augmentation,
            seed=seed,
            device=device,
        )
        epochs = stop_after(needs, self.recipe.total_epochs(len(loader)))
        recorder = Recorder(fields, epochs, len(view.rows), device) if fields else None
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            model = self.build()
            module = FitModule(model, self.recipe, self.task, len(loader), recorder)
            keeper = Keeper(
                self.recipe,
                seed,
                lambda split: evaluate(model, self.data, split, self.task, device),
                self.task.error,
                workspace,
            )
            self._train(module, loader, keeper, workspace, epochs)
        model.to(device)
        fitted = LightningFitted(self, model, keeper.seconds, seed)
        point = {"epoch": keeper.epochs, "seconds": keeper.seconds, "split": "test"}
        error = self.task.error(fitted.evaluate("test"))
        fitted.curve = [*keeper.curve, {**point, "error": error}]
        if recorder is not None:
            history = recorder.history[: recorder.epochs_done].cpu()
            order = np.argsort(view.rows)
            fitted.dynamics = recorded(
                view.rows[order], history[:, torch.from_numpy(order)], fields
            )
        return fitted

    def restore(self, state: State) -> LightningFitted:
        """See `alframe.protocols.Learner.restore`."""
        with torch.random.fork_rng():
            model = self.build()
        weights = {
            key.removeprefix(WEIGHT): torch.from_numpy(value)
            for key, value in state.items()
            if key.startswith(WEIGHT)
        }
        model.load_state_dict(weights)
        model.to(self.hardware.device)
        seed = state.get("seed", 0)  # version 0.1.0 kept none, and drew none
        fitted = LightningFitted(self, model, state["seconds"], seed)
        fitted.curve, fitted.metrics = state["curve"], state["metrics"]
        if state["fields"]:
            history = torch.from_numpy(state["dynamics"])
            fitted.dynamics = recorded(state["dynamics_rows"], history, tuple(state["fields"]))
        return fitted

    def width(self, what: Literal["probs", "embeddings"]) -> int:
        """See `alframe.protocols.Learner.width`."""
        return self.task.num_outputs if what == "probs" else self._embedding_width

    def bytes_per_row(self, need: Need) -> int:
        """See `alframe.protocols.Learner.bytes_per_row`."""
        if need.what == "dynamics":
            return history_bytes(need, self.recipe.total_epochs(steps_per_epoch=1))
        if need.reduce is not None:
            return 4
        if need.what == "mc_probs":
            return 4 * need.draws * self.task.num_outputs
        return 4 * self.width(need.what)

    def _try_model(self) -> int:
        """Builds the model, looks at one row with it, and returns the embedding's width.

        Also notes whether Monte-Carlo draws of it differ.
        """
        with torch.random.fork_rng():
            model = self.build()
        if dropping_layers(model):
            self.records |= {"mc_probs"}
        prepare = Preparer(self.data, torch.device("cpu"))
        try:
            _, logits, embedding = next(forward(model, self.data.inputs, np.arange(1), prepare))
        except RuntimeError as error:
            raise UserError(
                f"model does not take rows of shape {self.data.input_shape} ({error}): expected "
                "one that fits the data; change the model or data"
            ) from error
        if logits.shape != (1, self.task.num_outputs):
            raise UserError(
                f"model gives outputs of shape {tuple(logits.shape)} for one row: expected "
                f"(1, {self.task.num_outputs}); change model"
            )
        return int(embedding.shape[1])

    def _train(
        self,
        module: FitModule,
        loader: DeviceLoader,
        keeper: Keeper,
        workspace: Workspace,
        epochs: int,
    ) -> None:
        checkpoint = checkpoint_in(workspace.folder)
        trainer = self._trainer(keeper, epochs)
        try:
            with bar("training", epochs * len(loader)) as keeper.advance:
                trainer.fit(module, loader, ckpt_path=checkpoint, weights_only=True)
        except SystemExit as stop:  # what Lightning makes of Ctrl-C
            if isinstance(stop.__context__, KeyboardInterrupt):
                raise KeyboardInterrupt from stop
            raise

    def _trainer(self, keeper: Keeper, epochs: int) -> pl.Trainer:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return pl.Trainer(
                accelerator="gpu" if self.hardware.device.type == "cuda" else "cpu",
                devices=1,
                precision=self.hardware.lightning_precision,  # type: ignore[arg-type]
                deterministic=self.hardware.deterministic,
                max_epochs=epochs,
                callbacks=[keeper],
                logger=False,
                enable_checkpointing=False,
                enable_progress_bar=False,
                enable_model_summary=False,
                use_distributed_sampler=False,
            )


@dataclass
class LightningFitted:
    """A trained network.

    Attributes:
        learner: Who trained it.
        model: The network, on the learner's device.
        seconds: Wall-clock of the training steps, over all parts of an interrupted fit.
        seed: Of the fit; Monte-Carlo draws are a function of it.
        curve: Points of the fit's own curve, for display.
        dynamics: Recorded history [epochs, rows, fields], or None.
        metrics: By split, as far as they were measured.
    """

    learner: LightningLearner
    model: nn.Module
    seconds: float
    seed: int
    curve: list[dict[str, Any]] = field(default_factory=list)
    dynamics: Table | None = None
    metrics: dict[str, dict[str, float]] = field(default_factory=dict)

    def observe(self, requests: Mapping[Need, Rows]) -> TableObservations:
        """See `alframe.protocols.Fitted.observe`."""
        of = self.learner
        rows = passed_over(requests)
        draws = max((n.draws for n in requests if n.what == "mc_probs"), default=0)
        dropout = ConsistentDropout(self.model, self.seed, draws) if draws else None
        batches = observed(self.model, of.data, rows, of.task, of.hardware.device, dropout)
        tables = one_pass(requests, batches)
        if self.dynamics is not None:
            tables |= {need: self.dynamics for need in requests if need.what == "dynamics"}
        return TableObservations(tables)

    def evaluate(self, split: Split) -> dict[str, float]:
        """See `alframe.protocols.Fitted.evaluate`."""
        if split not in self.metrics:
            of = self.learner
            metrics = evaluate(self.model, of.data, split, of.task, of.hardware.device)
            self.metrics[split] = metrics
        return self.metrics[split]

    def state(self) -> State:
        """See `alframe.protocols.Fitted.state`."""
        weights: dict[str, Array] = {
            WEIGHT + name: tensor.cpu().numpy() for name, tensor in self.model.state_dict().items()
        }
        state: State = {
            "seconds": self.seconds,
            "seed": self.seed,
            "curve": self.curve,
            "metrics": self.metrics,
            "fields": [] if self.dynamics is None else list(self.dynamics.fields),
        }
        if self.dynamics is not None:
            state["dynamics"] = self.dynamics.values.numpy()
            state["dynamics_rows"] = self.dynamics.rows
        return {**state, **weights}


def recorded(rows: Rows, history: Tensor, fields: tuple[str, ...]) -> Table:
    """Returns a recorded history [epochs, rows, fields] as a table."""
    return Table(rows, history, "dynamics", fields)


def recorded_fields(needs: Sequence[Need]) -> tuple[str, ...]:
    """Returns the union of what the needs ask to be recorded, in a fixed order."""
    return tuple(sorted({name for need in needs for name in need.fields}))
