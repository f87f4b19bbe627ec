"""The stores of embeddings that a run uses: named ones, or ones that are filled first."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from alframe.cli.build import build
from alframe.cli.filling import Filling, Split, usual_batch
from alframe.cli.trained import TrainedModels
from alframe.data.dataset import Dataset
from alframe.errors import UserError, placed
from alframe.learners.hardware import Hardware

log = logging.getLogger(__name__)
POLL = 1.0  # seconds between two looks at what another process is writing
Node = Mapping[str, Any]


class Folders(NamedTuple):
    """Of the stores of a dataset's splits; None = there is none."""

    train: str | None
    test: str | None


def embedded(config: Node, data: Dataset, hardware: Hardware) -> Folders:
    """Returns where the embeddings of a run are.

    With ``embeddings.encoder`` they are made once, in ``embeddings.dir``, for all runs that ask for
    the same ones; what another process is writing is waited for.

    Args:
        config: The composed config, plain.
        data: Whose inputs are embedded.
        hardware: Where the encoder runs.

    Raises:
        UserError: Where stores are named and an encoder too, or the encoder cannot be built.
    """
    node = config.get("embeddings") or {}
    given = Folders(node.get("train"), node.get("test"))
    if node.get("encoder") is None:
        return given
    if given != Folders(None, None):
        raise UserError(
            "embeddings.encoder: expected it without embeddings.train and embeddings.test, which "
            "are filled by it; leave out one or the other"
        )
    trained = TrainedModels(config["data"], data, hardware)
    try:
        encoder = build(node, "encoder", data=data, hardware=hardware, trained=trained)
    except UserError as mistake:
        raise placed(mistake, "embeddings") from mistake
    batch, folders = usual_batch(hardware), dict[str, str]()
    splits: tuple[Split, ...] = ("train", "test") if node["learn"] else ("train",)
    for split in splits:
        filling = Filling(data, split, encoder, node["encoder"], node["dtype"], batch)
        name = f"{data.name}_{split}_{filling.key[:12]}"
        folders[split] = str(_filled(filling, Path(node["dir"]).expanduser() / name))
    return Folders(folders["train"], folders.get("test"))


def _filled(filling: Filling, folder: Path) -> Path:
    """Returns the folder of a store that is complete, filling it where it is not."""
    try:
        return _waited_for(filling, folder)
    except UserError as mistake:  # a writer knows its folder as the key of alframe-embed
        raise UserError(str(mistake).replace("out=", "embeddings.dir: ", 1)) from mistake


def _waited_for(filling: Filling, folder: Path) -> Path:
    writer, said = filling.writer(folder), False
    while writer.state() != "complete":
        filled = filling.fill(writer)
        if filled.rows:
            log.info("%s: %d rows embedded in %.1f s", folder, filled.rows, filled.seconds)
        if filled.held:
            if not said:
                log.info("%s: %s is embedding: waiting", folder, filled.held[0])
            said = True
            time.sleep(POLL)
    return folder
