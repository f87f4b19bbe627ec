"""Chooses where the batches of a fit are made."""

from __future__ import annotations

import logging
from typing import Literal

import torch

from alframe.data.augment import Augmentation
from alframe.data.batches import Loader
from alframe.data.dataset import Dataset
from alframe.data.device import DeviceLoader, is_resident
from alframe.errors import UserError
from alframe.limits import available_bytes
from alframe.protocols import View

log = logging.getLogger(__name__)
_said: set[tuple[str, str, torch.device]] = set()


def make_loader(
    data: Dataset,
    view: View,
    *,
    batch_size: int,
    how: Augmentation,
    seed: int,
    device: torch.device,
) -> Loader:
    """Returns the loader of a fit, see `Loader`; logs which one, once for a dataset.

    Raises:
        UserError: For ``data.loader=device`` where the inputs do not fit.
    """
    kind, reason = choose(data, device)
    if (data.fingerprint, kind, device) not in _said:
        _said.add((data.fingerprint, kind, device))
        log.info("training batches are made by data.loader=%s: %s", kind, reason)
    made_by: type[Loader] = DeviceLoader
    if kind == "workers":
        from alframe.data.workers import WorkerLoader  # here, since torchvision takes a while

        made_by = WorkerLoader
    return made_by(data, view, batch_size=batch_size, how=how, seed=seed, device=device)


def choose(data: Dataset, device: torch.device) -> tuple[Literal["device", "workers"], str]:
    """Returns which loader a dataset's batches are made by on a device, and why.

    Raises:
        UserError: For ``data.loader=device`` where the inputs do not fit.
    """
    loading = data.loading
    if loading.loader == "workers":
        return "workers", f"as configured, {loading.processes} processes"
    if device.type == "cpu":
        why = "as configured" if loading.loader == "device" else "the device is the CPU"
        return "device", why
    if is_resident(data.inputs, device):
        return "device", f"the inputs lie on {device} already"
    needed, free = data.inputs.nbytes, available_bytes(str(device))
    sizes = f"the inputs take {needed / 2**30:.2f} GiB, {free / 2**30:.2f} GiB are free on {device}"
    if loading.loader == "device":
        if needed > free:
            raise UserError(
                f"data.loader=device: expected inputs that fit, but {sizes}; use data.loader=auto "
                "or workers"
            )
        return "device", f"as configured ({sizes})"
    limit = f"data.device_share={loading.device_share:g}"
    if needed <= loading.device_share * free:
        return "device", f"{sizes} ({limit})"
    return "workers", f"{sizes} ({limit}); {loading.processes} processes"
