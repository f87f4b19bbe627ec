"""What SEALS takes on 10 million to 10 billion rows: a model, checked against measurements.

    python scripts/web_scale.py [--rows 100000 1000000 8121242] [--folder FOLDER]
    python scripts/web_scale.py --small
    python scripts/web_scale.py --page

Pools are those of bench_seals.py, in FOLDER/ROWS, and made where they are not there. The index is
that of bench_seals.py where it was built, else one with the usual number of inverted lists. All
sizes but the last set the constants of the model, which then predicts the last; all of them
together predict what is larger still. Prints both tables and writes results/web_scale.json; --small
takes two tiny pools and keeps nothing; --page measures nothing, but writes the tables of
results/bench_seals.json and results/web_scale.json to alframe/neighbors/README.md.

The model, for n rows of d values, L inverted lists, p lists in a search, t rows to train on:

- store: 2 n d bytes on disk; index: n (d + 8) + 4 L d bytes, in memory or, as lists, on disk;
- building: a t L d + b n L d seconds of multiply-adds (training is 10 rounds of k-means);
- searching for one row: c (L d + n p d / L) seconds; a scan of all rows: e n d seconds;
- a round of SEALS: k candidates for each labeled row, whatever n is;
- memory of a run's own, the index aside: f + g n bytes (labels, numbers and states of rows).
"""

from __future__ import annotations

import argparse
import json
import math
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
from bench_seals import (
    CACHE,
    INDEX,
    RESULTS,
    SMALL_INDEX,
    alframe,
    build,
    index_of,
    table,
    words_for,
)
from seals_pool import SIZES, Pool, make
from seals_scan import Paths, sum_in_chunks, took

from alframe.cli.versions import git_state, versions
from alframe.learners.hardware import Hardware
from alframe.neighbors.factory import ROWS_PER_LIST, lists_for
from alframe.neighbors.kinds import faiss
from alframe.store import Store

PAGE = Path(__file__).parents[1] / "alframe" / "neighbors" / "README.md"
AHEAD = {"10 M": 10**7, "1 B": 10**9, "10 B": 10**10}
PROBED, QUERIES, TRAINED_LEAST, KMEANS_ROUNDS = 4, 305, 2**16, 10
Row = dict[str, Any]


@dataclass(frozen=True)
class Measured:
    """What one pool and its index take.

    Attributes:
        rows: n.
        width: d.
        lists: L.
        store_bytes: On disk.
        index_bytes: On disk, and in memory.
        build_seconds: Of the index.
        search_seconds: For one row.
        scan_seconds: Of reading all rows once.
        run_bytes: The most anonymous memory of a run of three rounds that finds the index there.
    """

    rows: int
    width: int
    lists: int
    store_bytes: float
    index_bytes: float
    build_seconds: float
    search_seconds: float
    scan_seconds: float
    run_bytes: float


def measure(folder: Path, pool: Pool) -> Measured:
    """Returns what a pool and its index take, which are made where they are not in the folder."""
    paths = make(folder, pool)
    store = Store.open(paths["train"])
    words, place = chosen(paths)
    build_took = build(folder, words)
    meta = json.loads((place / "meta.json").read_text())
    index = faiss(factory=meta["factory"], nprobe=PROBED)
    index.load(place, store)
    rows = np.sort(np.random.default_rng(0).choice(store.num_rows, QUERIES, replace=False))
    queries = store.take(rows)
    index.search(queries, 100, rows)
    start = time.perf_counter()
    index.search(queries, 100, rows)
    search = (time.perf_counter() - start) / QUERIES
    sum_in_chunks(store)
    return Measured(
        store.num_rows,
        store.width,
        int(meta["factory"].split(",")[0].removeprefix("IVF")),
        sum(path.stat().st_size for path in store.folder.glob("shard_*.npy")),
        (place / "index.faiss").stat().st_size,
        float(build_took["seconds"]),
        search,
        took(lambda: sum_in_chunks(store)),
        float(alframe(words, folder / "run")["peak_bytes"]),
    )


@dataclass(frozen=True)
class Model:
    """The constants.

    Attributes:
        build: Seconds of one multiply-add while building.
        search: Likewise while searching.
        scan: Seconds of reading one value.
        run: Bytes of a run, whatever the pool.
        run_row: And of each row.
    """

    build: float
    search: float
    scan: float
    run: float
    run_row: float

    @classmethod
    def of(cls, known: Sequence[Measured]) -> Model:
        """Returns the constants that fit the measurements.

        Bytes by least squares, seconds in the geometric mean.
        """

        def fit(values: Sequence[float]) -> float:
            return math.exp(float(np.mean(np.log(values))))

        run_row, run = 0.0, known[0].run_bytes
        if len(known) > 1:
            run_row, run = np.polyfit([m.rows for m in known], [m.run_bytes for m in known], 1)
        return cls(
            fit([m.build_seconds / build_work(m.rows, m.width, m.lists) for m in known]),
            fit([m.search_seconds / search_work(m.rows, m.width, m.lists) for m in known]),
            fit([m.scan_seconds / (m.rows * m.width) for m in known]),
            float(run),
            float(run_row),
        )

    def predict(self, rows: int, width: int, lists: int) -> Measured:
        """Returns what so many rows take."""
        return Measured(
            rows,
            width,
            lists,
            2 * rows * width,
            rows * (width + 8) + 4 * lists * width,
            self.build * build_work(rows, width, lists),
            self.search * search_work(rows, width, lists),
            self.scan * rows * width,
            self.run + self.run_row * rows,
        )


