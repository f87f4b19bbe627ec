"""Lightning's trainer, and how it is run."""

from __future__ import annotations

import warnings

import pytorch_lightning as pl

from alframe.learners.calls import Calls
from alframe.learners.hardware import Hardware
from alframe.learners.keeper import Keeper, checkpoint_in
from alframe.learners.parallel import WeightedDDP
from alframe.progress import bar
from alframe.world import here


def train(
    module: pl.LightningModule,
    calls: Calls,
    keeper: Keeper,
    trainer: pl.Trainer,
) -> None:
    """Trains a module to its end, from where the keeper's checkpoint has it.

    Raises:
        KeyboardInterrupt: For Ctrl-C, or `alframe.signals.Left` for a cluster's signal, once the
            step under way is done and a checkpoint saved.
    """
    steps = (trainer.max_epochs or 0) * len(calls)
    try:
        with keeper.leaving.noting(), bar("training", steps) as keeper.advance:
            _fit(module, calls, keeper, trainer)
    finally:
        module.trainer = None  # which holds on to the loader


def _fit(module: pl.LightningModule, calls: Calls, keeper: Keeper, trainer: pl.Trainer) -> None:
    checkpoint = here().on_first(lambda: checkpoint_in(keeper.folder))
    try:
        trainer.fit(module, calls, ckpt_path=checkpoint, weights_only=True)
        keeper.leaving.join(*here().either(keeper.leaving.asked))
    except SystemExit as stop:  # what Lightning makes of Ctrl-C
        if isinstance(stop.__context__, KeyboardInterrupt):
            raise KeyboardInterrupt from stop
        raise


def make_trainer(hardware: Hardware, epochs: int, keeper: Keeper) -> pl.Trainer:
    """Returns a trainer that only trains: the keeper saves, nothing is logged or printed."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        world, device = here(), hardware.device
        return pl.Trainer(
            accelerator="gpu" if device.type == "cuda" else "cpu",
            devices=1,
            strategy="auto" if world.size == 1 else WeightedDDP(device, world),
            precision=hardware.lightning_precision,  # type: ignore[arg-type]
            deterministic=hardware.deterministic,
            max_epochs=epochs,
            callbacks=[keeper],
            logger=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            use_distributed_sampler=False,
        )
