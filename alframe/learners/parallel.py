"""Lightning's DDP as alframe uses it: in processes that others started, exact for uneven parts."""

from __future__ import annotations

from typing import Any

import torch
from pytorch_lightning.plugins.environments import ClusterEnvironment  # type: ignore[attr-defined]
from pytorch_lightning.strategies import DDPStrategy
from pytorch_lightning.utilities.rank_zero import rank_zero_only  # type: ignore[attr-defined]
from torch import Tensor

from alframe.data.batches import Batch
from alframe.world import World


class JoinedEnvironment(ClusterEnvironment):
    """Tells Lightning which process this is; the processes know each other already."""

    main_address, main_port = "", 0  # nobody is to be found any more

    def __init__(self, world: World) -> None:
        self._world = world

    @property
    def creates_processes_externally(self) -> bool:
        """Lightning must start none."""
        return True

    @staticmethod
    def detect() -> bool:
        """It is only used where it is asked for."""
        return False

    def world_size(self) -> int:
        """Returns the number of processes."""
        return self._world.size

    def global_rank(self) -> int:
        """Returns the number of this process."""
        return self._world.rank

    def local_rank(self) -> int:
        """Returns the number of this process on its node."""
        return self._world.local_rank

    def node_rank(self) -> int:
        """Of no use here: the ranks are known."""
        return 0

    def set_world_size(self, size: int) -> None:
        """The number of processes is known."""

    def set_global_rank(self, rank: int) -> None:
        """The number of this process is known."""


class WeightedDDP(DDPStrategy):
    """Distributed data parallel in which each row of a batch counts the same, wherever it is.

    DDP takes the mean of the processes' gradients. So the loss of each, a mean over its own part of
    the batch, is multiplied by how much larger or smaller than the others' that part is.

    Args:
        device: Of this process.
        world: The processes.
    """

    def __init__(self, device: torch.device, world: World) -> None:
        environment = JoinedEnvironment(world)
        super().__init__(parallel_devices=[device], cluster_environment=environment)
        self._own_device = device
        self._world = world
        self._weight = 1.0

    @property
    def root_device(self) -> torch.device:
        """The device of this process."""
        return self._own_device

    def set_world_ranks(self) -> None:
        """Tells Lightning who may print."""
        rank_zero_only.rank = self._world.rank  # type: ignore[attr-defined]

    def on_train_batch_start(self, batch: Any, batch_idx: int) -> None:  # noqa: ARG002
        """Notes the weight of a batch that a module of the user's own trains on."""
        if isinstance(batch, Batch):
            self._weight = batch.share * self._world.size

    def backward(self, closure_loss: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        """Computes the gradients of a weighted loss, for a module of the user's own."""
        return super().backward(closure_loss * self._weight, *args, **kwargs)

    def weighted(self, loss: Tensor, share: float) -> Tensor:
        """Returns the loss to take the gradient of, and makes DDP wait for it.

        Args:
            loss: Mean over this process's part of a batch.
            share: Of that part in the batch.
        """
        self.pre_backward(loss)
        return loss * (share * self._world.size)
