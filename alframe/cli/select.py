"""``alframe-select EMBEDDINGS --strategy kcenter --size 1000 --out rows.csv``."""

from __future__ import annotations

import argparse
import io
import re
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from alframe.errors import UserError

if TYPE_CHECKING:
    from alframe.protocols import Query, Rows, Strategy
    from alframe.selection import Arrays


def main(argv: Sequence[str] | None = None) -> int:
    """Selects rows of arrays in files; returns the exit code.

    Args:
        argv: Arguments without the program's name; None takes those of the process.

    Returns:
        0, or 2 after a mistake of the user, with one sentence on stderr and nothing written.
    """
    arguments = _parser().parse_intermixed_args(argv)
    try:
        _sort_words(arguments)
        _check_out(arguments.out)
        strategy = _strategy(arguments.strategy, arguments.overrides, arguments.config_dir)
        arrays = _arrays(arguments)
        kept = arrays.finite() if arguments.drop_nonfinite else np.arange(arrays.rows)
        if len(kept) < arrays.rows:
            arrays = _without(arrays, kept)
        query = _select(strategy, arrays, arguments)
        _write(replace(query, rows=kept[query.rows]), arguments.out)
    except (UserError, ValueError, OSError, RuntimeError, MemoryError) as error:
        sys.stderr.write(f"alframe-select: {' '.join(str(error).split())}\n")
        return 2
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="alframe-select",
        description="Lets any strategy pick rows from arrays in files: .npy (memory-mapped), .npz, "
        ".parquet, .safetensors. FILE:NAME takes one of several arrays.",
    )
    parser.add_argument(
        "words",
        nargs="*",
        metavar="EMBEDDINGS | strategy.KEY=VALUE",
        help="a file of embeddings [n, d], and options of the strategy, in any order",
    )
    parser.add_argument("--strategy", default="kcenter", help="as in configs/strategy")
    parser.add_argument("--size", type=int, required=True, help="rows to pick")
    parser.add_argument("--out", type=Path, help=".csv, .parquet or .npy (default: stdout, CSV)")
    parser.add_argument("--probs", metavar="FILE", help="class probabilities [n, classes]")
    parser.add_argument("--mc-probs", metavar="FILE", help="of each draw [n, draws, classes]")
    parser.add_argument(
        "--dynamics", metavar="FILE", help="recorded history: an array [epochs, n] for each field"
    )
    parser.add_argument("--labeled", metavar="FILE", help="row numbers that are labeled already")
    parser.add_argument(
        "--labels",
        metavar="FILE",
        help="one label for each row [n]: numbers are the columns of the probabilities, names are "
        "sorted; with --labeled, those of other rows may be missing",
    )
    parser.add_argument("--seed", type=int, default=0, help="of stochastic strategies (default: 0)")
    parser.add_argument("--device", default="cpu", help="such as cuda (default: %(default)s)")
    parser.add_argument(
        "--memory", type=float, default=0.8, help="share of the free memory (default: %(default)s)"
    )
    parser.add_argument("--seconds", type=float, help="refuse what would take longer, by estimate")
    parser.add_argument(
        "--drop-nonfinite", action="store_true", help="leave out rows with NaN or infinite values"
    )
    parser.add_argument("--config-dir", type=Path, help="a folder with strategies of your own")
    return parser


def _sort_words(arguments: argparse.Namespace) -> None:
    """Tells the file of embeddings from the options of the strategy, and checks the flags."""
    options = [word for word in arguments.words if re.match(r"[+~]*strategy[.@/]", word)]
    files = [word for word in arguments.words if word not in options]
    if len(files) > 1:
        raise UserError(
            f"expected one file of embeddings and options as strategy.KEY=VALUE, got "
            f"{', '.join(files)}"
        )
    arguments.embeddings = files[0] if files else None
    arguments.overrides = options
    if arguments.seed < 0:
        raise UserError(f"--seed={arguments.seed}: expected a whole number, 0 or more")
    if arguments.config_dir is not None and not arguments.config_dir.is_dir():
        raise UserError(f"--config-dir={arguments.config_dir}: expected a folder")
    _check_device(arguments.device)


def _check_device(name: str) -> None:
    import torch

    try:
        torch.empty(0, device=name)
    except (RuntimeError, AssertionError) as error:
        reason = str(error).strip().splitlines()[0]
        raise UserError(
            f"--device={name}: expected cpu or a device that torch finds here ({reason})"
        ) from error


def _strategy(name: str, overrides: Sequence[str], folder: Path | None) -> Strategy:
    from hydra.errors import HydraException
    from omegaconf import OmegaConf
    from omegaconf.errors import OmegaConfBaseException

    from alframe.cli.build import build
    from alframe.cli.compose import CONFIGS, compose
    from alframe.cli.mistakes import explain

    folders = [] if folder is None else [folder]
    words = [f"strategy={name}", *overrides]
    try:
        config = compose(words, folders)
    except (HydraException, OmegaConfBaseException, ValueError) as error:
        raise explain(error, words, [CONFIGS, *folders]) from error
    node = OmegaConf.to_container(config.strategy, resolve=True)
    strategy: Strategy = build({"strategy": node}, "strategy")
    return strategy


