"""The Lightning learner: fit, observe and evaluate a neural network."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import torch
from torch import nn

from alframe.data.batches import Loader, Preparer
from alframe.data.dataset import Dataset
from alframe.data.loaders import make_loader
from alframe.data.stored import check_in_memory
from alframe.errors import UserError
from alframe.learners.calls import Calls
from alframe.learners.dealt import observed_together
from alframe.learners.dropout import ConsistentDropout, dropping_layers
from alframe.learners.dynamics import Recorder, history_bytes, history_table, stop_after
from alframe.learners.evaluate import Split, batch_size, evaluate, forward, observed
from alframe.learners.hardware import Hardware
from alframe.learners.keeper import Keeper
from alframe.learners.module import FitModule
from alframe.learners.own import Maker, make_network, own_module
from alframe.learners.recipe import Recipe
from alframe.learners.step import Objective
from alframe.learners.synced import synced
from alframe.learners.training import make_trainer, train
from alframe.meter import Meter
from alframe.models.flops import multiply_adds
from alframe.observations import Table, TableObservations, one_pass, passed_over
from alframe.protocols import Array, Need, Rows, State, View, Workspace
from alframe.tasks.classification import Classification

WEIGHT = "weight/"


class LightningLearner:
    """Trains a model by a recipe on one device.

    Args:
        data: Gives inputs by row, and the validation and test splits.
        task: Loss, metrics, and what is recorded.
        model: Called with ``num_classes`` and ``input_shape``, returns a module that gives logits;
            None where ``module`` brings its own network.
        recipe: Optimizer, schedule, epochs, augmentation.
        hardware: Device, precision, what is compiled.
        module: None, or what makes a LightningModule that trains itself: called with ``model``, the
            network, or without one with ``num_classes`` and ``input_shape``. Its ``forward`` gives
            logits; its ``training_step`` gets a `Batch`; its ``configure_optimizers`` takes the
            place of the recipe's optimizer, learning rates and label smoothing. Nothing is recorded
            of it, and ``compile``, ``cuda_graphs`` and ``steps_per_call`` are its own matter.

    Attributes:
        records: Also ``mc_probs`` where the model has dropout layers, see `ConsistentDropout`.
        multiply_adds: Of the model, for one row.
        module: What was given.
    """

    records = frozenset({"probs", "embeddings", "dynamics"})

    def __init__(
        self,
        data: Dataset,
        task: Classification,
        model: Maker | None,
        recipe: Recipe,
        hardware: Hardware,
        module: Maker | None = None,
    ) -> None:
        if recipe.early_stopping is not None and not len(data.validation_rows):
            raise UserError(
                f"recipe.early_stopping={recipe.early_stopping} watches the validation rows: "
                "expected some, got data.validation=0; set recipe.early_stopping=null or "
                "data.validation"
            )
        recipe.augmentation.check(data)
        check_in_memory(data.inputs)
        self.data = data
        self.task = task
        self.recipe = recipe
        self.hardware = hardware
        self._model = model
        self.module = module
        if module is not None:
            self.records -= {"dynamics"}
        hardware.set_up()
        self._embedding_width = self._try_model()

    def build(self) -> nn.Module:
        """Returns an untrained model, its initial weights drawn from torch's random state."""
        shape = {"num_classes": self.task.num_outputs, "input_shape": self.data.input_shape}
        layout = torch.channels_last if self.data.kind == "images" else torch.preserve_format
        return make_network(self._model, self.module, **shape).to(memory_format=layout)

    def fit(
        self, view: View, rng: np.random.Generator, needs: Sequence[Need], workspace: Workspace
    ) -> LightningFitted:
        """See `alframe.protocols.Learner.fit`."""
        seed, device = int(rng.integers(2**31)), self.hardware.device
        loader = make_loader(
            self.data,
            view,
            batch_size=self.recipe.batch_size,
            how=self.recipe.augmentation,
            seed=seed,
            device=device,
        )
        epochs = stop_after(needs, self.recipe.total_epochs(len(loader)))
        fields = recorded_fields(needs)
        recorder = Recorder(fields, epochs, len(view.rows), device) if fields else None
        with torch.random.fork_rng(devices=self.hardware.gpus):
            torch.manual_seed(seed)
            model = synced(self.build(), device)
            keeper = Keeper(
                self.recipe,
                seed,
                lambda split: evaluate(model, self.data, split, self.task, device),
                self.task.error,
                workspace,
            )
            with Meter() as meter, closing(loader):
                self._train(model, loader, keeper, epochs, recorder)
        model.to(device)
        fitted = LightningFitted(self, model, keeper.seconds, seed)
        fitted.costs = {
            "samples": keeper.epochs * len(view.rows),
            "peak_bytes": meter.peak_bytes,
            "multiply_adds": self.multiply_adds,
            "compile_seconds": keeper.compile_seconds,
        }
        keeper.add_point(keeper.epochs, "test", fitted.evaluate("test"))
        fitted.curve = keeper.curve
        if recorder is not None:
            fitted.dynamics = recorder.table(view.rows)
        return fitted

    def restore(self, state: State) -> LightningFitted:
        """See `alframe.protocols.Learner.restore`."""
        with torch.random.fork_rng(devices=[]):
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
        fitted.costs = state.get("costs", {})  # version 0.1.0 kept none
        if state["fields"]:
            history = torch.from_numpy(state["dynamics"])
            fitted.dynamics = history_table(state["dynamics_rows"], history, tuple(state["fields"]))
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
        with torch.random.fork_rng(devices=[]):
            model = self.build()
        if dropping_layers(model):
            self.records |= {"mc_probs"}
        prepare = Preparer(self.data, torch.device("cpu"))
        try:
            seen = next(forward(model, self.data, self.data.inputs, np.arange(1), prepare.device))
            row = prepare(torch.from_numpy(self.data.inputs[:1]))
            self.multiply_adds = multiply_adds(model, row)
        except RuntimeError as error:
            raise UserError(
                f"model does not take rows of shape {self.data.input_shape} ({error}): expected "
                "one that fits the data; change the model or data"
            ) from error
        if seen.logits.shape != (1, self.task.num_outputs):
            raise UserError(
                f"model gives outputs of shape {tuple(seen.logits.shape)} for one row: expected "
                f"(1, {self.task.num_outputs}); change model"
            )
        return int(seen.embeddings.shape[1])

    def _train(
        self,
        model: nn.Module,
        loader: Loader,
        keeper: Keeper,
        epochs: int,
        recorder: Recorder | None,
    ) -> None:
        trainer = make_trainer(self.hardware, epochs, keeper)
        own = own_module(model)
        if own is not None:
            train(own, Calls(loader, None), keeper, trainer)
            return
        fields = () if recorder is None else recorder.fields
        objective = Objective(model, self.task, self.recipe.label_smoothing, fields)
        module = FitModule(objective, self.recipe, self.hardware, len(loader), epochs, recorder)
        train(module, Calls(loader, self.hardware.calls), keeper, trainer)


