"""SEALS on a pool that is not in memory: time, memory and precision against looking at all rows.

    python scripts/bench_seals.py [--rows 8121242] [--folder FOLDER] [--seeds 0 1 2 ... 23]
    python scripts/bench_seals.py --small
    python scripts/bench_seals.py --table
    python scripts/bench_seals.py --exact

The pool is that of seals_pool.py. For each of its six concepts and each seed `alframe` runs twice,
in processes of their own (seals_run.py): with candidates=all and with candidates=seals; 5 positives
and 300 negatives at first, 3 rounds of the 5 likeliest rows, k = 100, a linear probe on the stored
embeddings; its files and the index are read into the system's memory anew, in large pages, which is
the best case for both, and before each run what the system has dropped since then; their checksums
were compared by the first run. A round's seconds are all that its choice took: to search for the
rows that were labeled before (the first round's are the 305 of the start; they are searched for
when their labels come), to observe and to select. The first run with candidates=seals builds the
index, where FOLDER has none yet: its seconds and its memory are in FOLDER/build_HASH.json, by the
hash of the index's folder. Prints a Markdown table and writes results/bench_seals.json; --small
takes a pool of 20,000 rows, is over in a minute or two, and keeps nothing; --table makes the kept
table again from what was measured; --exact does so, too, having measured exact search again, and
keeps when and of which revision that was.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from datetime import UTC, datetime
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from bench_neighbors import compare
from omegaconf import OmegaConf
from seals_pool import SIZES, Pool, make
from seals_scan import Paths, rounded, speeds

from alframe.caching import cache
from alframe.cli.compose import compose, with_aliases
from alframe.cli.kept import place_of
from alframe.cli.versions import git_state, versions
from alframe.files import decode_state
from alframe.report.statistics import mean_interval
from alframe.store import Store

HERE = Path(__file__).parent
RESULTS = HERE.parent / "results"
KEPT = RESULTS / "bench_seals.json"
CACHE = Path.home() / ".cache" / "alframe" / "bench_seals"
ROUNDS = (1, 2, 3)
LAB = (
    "learner@target=probe", "strategy=most_likely_positive", "task.positives=5",
    "task.negatives=300", "schedule.initial=305", "schedule.query_size=5", "schedule.budget=320",
    "logger=[]", "trainer=cpu",
)  # fmt: skip
INDEX = ("index=ivf_sq", "index.factory='IVF4096,SQ8'", "index.nprobe=1")
SMALL_INDEX = ("index=ivf_sq",)
Row = dict[str, Any]


def alframe(words: Sequence[str], path: Path) -> Row:
    """Runs alframe anew in a process of its own; returns what seals_run.py says, and its log."""
    shutil.rmtree(path, ignore_errors=True)
    done = subprocess.run(
        [sys.executable, HERE / "seals_run.py", *words, f"run_dir={path}"],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        sys.exit(done.stderr)
    return {**json.loads(done.stdout.splitlines()[-1]), "log": done.stderr}


def read(store: Path, index: Path, anew: bool = False) -> None:
    """Reads a store and its index, so that the system holds all of them."""
    for path in [*sorted(store.glob("shard_*.npy")), *index.glob("index.faiss")]:
        if anew:
            with path.open("rb") as file:
                os.fsync(file.fileno())  # else what is not on disk yet stays as it is
                os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
        cache(path)


def words_for(paths: Paths, concept: str, *more: str) -> list[str]:
    """Returns the words of a run."""
    data = [f"data.{name}={path}" for name, path in paths.items()]
    return ["data=embedded", "data.keep_gib=0", *data, f"concept={concept}", *LAB, *more]


def index_of(words: Sequence[str]) -> Path:
    """Returns the folder of the index that a run with these words searches."""
    config = compose(with_aliases(words))
    plain = OmegaConf.to_container(config.index, resolve=True)
    return place_of(plain, Store.open(config.data.train))


def record_of(folder: Path, place: Path) -> Path:
    """Returns the file that says what building an index took."""
    return folder / f"build_{place.name.removeprefix('index_')}.json"


def build(folder: Path, words: Sequence[str]) -> Row:
    """Builds the index, if that was not done; returns what it took, then or now."""
    place = index_of(words)
    kept, older = record_of(folder, place), folder / "build.json"
    if not kept.is_file() and older.is_file():  # which did not say of which index it is
        if [path.name for path in place.parent.glob("index_*")] != [place.name]:
            sys.exit(
                f"{older} may be of any index in {place.parent}: expected one named by its index; "
                f"rename it to {record_of(folder, Path('index_HASH'))}, with the hash of the index "
                "that it is of, or remove it and that index"
            )
        kept.write_text(older.read_text())
    if not kept.is_file():
        kept.write_text(json.dumps(built(alframe(words, folder / "building"), place)))
    found: Row = json.loads(kept.read_text())
    return found


def built(run: Row, place: Path) -> Row:
    """Returns what the run that built the index says of it."""
    seconds = re.search(r"index of \d+ rows built in ([0-9.]+) s", run["log"])
    if seconds is None:
        sys.exit(f"{place} is an index that this script has not measured: remove it")
    return {"seconds": float(seconds[1]), "peak_bytes": run["peak_bytes"]}


def told(run: Row) -> Row:
    """Returns what a run recorded, by round."""
    path = Path(run["path"])
    table = pd.read_csv(path / "metrics.csv").set_index("round_id")
    queries = [decode_state(path / f"stages/round_{i:03d}_query.npz") for i in ROUNDS]
    return {
        "seconds": [q["seconds_observe"] + q["seconds_select"] for q in queries],
        "look_up_seconds": [q["seconds_look_up"] for q in queries],
        "scored": [int(q["observed"]) for q in queries],
        "average_precision": table["average_precision"].tolist(),
        "positives_found": table["positives_found"].tolist(),
        "share_touched": float(table["share_touched"].iloc[-1]),
        "peak_bytes": run["peak_bytes"],
        "whole_run_seconds": run["seconds"],
    }


def compared(runs: Mapping[str, Mapping[str, Row]]) -> Row:
    """Returns seals against all, over the concepts."""
    pairs = [(pair["all"], pair["seals"]) for pair in runs.values()]
    ends = [(a["average_precision"][-1], s["average_precision"][-1]) for a, s in pairs]
    falls: dict[str, list[float]] = {}  # by seed
    for name, (a, s) in zip(runs, ends, strict=True):
        falls.setdefault(name.rpartition("_")[2], []).append(a - s)
    fall = mean_interval([statistics.mean(of_concepts) for of_concepts in falls.values()])

    def times(some: slice) -> float:
        return statistics.median(sum(a["seconds"][some]) / sum(s["seconds"][some])
                                 for a, s in pairs)  # fmt: skip

    first = [(a["seconds"][0], s["seconds"][0], s["look_up_seconds"][0]) for a, s in pairs]
    return rounded({
        "times_fewer_rows": min(min(a["scored"]) / max(s["scored"]) for a, s in pairs),
        "times_less_first_round": times(slice(0, 1)),
        "times_less_first_round_but_search": statistics.median(
            of_all / (of_seals - search) for of_all, of_seals, search in first
        ),
        "times_less_later_rounds": times(slice(1, None)),
        "times_less_all_rounds": times(slice(None)),
        "pairs": len(pairs),
        "pairs_below_10": sum(sum(a["seconds"]) < 10 * sum(s["seconds"]) for a, s in pairs),
        "first_search_seconds": statistics.median(search for *_, search in first),
        "whole_run_seconds_all": statistics.median(a["whole_run_seconds"] for a, _ in pairs),
        "whole_run_seconds_seals": statistics.median(s["whole_run_seconds"] for _, s in pairs),
        "peak_gb_all": max(a["peak_bytes"] for a, _ in pairs) / 1e9,
        "first_round_seconds_all": statistics.median(of_all for of_all, *_ in first),
        "first_round_seconds_seals": statistics.median(of_seals for _, of_seals, _ in first),
        "positives_found_all": statistics.mean(a["positives_found"][-1] for a, _ in pairs),
        "positives_found_seals": statistics.mean(s["positives_found"][-1] for _, s in pairs),
        "average_precision_all": statistics.mean(a for a, _ in ends),
        "average_precision_seals": statistics.mean(s for _, s in ends),
        "fall": fall.mean, "fall_low": fall.low, "fall_high": fall.high,
        **{f"fall_after_round_{i}": statistics.mean(
            a["average_precision"][i] - s["average_precision"][i] for a, s in pairs
        ) for i in ROUNDS},
        "largest_fall_of_a_concept": max(a - s for a, s in ends),
        "share_touched": max(s["share_touched"] for _, s in pairs),
        "peak_gb": max(s["peak_bytes"] for _, s in pairs) / 1e9,
    })  # fmt: skip


def cases(build_took: Row, recall: Row, scan: Row, both: Row, exact: Sequence[Row]) -> list[Row]:
    """Returns the table: what is wanted of each case, what came, and whether that is enough."""
    falls = {f"after round {i}": both[f"fall_after_round_{i}"] for i in ROUNDS}
    falls["on average of the rounds"] = statistics.mean(falls.values())
    wanted = (
        ("experiment: anonymous memory, GB", "below 6", both["peak_gb"], both["peak_gb"] < 6),
        ("round: times fewer rows scored", "200", both["times_fewer_rows"], 200),
        *((f"{which}: times less time", "10", both[f"times_less_{name}"], 10) for which, name in (
            ("first round, with the search for 305 labels", "first_round"),
            ("first round, once that is done", "first_round_but_search"),
            ("later rounds", "later_rounds"), ("all three rounds", "all_rounds"),
        )),
        *((f"mean average precision below that of all {when}", "within 0.02", fall, fall <= 0.02)
          for when, fall in falls.items()),
        ("index: minutes to build", "30", round(build_took["seconds"] / 60, 1),
         build_took["seconds"] <= 1800),
        ("index: anonymous memory while built, GB", "below 6",
         round(build_took["peak_bytes"] / 1e9, 2), build_took["peak_bytes"] < 6e9),
        ("index: recall@100", "0.9", recall["recall"], 0.9),
        ("probe's scan / sum in the same chunks", "0.8", scan["probe_against"]["sum in chunks"],
         0.8),
        ("probe's scan / sum of the bytes", "0.8", scan["probe_against"]["sum of the bytes"], 0.8),
        *((f"probe's scan / {which}'s sum", "0.8", scan["probe_against"][f"sum by {which}"], 0.8)
          for which in ("numpy", "torch")),
        ("share of the pool touched", "below 0.01", both["share_touched"],
         both["share_touched"] < 0.01),
        *((f"exact search, {one['queries']:,} queries: times as long as FAISS Flat", "1.3",
           one["ratio"], one["ratio"] <= 1.3) for one in exact),
    )  # fmt: skip
    return [
        {"case": case, "wanted": want, "found": found,
         "met": bool(met if isinstance(met, bool | np.bool_) else found >= met)}
        for case, want, found, met in wanted
    ]  # fmt: skip


def measured(
    pool: Pool, folder: Path, concepts: Sequence[str], seeds: Sequence[int], small: bool
) -> Row:
    """Makes what is missing, and returns all that is kept."""
    paths = make(folder, pool)
    index = SMALL_INDEX if small else INDEX
    seals = ["candidates=seals", "candidates.k=100", *index]
    place = index_of(words_for(paths, concepts[0], *seals))
    first = build(folder, words_for(paths, concepts[0], *seals))
    read(paths["train"], place, anew=True)
    scan = speeds(paths, 1 if small else 7)
    runs: dict[str, dict[str, Row]] = {}
    for seed, concept in product(seeds, concepts):
        name = f"{concept}_{seed}"
        for rule, more in (("all", ["candidates=all"]), ("seals", seals)):
            words = words_for(paths, concept, f"seed={seed}", *more)
            read(paths["train"], place)
            run = alframe(words, folder / f"run_{rule}_{name}")
            runs.setdefault(name, {})[rule] = told(run)
            print(f"{name}, {rule}: {run['seconds']} s", file=sys.stderr)
    status = json.loads((Path(run["path"]) / "status.json").read_text())
    exact, both = exact_search(small), compared(runs)
    return {
        "device": status["device"],
        "cases": cases(first, status["recall"], scan, both, exact),
        "build": first,
        "recall": status["recall"],
        "scan": scan,
        "seals_against_all": both,
        "concepts": runs,
        "exact": exact,
    }


def exact_search(small: bool) -> list[Row]:
    """Returns how exact search compares with FAISS's: the middle one of several processes.

    Where a process finds its memory decides how fast either is.
    """
    if small:
        return [_compared(2_000, 1000, 1)]
    found = []
    for queries, rounds in ((1000, 7), (10_000, 3)):
        context = multiprocessing.get_context("spawn")
        with ProcessPoolExecutor(1, context, max_tasks_per_child=1) as pool:
            jobs = [pool.submit(_compared, 200_000, queries, rounds) for _ in range(5)]
            runs = sorted((job.result() for job in jobs), key=lambda run: float(run["ratio"]))
        found.append({**runs[2], "ratios": [run["ratio"] for run in runs]})
    return found


def _compared(rows: int, queries: int, rounds: int) -> Row:
    points = np.random.default_rng(0).standard_normal((rows, 128), dtype=np.float32)
    return compare(points, points[:queries] + np.float32(0.1), 100, rounds)


def today() -> str:
    """Returns the date, as results have it."""
    return datetime.now(UTC).date().isoformat()


def main() -> None:
    """Measures all cases and writes the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", maxsplit=1)[0])
    parser.add_argument("--rows", type=int, default=8_121_242)
    parser.add_argument("--folder", type=Path, default=None, help="of pool, index and runs")
    parser.add_argument("--seeds", nargs="+", type=int, default=[*range(24)])
    parser.add_argument("--small", action="store_true", help="20,000 rows; nothing is kept")
    parser.add_argument("--table", action="store_true", help="make the kept results' table again")
    parser.add_argument("--exact", action="store_true", help="so, with exact search measured again")
    options = parser.parse_args()
    if options.table or options.exact:
        kept = json.loads(KEPT.read_text())
        if "look_up_seconds" not in next(iter(kept["concepts"].values()))["seals"]:
            sys.exit(f"{KEPT} is of an older version: expected look_up_seconds; measure again")
        if options.exact:
            kept["exact"] = exact_search(small=False)
            kept["exact_of"] = {"git": git_state(), "date": today()}
        kept["seals_against_all"] = compared(kept["concepts"])
        names = ("build", "recall", "scan", "seals_against_all", "exact")
        kept["cases"] = cases(*(kept[name] for name in names))
        kept["command"] = command(kept["rows"], kept["seeds"])
        KEPT.write_text(json.dumps(kept, indent=1) + "\n")
        print(table(kept))
        return
    if options.small:
        with tempfile.TemporaryDirectory() as folder:
            pool = Pool(20_000, 32, 2_000)
            print(table(measured(pool, Path(folder), ["bowling"], [0], small=True)))
        return
    folder = options.folder or CACHE / str(options.rows)
    pool, concepts = Pool(options.rows), list(SIZES)
    found = measured(pool, folder.expanduser(), concepts, options.seeds, small=False)
    print(table(found))
    kept = {
        "command": command(options.rows, options.seeds),
        "versions": versions(),
        "git": git_state(),
        "seeds": options.seeds,
        "date": today(),
        "rows": options.rows,
        "index": INDEX,
        **found,
    }
    RESULTS.mkdir(exist_ok=True)
    KEPT.write_text(json.dumps(kept, indent=1) + "\n")


def command(rows: int, seeds: Sequence[int]) -> str:
    """Returns the command that measures so many rows with these seeds."""
    return f"python scripts/bench_seals.py --rows {rows} --seeds {' '.join(map(str, seeds))}"


def table(found: Row) -> str:
    """Returns the cases as a Markdown table."""
    rows = ["| case | at least | found | met |", "|---|---|---|---|"]
    for row in found["cases"]:
        met = "yes" if row["met"] else "no"
        rows.append(f"| {row['case']} | {row['wanted']} | {row['found']:.4g} | {met} |")
    return "\n".join(rows)


if __name__ == "__main__":
    main()