def _arrays(arguments: argparse.Namespace) -> Arrays:
    from alframe.cli.array_files import read_array, read_labels, read_rows, read_tensors
    from alframe.selection import Arrays

    given: dict[str, Any] = {}
    for key, flag, axes in (
        ("embeddings", "EMBEDDINGS", 2),
        ("probs", "--probs", 2),
        ("mc_probs", "--mc-probs", 3),
    ):
        name = getattr(arguments, key)
        if name is not None:
            given[key] = read_array(name, flag, axes, key).to(arguments.device)
    counts = {key: len(values) for key, values in given.items()}
    if arguments.dynamics is not None:
        history = read_tensors(arguments.dynamics, "--dynamics")
        given["dynamics"] = {key: values.to(arguments.device) for key, values in history.items()}
        counts |= {f"dynamics {key}": values.shape[-1] for key, values in history.items()}
    if not counts:
        raise UserError("expected a file of embeddings, or --probs, --mc-probs or --dynamics")
    if len(set(counts.values())) > 1:
        said = ", ".join(f"{key} of {rows} rows" for key, rows in counts.items())
        raise UserError(f"expected arrays of the same rows, got {said}")
    rows = next(iter(counts.values()))
    if arguments.labeled is not None:
        given["labeled"] = read_rows(arguments.labeled, "--labeled", rows)
    if arguments.labels is not None:
        known = given.get("labeled", np.arange(rows))
        given["labels"] = read_labels(arguments.labels, "--labels", known, rows)
        _check_labels(given["labels"], given)
    return Arrays(rows, **given)


def _check_labels(labels: Any, given: dict[str, Any]) -> None:
    """Refuses labels that are no columns of the probabilities."""
    for key in ("probs", "mc_probs"):
        columns = given[key].shape[-1] if key in given else labels.max() + 1
        if labels.max() >= columns:
            raise UserError(
                f"--labels holds {labels.max()}: expected 0 to {columns - 1}, the columns of {key}"
            )


def _without(arrays: Arrays, kept: Rows) -> Arrays:
    left_out = np.setdiff1d(np.arange(arrays.rows), kept)
    sys.stderr.write(
        f"alframe-select: left out {len(left_out)} rows that hold NaN or infinity, first "
        f"{', '.join(map(str, left_out[:5]))}\n"
    )
    return arrays.only(kept)


def _select(strategy: Strategy, arrays: Arrays, arguments: argparse.Namespace) -> Query:
    from alframe.limits import Limits, estimate, operations_per_second
    from alframe.selection import check_selection, select_rows

    check_selection(strategy, arguments.size, arrays)
    cost = estimate(strategy, arrays.work(arguments.size))
    seconds = cost.operations / operations_per_second()
    what = f"strategy {arguments.strategy}"
    needed = cost.bytes + arrays.copied_bytes(strategy.needs)
    try:
        Limits(arguments.memory, arguments.seconds, arguments.device).check(
            needed, seconds, what, "raise --memory or --seconds, or choose another strategy"
        )
    except UserError as error:
        raise UserError(str(error).replace("limits.", "--")) from error
    sys.stderr.write(
        f"alframe-select: {arguments.strategy} picks {arguments.size} of "
        f"{arrays.rows - len(arrays.labeled)} rows: at most {needed / 2**20:.0f} MiB beside "
        f"the arrays, roughly {seconds:.1f} s\n"
    )
    start = time.perf_counter()
    query = select_rows(strategy, arguments.size, arrays, np.random.default_rng(arguments.seed))
    sys.stderr.write(f"alframe-select: done in {time.perf_counter() - start:.2f} s\n")
    return query


def _check_out(out: Path | None) -> None:
    if out is not None and out.suffix not in (".csv", ".parquet", ".npy"):
        raise UserError(f"--out={out}: expected a name that ends with .csv, .parquet or .npy")
    if out is not None and not out.absolute().parent.is_dir():
        raise UserError(f"--out={out}: expected a folder at {out.absolute().parent}")


def _write(query: Query, out: Path | None) -> None:
    import pandas as pd

    from alframe.files import write_atomic

    columns = {"row": query.rows, "rank": np.arange(len(query.rows))}
    if query.scores is not None:
        columns["score"] = query.scores
    if query.weights is not None:
        columns["weight"] = query.weights
    table = pd.DataFrame(columns)
    if out is None:
        table.to_csv(sys.stdout, index=False)
        return
    content = io.BytesIO()
    if out.suffix == ".npy":
        np.save(content, query.rows)
    elif out.suffix == ".parquet":
        table.to_parquet(content, index=False, write_page_checksum=True)
    else:
        table.to_csv(content, index=False)
    write_atomic(out, content.getvalue())