@dataclass
class LightningFitted:
    """A trained network.

    Attributes:
        learner: Who trained it.
        model: The network, on the learner's device.
        seconds: Wall-clock of the training steps, over all parts of an interrupted fit, without
            compiling, which ``costs`` has.
        seed: Of the fit; Monte-Carlo draws are a function of it.
        curve: Points of the fit's own curve, for display.
        dynamics: Recorded history [epochs, rows, fields], or None.
        metrics: By split, as far as they were measured.
        costs: See `alframe.protocols.Fitted`.
    """

    learner: LightningLearner
    model: nn.Module
    seconds: float
    seed: int
    curve: list[dict[str, Any]] = field(default_factory=list)
    dynamics: Table | None = None
    metrics: dict[str, dict[str, float]] = field(default_factory=dict)
    costs: dict[str, float | None] = field(default_factory=dict)

    def observe(self, requests: Mapping[Need, Rows]) -> TableObservations:
        """See `alframe.protocols.Fitted.observe`."""
        of = self.learner
        device = of.hardware.device
        draws = max((n.draws for n in requests if n.what == "mc_probs"), default=0)
        dropout = ConsistentDropout(self.model, self.seed, draws) if draws else None

        def look(some: Mapping[Need, Rows]) -> dict[Need, Table]:
            rows = passed_over(some)
            return one_pass(some, observed(self.model, of.data, rows, of.task, device, dropout))

        tables = observed_together(requests, batch_size(device), look)
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
            "costs": self.costs,
            "fields": [] if self.dynamics is None else list(self.dynamics.fields),
        }
        if self.dynamics is not None:
            state["dynamics"] = self.dynamics.values.numpy()
            state["dynamics_rows"] = self.dynamics.rows
        return {**state, **weights}


def recorded_fields(needs: Sequence[Need]) -> tuple[str, ...]:
    """Returns the union of what the needs ask to be recorded, in a fixed order."""
    return tuple(sorted({name for need in needs for name in need.fields}))
