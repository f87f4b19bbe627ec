"""``alframe-index store=embeddings/cifar10 index=ivf_flat``, whole or in parts."""

from __future__ import annotations

import argparse
import logging
import shutil
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from alframe.cli.plain import composed, share
from alframe.errors import UserError, nearest

if TYPE_CHECKING:
    from alframe.neighbors.approximate import FaissIndex
    from alframe.neighbors.index import NeighborIndex
    from alframe.store import Store

PRIMARY = "build_index"
KEYS = ("store", "step", "part", "on_disk", "keep_parts", "index")
STEPS = ("prepare", "merge")
PARTS = "parts"
"""Folder, in that of the index, of its training and its parts."""

log = logging.getLogger(__name__)


def main(argv: Sequence[str] | None = None) -> int:
    """Builds the index of a store, where runs with the same ``index`` find it.

    Args:
        argv: Arguments without the program's name; None takes those of the process.

    Returns:
        0, or 2 after a mistake of the user, with one sentence on stderr; 130 where it was
        interrupted.
    """
    arguments = _parser().parse_args(argv)
    try:
        _work(_compose(arguments.overrides, arguments.config_dir))
    except UserError as error:
        sys.stderr.write(f"alframe-index: {' '.join(str(error).split())}\n")
        return 2
    except KeyboardInterrupt:
        sys.stderr.write("alframe-index: interrupted; run the same command again\n")
        return 130
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="alframe-index",
        description="Builds the index of a store of embeddings, in the store's folder: runs with "
        "the same index config find it there. The whole at once; or in parts, each of which may be "
        "built on another machine: step=prepare, then part=1/N to part=N/N in any order, then "
        "step=merge.",
        epilog="store=FOLDER, index=auto|exact|flat|ivf_flat|ivf_sq|ivf_pq|hnsw|lsh|faiss, "
        "step=prepare|merge, part=2/8, on_disk=true|false, keep_parts=true|false; see "
        "configs/build_index.yaml and configs/index/ for all keys",
    )
    parser.add_argument("--config-dir", type=Path, help="a folder with configs of your own")
    parser.add_argument("overrides", nargs="*", metavar="KEY=VALUE", help="as alframe takes them")
    return parser


def _compose(words: Sequence[str], folder: Path | None) -> dict[str, Any]:
    """Returns the composed config, plain; nothing is built."""
    from alframe.cli.compose import with_aliases

    config = composed(with_aliases(words), folder, PRIMARY)
    for key in config:
        if key not in KEYS:
            raise UserError(f"{key}: expected a known config key{nearest(key, KEYS)}")
    for key in ("on_disk", "keep_parts"):
        if not isinstance(config[key], bool):
            raise UserError(f"{key}={config[key]}: expected true or false")
    if config["step"] not in (None, *STEPS):
        raise UserError(f"step={config['step']}: expected null, {' or '.join(STEPS)}")
    if config["part"] is not None:
        share("part", config["part"])
        if config["step"] is not None:
            raise UserError(f"part={config['part']}: expected it without step={config['step']}")
    if config["on_disk"] and config["step"] != "merge":
        raise UserError("on_disk=true: expected step=merge, which decides where the lists are")
    return config


def _work(config: dict[str, Any]) -> None:
    from alframe.cli.build import build
    from alframe.cli.console import set_up_logging
    from alframe.cli.kept import check_shards, judged, place_of, recall_of
    from alframe.neighbors.saving import META
    from alframe.store import Store

    set_up_logging()
    store = Store.open(config["store"], "store")
    index: NeighborIndex = build(config, "index")
    if config["step"] or config["part"]:
        _in_parts(index, config)
    place = place_of(config["index"], store)
    with _writing(place):
        start = time.perf_counter()
        found, whole = (place / META).is_file(), False
        if not found:
            with _lock(config, place):
                found = (place / META).is_file()  # another process may have made it meanwhile
                if not found:
                    check_shards(store, place)
                    whole = _take_step(config, index, store, place)
        seconds = time.perf_counter() - start
        if found:
            check_shards(store, place)
            index.load(place, store)
            log.info("the index is there: %s", place)
        elif whole:
            log.info("index of %d rows built in %.1f s: %s", store.num_rows, seconds, place)
        else:
            log.info("done in %.1f s: %s", seconds, place)
            return
        judged(index, recall_of(index, config["index"], store, place))


def _lock(config: dict[str, Any], place: Path) -> IO[str]:
    """Waits until no other process takes the same step; returns the lock."""
    from alframe.cli.kept import locked

    if config["part"] is None:
        return locked(place)
    number, count = share("part", config["part"])
    return locked(place / PARTS, f"{number}_of_{count}.lock")


def _take_step(config: dict[str, Any], index: NeighborIndex, store: Store, place: Path) -> bool:
    """Does what is missing of a step; returns whether the whole index was made."""
    from alframe.neighbors import parts

    folder, step, part = place / PARTS, config["step"], config["part"]
    if step is None and part is None:
        _check_room(index, store, place)
        index.build(store)
        index.save(place)
        return True
    faiss = _in_parts(index, config)
    if step == "merge":
        _merge(faiss, store, place, config["on_disk"])
        if not config["keep_parts"]:
            _remove(folder)
        return True
    if part is not None:
        number, count = share("part", part)
        if parts.is_built(faiss, store, folder, number - 1, count):
            log.info("part %s is there", part)
        else:
            parts.build_part(faiss, store, folder, number - 1, count)
    elif parts.is_prepared(faiss, store, folder):
        log.info("the training that all parts share is there")
    else:
        parts.prepare(faiss, store, folder)
    return False


def _merge(index: FaissIndex, store: Store, place: Path, on_disk: bool) -> None:
    from alframe.neighbors import parts

    count = parts.count_of(place / PARTS)
    if on_disk:
        parts.merge_on_disk(index, store, place / PARTS, count, place)
    else:
        _check_room(index, store, place)
        parts.merge(index, store, place / PARTS, count)
        index.save(place)


def _check_room(index: NeighborIndex, store: Store, place: Path) -> None:
    """Looks for room on the disk before hours are spent, leaving out what was left by a kill."""
    from alframe.neighbors.approximate import INDEX, LISTS, FaissIndex
    from alframe.neighbors.auto import AutoIndex
    from alframe.neighbors.saving import clear

    if isinstance(index, FaissIndex | AutoIndex):
        clear(place, [INDEX, LISTS], index.bytes_for(store))


def _remove(folder: Path) -> None:
    try:
        shutil.rmtree(folder)
    except OSError as error:  # a part is being built again; the index is there all the same
        log.warning("%s is not needed any more, and cannot be removed (%s)", folder, error)


def _in_parts(index: NeighborIndex, config: dict[str, Any]) -> FaissIndex:
    """Returns an index that can be built in parts."""
    from alframe.neighbors.approximate import FaissIndex

    if isinstance(index, FaissIndex):
        return index
    kind = str(config["index"]["_target_"]).rpartition(".")[2]
    raise UserError(
        f"index: expected a kind of FAISS to build in parts, got {kind}; set index=ivf_flat, "
        "index=ivf_sq or index=ivf_pq here and in the runs, or build the whole: without step and "
        "part"
    )


@contextmanager
def _writing(place: Path) -> Iterator[None]:
    """Turns what the disk refuses into one sentence."""
    try:
        yield
    except OSError as error:
        raise UserError(
            f"store: {place} cannot be written ({error.strerror or error}): expected a store "
            "whose folder has room and write permission; make room there, or move the store and "
            "change store"
        ) from error
