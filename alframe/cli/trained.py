"""Finds a model that alframe trained, in a run directory or among shared fits, and restores it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import nn

from alframe.cli.build import accepted, build, find_target
from alframe.data.dataset import Dataset
from alframe.encoders.run import Trained
from alframe.errors import UserError
from alframe.files import CorruptFileError, decode_state
from alframe.learners.hardware import Hardware
from alframe.run_dir import read_config

Node = Mapping[str, Any]


@dataclass(frozen=True)
class Fit:
    """A finished fit on disk.

    Attributes:
        name: For people.
        file: Its state.
        learner: Config of its learner.
        task: Config of its task.
        data: Config of its data, where they were.
        fingerprint: Of its data.
    """

    name: str
    file: Path
    learner: Node
    task: Node
    data: Node
    fingerprint: str


class TrainedModels:
    """Restores models by where they are.

    Args:
        config: Of the dataset that is there.
        data: That dataset, which stands for what a model was trained on if they are equal.
        hardware: Where models go.
    """

    def __init__(self, config: Node, data: Dataset, hardware: Hardware) -> None:
        self._config = config
        self._data = data
        self._hardware = hardware

    def __call__(self, run: str, model: str, fit: str | None) -> Trained:
        """See `alframe.encoders.run.RunEncoder`.

        Raises:
            UserError: If there is no such fit, it has no network, or its data cannot be had.
        """
        path = Path(run).expanduser()
        shared = (path / "fit.json").is_file()
        found = _shared_fit(path) if shared else _fit_of_run(path, model, fit)
        data = self._training_data(found, run)
        task = build({"task": found.task}, "task", data=data)
        context = {"data": data, "task": task, "hardware": self._hardware, "seed": 0}
        learner = build({model: found.learner}, model, **context)
        try:
            fitted = learner.restore(decode_state(found.file))
        except (CorruptFileError, OSError, KeyError, RuntimeError) as error:
            raise UserError(
                f"encoder.run={run}: {found.file} cannot be restored ({error}); change encoder.run "
                "or encoder.fit"
            ) from error
        first = getattr(fitted, "members", [fitted])[0]  # whose embeddings are an ensemble's
        network = getattr(first, "model", None)
        if not isinstance(network, nn.Module):
            raise UserError(
                f"encoder.run={run}: its {model} is a {type(learner).__name__}, which has no "
                "network; use encoder=raw for what it sees, or change encoder.run"
            )
        return Trained(network, data, found.name)

    def _training_data(self, fit: Fit, run: str) -> Dataset:
        if fit.fingerprint == self._data.fingerprint:
            return self._data
        try:
            data: Dataset = build({"data": self._found_here(fit.data)}, "data")
        except UserError as error:
            raise UserError(
                f"encoder.run={run}: what its model was trained on says how inputs are "
                f"standardized, but cannot be had: {error}"
            ) from error
        if data.fingerprint != fit.fingerprint:
            raise UserError(
                f"encoder.run={run}: its model was trained on data of fingerprint "
                f"{fit.fingerprint}, but they are now {data.fingerprint}; restore the data, or "
                "change encoder.run"
            )
        return data

    def _found_here(self, node: Node) -> Node:
        """Returns a dataset's config with the data directory of today, if it has one."""
        takes, _ = accepted(find_target(node, "data"))
        here = {"root"} & takes & self._config.keys()
        return {**node, **{key: self._config[key] for key in here}}


def _fit_of_run(path: Path, model: str, fit: str | None) -> Fit:
    try:
        config = read_config(path)
        status = json.loads((path / "status.json").read_text())
        fingerprint = str(status["data"]["fingerprint"])
    except (UserError, OSError, ValueError, KeyError) as error:
        raise UserError(
            f"encoder.run={path}: expected a run directory or the folder of a shared fit, got "
            f"none ({error}); change encoder.run"
        ) from error
    if config.get(model) is None:
        raise UserError(f"encoder.model={model}: the run at {path} has none; change encoder.model")
    names = sorted(file.parent.name for file in (path / "fits").glob("*/fitted.npz"))
    name = _chosen(names, model, status.get("state") == "done") if fit is None else fit
    if name not in names or name.rpartition("_")[2] != model:
        mine = [each for each in names if each.rpartition("_")[2] == model]
        raise UserError(
            f"encoder.fit={fit}: expected a finished fit of the {model} of {path}, which has "
            f"{', '.join(mine) or 'none'}; change encoder.fit, encoder.model or encoder.run"
        )
    file = path / "fits" / name / "fitted.npz"
    return Fit(name, file, config[model], config["task"], config["data"], fingerprint)


def _chosen(names: list[str], model: str, finished: bool) -> str | None:
    """Returns the fit on all rows, or the last round's, of a run that is finished."""
    if not finished:
        return None
    whole = next((name for name in (f"full_{model}", model) if name in names), None)
    rounds = [name for name in names if name.startswith("round_") and name.endswith(f"_{model}")]
    return whole or (rounds[-1] if rounds else None)


def _shared_fit(path: Path) -> Fit:
    try:
        about = json.loads((path / "fit.json").read_text())
        signed = about["signed"]
        data = _unflatten(signed["data"])["data"]
        task, learner = signed["task"]["config"], signed["learner"]["config"]
        if about["state"] != "done":
            raise UserError("it is still being trained")
        fingerprint = str(signed["fingerprint"])
    except (UserError, OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(
            f"encoder.run={path}: expected a finished shared fit ({type(error).__name__}: {error})"
            "; change encoder.run"
        ) from error
    return Fit(about["what"], path / "fitted.npz", learner, task, data, fingerprint)


def _unflatten(flat: Mapping[str, Any]) -> dict[str, Any]:
    """Returns dotted keys to leaves as nested mappings."""
    nested: dict[str, Any] = {}
    for key, value in flat.items():
        *parents, name = key.split(".")
        place = nested
        for parent in parents:
            place = place.setdefault(parent, {})
        place[name] = value
    return nested
