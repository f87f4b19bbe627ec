"""``alframe-embed data=cifar10 encoder=run encoder.run=runs/x out=embeddings/cifar10``."""

from __future__ import annotations

import argparse
import logging
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from alframe.cli.plain import composed, share
from alframe.errors import UserError, nearest

if TYPE_CHECKING:
    from alframe.cli.filling import Filling
    from alframe.data.dataset import Dataset
    from alframe.store.writer import Filled, StoreWriter

PRIMARY = "embed"
KEYS = ("out", "split", "seed", "batch_size", "store", "data", "encoder", "trainer", "paths")
STORE_KEYS = (
    "dtype", "rows_per_shard", "shard", "invalid", "verify", "checkpoint_seconds",
)  # fmt: skip


def main(argv: Sequence[str] | None = None) -> int:
    """Fills a store with the embeddings of a dataset; returns the exit code.

    Args:
        argv: Arguments without the program's name; None takes those of the process.

    Returns:
        0, or 2 after a mistake of the user, with one sentence on stderr; 130 where it was
        interrupted. In each case the same command goes on with what is written.
    """
    arguments = _parser().parse_args(argv)
    try:
        config = _compose(arguments.overrides, arguments.config_dir)
        _embed(config)
    except UserError as error:
        sys.stderr.write(f"alframe-embed: {' '.join(str(error).split())}\n")
        return 2
    except KeyboardInterrupt:
        sys.stderr.write("alframe-embed: interrupted; the same command goes on from here\n")
        return 130
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="alframe-embed",
        description="Embeds a dataset once with a frozen encoder and keeps the embeddings in a "
        "store: memory-mapped .npy shards with checksums. The same command again goes on where the "
        "last one stopped; several at a time write different shards.",
        epilog="data=NAME, encoder=raw|run|weights|torchvision|timm, trainer=auto|cpu|gpu, "
        "out=FOLDER, split=train|test, store.dtype=float16|float32, store.shard=2/8; see "
        "configs/embed.yaml and configs/encoder/ for all keys",
    )
    parser.add_argument("--config-dir", type=Path, help="a folder with configs of your own")
    parser.add_argument("overrides", nargs="*", metavar="KEY=VALUE", help="as alframe takes them")
    return parser


def _compose(words: Sequence[str], folder: Path | None) -> dict[str, Any]:
    """Returns the composed config, plain; values are checked, but nothing is built."""
    config = composed(words, folder, PRIMARY)
    for place, known in (("", KEYS), ("store.", STORE_KEYS)):
        for key in config if not place else config["store"]:
            if key not in known:
                raise UserError(f"{place}{key}: expected a known config key{nearest(key, known)}")
    return config


def _embed(config: dict[str, Any]) -> None:
    from alframe.cli.console import set_up_logging

    set_up_logging()
    store = config["store"]
    part = (1, 1) if store["shard"] is None else share("store.shard", store["shard"])
    filling = _build(config)
    writer = filling.writer(config["out"], store["rows_per_shard"], store["invalid"])
    if store["verify"]:
        writer.verify()
    mine = range(part[0] - 1, writer.layout.shards, part[1])
    with _bar(sum(len(writer.layout.span(shard)) for shard in mine)) as advance:
        filled = filling.fill(writer, part, advance, store["checkpoint_seconds"])
    _say(config, writer, filled)


def _build(config: dict[str, Any]) -> Filling:
    """Returns what is to be embedded, and by whom."""
    from alframe.cli.build import build
    from alframe.cli.filling import Filling, usual_batch
    from alframe.cli.trained import TrainedModels
    from alframe.options import check_range, check_whole

    if config["split"] not in ("train", "test"):
        raise UserError(f"split={config['split']}: expected train or test")
    check_range("store.checkpoint_seconds", config["store"]["checkpoint_seconds"], 0, 1e6)
    batch = config["batch_size"]
    if batch is not None:
        check_whole("batch_size", batch, at_least=1)
    hardware = build(config, "trainer")
    data: Dataset = build(config, "data")
    trained = TrainedModels(config["data"], data, hardware)
    encoder = build(config, "encoder", data=data, hardware=hardware, trained=trained)
    batch = usual_batch(hardware) if batch is None else batch
    return Filling(
        data, config["split"], encoder, config["encoder"], config["store"]["dtype"], batch
    )


@contextmanager
def _bar(total: int) -> Iterator[Callable[[int], None]]:
    """Shows rows, rows per second and the time that is left; nothing where no terminal is."""
    if not sys.stderr.isatty():
        yield lambda rows: None  # noqa: ARG005 there is nobody to tell
        return
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeRemainingColumn,
    )

    columns = (
        TextColumn("embedding"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[rate]}"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        bar = progress.add_task("", total=total, rate="")

        def advance(rows: int) -> None:
            progress.update(bar, advance=rows)
            speed = progress.tasks[0].speed or 0.0  # over the last half minute
            progress.update(bar, rate=f"{speed:,.0f} rows/s")

        yield advance


def _say(config: dict[str, Any], writer: StoreWriter, filled: Filled) -> None:
    """Logs what was done and what is left."""
    log = logging.getLogger(__name__)
    layout, out = writer.layout, config["out"]
    rate = filled.rows / filled.seconds if filled.seconds else 0.0
    log.info(
        "%d rows of %d %s values embedded in %.1f s (%.0f rows/s); %d of %d shards were there",
        filled.rows, layout.width, layout.dtype, filled.seconds, rate, filled.found, layout.shards,
    )  # fmt: skip
    for holder in sorted(set(filled.held)):
        log.info("%d shards are left to %s", filled.held.count(holder), holder)
    log.info("store: %s (%s)", out, writer.state())
