"""The stores of embeddings that a run uses: named ones, or ones that are filled first."""

from __future__ import annotations

import logging
import re
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from alframe.cli.build import build
from alframe.cli.filling import Filling, Split, usual_batch
from alframe.cli.trained import TrainedModels
from alframe.data.dataset import Dataset
from alframe.encoders.protocol import Encoder
from alframe.errors import UserError
from alframe.learners.hardware import Hardware
from alframe.store.keys import RUN

log = logging.getLogger(__name__)
POLL = 1.0  # seconds between two looks at what another process is writing
OWN_KEY = re.compile(r"(?<![\w.@/])encoder(?=\.[a-z]|: )")
OWN_GROUP = re.compile(r"(?<![\w.@/])encoder(?==)|(?<=change )encoder(?![\w.@])")
"""What an encoder calls its keys and its group."""
Node = Mapping[str, Any]


class Folders(NamedTuple):
    """Of the stores of a dataset's splits; None = there is none."""

    train: str | None
    test: str | None


def run_stores(config: Node, data: Dataset, hardware: Hardware, searched: bool) -> Folders:
    """Returns where the embeddings of a run are.

    With ``embeddings.encoder`` they are made once, in ``embeddings.dir``, for all runs that ask for
    the same ones; what another process is writing is waited for.

    Args:
        config: The composed config, plain.
        data: Whose inputs are embedded.
        hardware: Where the encoder runs.
        searched: Whether the candidate rule searches them.

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
    if not (node["learn"] or searched):
        log.warning(
            "embeddings.encoder is left out, since nobody would look at the embeddings: set "
            "embeddings.learn=true, or choose candidates=seals or candidates=anchors"
        )
        return given
    encoder = _encoder(config, data, hardware)
    batch, folders = usual_batch(hardware), dict[str, str]()
    splits: tuple[Split, ...] = ("train", "test") if node["learn"] else ("train",)
    for split in splits:
        filling = Filling(data, split, encoder, node["encoder"], node["dtype"], batch, RUN)
        name = f"{data.name}_{split}_{filling.key[:12]}"
        folders[split] = str(_filled(filling, Path(node["dir"]).expanduser() / name))
    return Folders(folders["train"], folders.get("test"))


def _encoder(config: Node, data: Dataset, hardware: Hardware) -> Encoder:
    trained = TrainedModels(config["data"], data, hardware)
    context = {"data": data, "hardware": hardware, "trained": trained}
    try:
        encoder: Encoder = build(config["embeddings"], "encoder", **context)
    except UserError as mistake:
        said = OWN_KEY.sub("embeddings.encoder", str(mistake))
        raise UserError(OWN_GROUP.sub("encoder@embeddings.encoder", said)) from mistake
    return encoder


def _filled(filling: Filling, folder: Path) -> Path:
    """Returns the folder of a store that is whole, filling what is missing."""
    said = False
    while not filling.is_there(folder):
        filled = filling.fill(filling.writer(folder))
        if filled.rows:
            log.info("%s: %d rows embedded in %.1f s", folder, filled.rows, filled.seconds)
        if filled.held:
            if not said:
                log.info("%s: %s is embedding: waiting", folder, filled.held[0])
            said = True
            time.sleep(POLL)
    return folder