def build_work(rows: int, width: int, lists: int) -> float:
    """Returns the multiply-adds of training and of adding all rows."""
    trained = min(rows, max(TRAINED_LEAST, ROWS_PER_LIST * lists))
    return float(lists * width * (KMEANS_ROUNDS * trained + rows))


def search_work(rows: int, width: int, lists: int) -> float:
    """Returns the values that are looked at for one row."""
    return float(width * (lists + rows * min(PROBED, lists) / lists))


def lines(rows: Sequence[tuple[str, Measured]]) -> list[str]:
    """Returns a Markdown table."""
    head = "| rows | lists | store, GB | index, GB | run, GB | building, h | search, ms | scan, s |"
    return [head, "|---|---|---|---|---|---|---|---|"] + [
        f"| {name} | {m.lists} | {m.store_bytes / 1e9:.3g} | {m.index_bytes / 1e9:.3g} "
        f"| {m.run_bytes / 1e9:.3g} | {m.build_seconds / 3600:.3g} "
        f"| {1e3 * m.search_seconds:.3g} | {m.scan_seconds:.3g} |"
        for name, m in rows
    ]


def checked(known: Sequence[Measured]) -> Row:
    """Fits the model to all measurements but the last one, and extrapolates from all of them."""
    last = known[-1]
    predicted = Model.of(known[:-1]).predict(last.rows, last.width, last.lists)
    model = Model.of(known)
    ahead = {name: model.predict(n, last.width, lists_for(n)) for name, n in AHEAD.items()}
    ratios = {name: value / asdict(last)[name] for name, value in asdict(predicted).items()
              if name not in ("rows", "width", "lists")}  # fmt: skip
    return {
        "measured": [asdict(m) for m in known],
        "predicted": asdict(predicted),
        "predicted_to_measured": ratios,
        "model": asdict(model),
        "ahead": {name: asdict(m) for name, m in ahead.items()},
    }


def tables(found: Row) -> str:
    """Returns what was measured and predicted as Markdown."""
    known = [Measured(**m) for m in found["measured"]]
    predicted = Measured(**found["predicted"])
    checks = [(f"{m.rows:,}", m) for m in known] + [(f"{predicted.rows:,}, predicted", predicted)]
    ahead = [(name, Measured(**m)) for name, m in found["ahead"].items()]
    return "\n".join([*lines(checks), "", *lines(ahead)])


def page(text: str, results: Path = RESULTS) -> str:
    """Returns a page with the tables of the results between its marks."""
    kept = {name: json.loads((results / f"{name}.json").read_text())
            for name in ("bench_seals", "web_scale")}  # fmt: skip
    made_of = {"bench_seals": table(kept["bench_seals"]), "web_scale": tables(kept["web_scale"])}
    for name, content in made_of.items():
        about = [kept[name]["device"], kept[name]["date"]]
        if index := kept[name].get("index"):
            about.append(f"`{' '.join(index)}`")
        if exact := kept[name].get("exact_of"):
            about.append(f"exact search at {exact['git']['revision'][:7]}, {exact['date']}")
        body = f"{content}\n\nFrom `results/{name}.json`: {', '.join(about)}."
        marks = f"<!-- {name} -->", f"<!-- end of {name} -->"
        before, _, rest = text.partition(marks[0])
        _, _, after = rest.partition(marks[1])
        text = f"{before}{marks[0]}\n\n{body}\n\n{marks[1]}{after}"
    return text


def chosen(paths: Paths) -> tuple[list[str], Path]:
    """Returns the words of a run that searches the index of a pool, and the index's folder."""
    for index in (INDEX, SMALL_INDEX):
        words = words_for(paths, next(iter(SIZES)), "candidates=seals", *index)
        place = index_of(words)
        if (place / "meta.json").is_file():
            break
    return words, place


def main() -> None:
    """Prints the tables and keeps them."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", maxsplit=1)[0])
    parser.add_argument("--rows", type=int, nargs="+", default=[100_000, 1_000_000, 8_121_242])
    parser.add_argument("--folder", type=Path, default=CACHE)
    parser.add_argument("--small", action="store_true", help="tiny pools; nothing is kept")
    parser.add_argument("--page", action="store_true", help="writes the page, measures nothing")
    options = parser.parse_args()
    if options.page:
        PAGE.write_text(page(PAGE.read_text()))
        return
    if options.small:
        with tempfile.TemporaryDirectory() as folder:
            pools = [Pool(rows, 32, 2_000) for rows in (5_000, 20_000)]
            found = checked([measure(Path(folder) / str(p.rows), p) for p in pools])
        print(tables(found))
        return
    base = options.folder.expanduser()
    found = checked([measure(base / str(n), Pool(n)) for n in sorted(options.rows)])
    print(tables(found))
    about = {
        "command": f"python scripts/web_scale.py --rows {' '.join(map(str, options.rows))}",
        "device": Hardware("cpu").describe(),
        "versions": versions(),
        "git": git_state(),
        "seed": 0,
        "date": datetime.now(UTC).date().isoformat(),
    }
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / "web_scale.json").write_text(json.dumps({**about, **found}, indent=1) + "\n")


if __name__ == "__main__":
    main()
