"""Reproduces Selection via Proxy on CIFAR-10, in pieces; see reproduce_svp_cifar10.sh.

All runs are made in this process, one after the other, each in its own folder below FOLDER/runs;
fits that they have in common are kept in FOLDER/shared. A run that is done is never begun again,
one that was stopped or killed goes on at its last checkpoint. FOLDER/results.md is the table, with
what was published beside it, and FOLDER/reproduction.json holds its numbers. Where nothing is
missing, or with --keep, the report and results/svp_cifar10_*.json follow.
"""

import argparse
import gc
import json
import math
import os
import shutil
import signal
import subprocess
import sys
import time
import traceback
from collections.abc import Sequence
from pathlib import Path

import torch
from svp_cells import Cell, active, compared, core_set
from svp_table import reproduction, table

from alframe import signals
from alframe.cli import run
from alframe.report.cli import main as report

RESULTS = Path(__file__).parents[1] / "results"
ALWAYS = ("share.records=[correct]", "logger=[]")  # of all strategies, forgetting needs a history
FIGURES = {
    "headline": ("speed_up_forgetting", "wall_clock_forgetting"),
    "core_set": ("accuracy_rows",),
    "active": ("accuracy_labels",),
}


def main(argv: Sequence[str] | None = None) -> int:
    """Makes what is missing, as far as the time goes; returns the exit code: 1 if a run failed."""
    arguments = parser().parse_intermixed_args(argv)
    seeds = [int(seed) for seed in arguments.seeds.split(",")]
    cells = core_set(seeds)
    cells += compared(seeds) if arguments.fidelity else []
    cells += active(seeds) if arguments.active else []
    # with the runs, what was compiled for a GPU is carried to the next machine of its kind
    os.environ.setdefault("TORCHINDUCTOR_CACHE_DIR", str(arguments.folder / "compiled"))
    if arguments.missing:
        done = [is_done(arguments.folder / "runs" / cell.name) for cell in cells]
        print(*(number for number, is_there in enumerate(done) if not is_there), sep=",")
        return 0
    if arguments.only is not None:
        return make_only(cells[arguments.only], arguments)
    failed = [] if arguments.list else make(cells, arguments)
    kept = reproduction(arguments.folder, cells, arguments.small)
    if kept["table"]:
        (arguments.folder / "reproduction.json").write_text(json.dumps(kept, indent=1) + "\n")
        (arguments.folder / "results.md").write_text(table(kept))
        print(table(kept))
        if arguments.keep or not (kept["missing"] or arguments.list):
            keep(cells, arguments)
    print(f"{len(kept['missing'])} of {len(cells)} runs are missing", *kept["missing"], sep="\n  ")
    print(*failed, sep="\n")
    return 1 if failed else 0


def parser() -> argparse.ArgumentParser:
    """Returns the parser of the command line."""
    made = argparse.ArgumentParser(prog="reproduce_svp_cifar10.sh", description=__doc__)
    made.add_argument("folder", nargs="?", type=Path, default=Path("runs/svp_cifar10"))
    made.add_argument("overrides", nargs="*", help="for all runs, such as trainer.compile=false")
    made.add_argument("--minutes", type=float, default=0, help="stop by then; 0 = never")
    made.add_argument("--small", action="store_true", help="tiny models and data")
    made.add_argument("--seeds", default="0,1,2", help="(default: %(default)s)")
    made.add_argument("--active", action="store_true", help="also the active-learning form")
    made.add_argument("--fidelity", action="store_true", help="compare proxy and target for all")
    made.add_argument("--list", action="store_true", help="only tell what there is")
    made.add_argument("--only", type=int, metavar="N", help="make run N of the list, as a job")
    made.add_argument("--missing", action="store_true", help="only print which N are missing")
    made.add_argument("--keep", action="store_true", help="keep what there is in results/")
    made.add_argument("--results", type=Path, default=None, help="a folder in place of results/")
    return made


def make(cells: list[Cell], arguments: argparse.Namespace) -> list[str]:
    """Makes the runs that are not done until the time is over; returns those that failed."""
    failed = []
    signal.signal(signal.SIGALRM, signal.default_int_handler)  # as if it were Ctrl-C
    # a fit is left after its step; what is still busy after half a minute more is interrupted
    signal.setitimer(signal.ITIMER_REAL, 60 * arguments.minutes, 30)
    end = time.monotonic() + (60 * arguments.minutes or math.inf)
    try:
        for cell in cells:
            if time.monotonic() > end:  # the alarm rang where a library let no exception out
                raise KeyboardInterrupt
            if not make_one(cell, arguments):
                failed.append(f"failed: {cell.name}")
            gc.collect()
            torch.cuda.empty_cache()
    except KeyboardInterrupt:
        print("stopped: the same command again goes on, within a fit at its last checkpoint")
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
    return failed


def make_only(cell: Cell, arguments: argparse.Namespace) -> int:
    """Makes one run as a job of a cluster; returns 128 + a signal's number if that ended it."""
    try:
        with signals.owned():
            return 0 if make_one(cell, arguments) else 1
    except signals.Left as left:
        print(f"left: {left}")
        return left.exit_code


def make_one(cell: Cell, arguments: argparse.Namespace) -> bool:
    """Makes one run, or finds it done; says whether that went well."""
    path = arguments.folder / "runs" / cell.name
    if is_done(path):
        return True
    print(f"--- {cell.name}")
    words = [*cell.overrides(arguments.small), *arguments.overrides]
    try:
        run(*words, f"run_dir={path}", f"share.dir={arguments.folder / 'shared'}", *ALWAYS)
    except Exception:  # whatever it is, the other runs go on
        traceback.print_exc()
        return False
    return True


def is_done(path: Path) -> bool:
    """Says whether the run in a folder is finished."""
    status = path / "status.json"
    return status.is_file() and json.loads(status.read_text())["state"] == "done"


def keep(cells: list[Cell], arguments: argparse.Namespace) -> None:
    """Writes the reports, and keeps their numbers and figures; small ones are not for results/."""
    folder = arguments.folder
    results = arguments.results or (folder / "results" if arguments.small else RESULTS)
    parts = {
        "headline": [cell for cell in cells if cell.kind == cells[0].kind],
        "core_set": [cell for cell in cells if cell.form == "core_set"],
        "active": [cell for cell in cells if cell.form == "active"],
    }
    for name, mine in parts.items():
        done = [str(path) for cell in mine if is_done(path := folder / "runs" / cell.name)]
        if not done:
            continue
        out = folder / f"report_{name}"
        shutil.rmtree(out, ignore_errors=True)  # figures of an earlier report are not to be kept
        report([*done, "--out", str(out)])
        kept = reproduction(folder, mine, arguments.small)
        (out / "reproduction.json").write_text(json.dumps(kept, indent=1) + "\n")
        tool = Path(__file__).with_name("keep_results.py")
        command = f"scripts/reproduce_svp_cifar10.sh {folder}"
        words = [str(out), f"svp_cifar10_{name}", command, *FIGURES[name], "--into", str(results)]
        subprocess.run([sys.executable, str(tool), *words], check=True)


if __name__ == "__main__":
    sys.exit(main())
