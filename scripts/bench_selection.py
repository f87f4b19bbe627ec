"""Measures the selection kernels against peers on the same input, one fresh process for each case.

    python scripts/bench_selection.py [--small] [--only CASE ...] [--large]
    python scripts/bench_selection.py --readme      writes the kept table into the README

Prints a Markdown table and writes results/bench_selection.json (with --small: nothing is kept,
sizes are a hundredth, some minutes become seconds). Needs the dev extra (scikit-activeml,
apricot-select, submodlib-py) and ALFRAME_DATA_DIR for the CIFAR-10 embeddings. --large adds the
million rows.

A contender that would take minutes is run for a few picks at two sizes and extended along the line
between them, which its equal passes allow; the table marks it with "~".
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

import bench_peers as peers
import numpy as np
import torch
from bench_data import DATA

from alframe import functional
from alframe.cli.versions import git_state, versions
from alframe.learners.hardware import Hardware

RESULTS = Path(__file__).parents[1] / "results"


def peak_mb():
    """Returns the process's peak of resident memory so far."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return int(next(line.split()[1] for line in lines if line.startswith("VmHWM:"))) / 1024


def measured(work, repeats=1):
    """Returns what the work gives, the median of its seconds, and the MB it added at its peak."""
    seconds, added, result = [], [], None
    for _ in range(repeats):
        Path("/proc/self/clear_refs").write_text("5")  # the peak starts again from here
        before = peak_mb()
        start = time.perf_counter()
        result = work()
        seconds.append(time.perf_counter() - start)
        added.append(peak_mb() - before)
    return result, statistics.median(seconds), max(added)


def extended(work, size, few):
    """Times a contender of equal passes at two small sizes, and extends the line to ``size``."""
    work(2)  # warm-up: imports and compilation
    short, long = few
    _, one, _ = measured(partial(work, short))
    picks, other, added = measured(partial(work, long))
    return picks, other + (other - one) / (long - short) * (size - long), added


def line(contender, seconds, extra_mb, **more):
    """Returns a row of the table."""
    return {"by": contender, "seconds": seconds, "extra_mb": round(extra_mb, 1), **more}


def same(picks, ours):
    """Tells how far two lists of picks agree: "yes", or the pick from which they differ."""
    differ = np.flatnonzero(np.asarray(picks) != ours[: len(picks)])
    return "yes" if len(differ) == 0 else f"up to pick {differ[0]}"


def same_or_tied(picks, ours, points, metric):
    """Tells how far picks agree, and where they differ, whether they cover the points as well.

    Gains that are equal in float64 are ties, which each package breaks in its own way.
    """
    agree = same(picks, ours)
    if agree == "yes":
        return agree
    theirs, best = (peers.coverage(points, rows, metric) for rows in (picks, ours))
    assert abs(theirs - best) <= 1e-9 * abs(best), "not the value of the peer's picks"
    return f"{agree}, then ties: f is the same to {abs(theirs - best) / abs(best):.0e}"


def kcenter(data, size, few=(20, 120)):
    """Greedy k-center against loops of one pass for each pick."""
    points = DATA[data]()
    size = min(size, len(points) // 2)
    run = partial(functional.kcenter_greedy, points)
    run(min(size, 100))
    (rows, _), seconds, added = measured(partial(run, size), 3)
    table = [line("alframe", seconds, added)]
    first = int(rows[0])
    if size < 2000:
        few = (size // 4, size // 2)
    gemv = partial(peers.gemv_loop, points, first=first)
    gemv(20)
    picks, seconds, added = measured(partial(gemv, size), 1 if size > 5000 else 3)
    table.append(line("GEMV loop", seconds, added, same_picks=same(picks, rows)))
    for name, loop in (
        ("SVP loop", peers.svp_loop),
        ("DeepCore loop", peers.deepcore_loop),
        ("scikit-activeml", peers.activeml_kcenter),
    ):
        work = lambda picks, loop=loop: loop(points, picks, first)  # noqa: E731
        picks, seconds, added = extended(work, size, few)
        table.append(line(name, seconds, added, same_picks=same(picks, rows), extended=True))
    exact = peers.exact_loop(points, few[1], first)
    assert same(exact, rows) == "yes", "not the picks of greedy with direct float64 distances"
    return table


def kcenter_large(data, size):
    """A million rows: done at all, in how long and in how much memory."""
    points = DATA[data]()
    _, seconds, added = measured(lambda: functional.kcenter_greedy(points, size))
    return [line("alframe", seconds, added, total_mb=round(peak_mb()))]


def facility_location(data, size, with_peers=True):
    """Facility location against apricot and submodlib, each with the similarity that it offers."""
    points = DATA[data]()
    size = min(size, len(points) // 2)
    table, rows = [], {}
    for metric in ("cosine", "sqeuclidean")[: 2 if with_peers else 1]:
        run = partial(functional.facility_location_greedy, points, metric=metric)
        run(2)
        (rows[metric], _), seconds, added = measured(partial(run, size), 3 if with_peers else 1)
        table.append(line(f"alframe, {metric}", seconds, added, total_mb=round(peak_mb())))
    if not with_peers:
        return table
    for name, peer, metric in (
        ("submodlib, cosine", peers.submodlib_facility_location, "cosine"),
        ("apricot, squared distances", peers.apricot_facility_location, "sqeuclidean"),
    ):
        peer(points[:50], 5)  # warm-up: numba compiles
        picks, seconds, added = measured(lambda peer=peer: peer(points, size))
        agree = same_or_tied(picks, np.asarray(rows[metric]), points, metric)
        table.append(line(name, seconds, added, same_picks=agree, against=f"alframe, {metric}"))
    return table


def badge(data, size, few=(5, 15)):
    """BADGE against its materialized form and scikit-activeml."""
    probs, embeddings = DATA[data]()
    size = min(size, len(probs) // 2)

    def ours():
        return functional.badge_select(probs, embeddings, size, np.random.default_rng(0))

    functional.badge_select(probs, embeddings, 3, np.random.default_rng(0))
    rows, seconds, added = measured(ours, 3)
    table = [line("alframe", seconds, added)]

    def gemv(picks):
        return peers.gemv_badge(probs, embeddings, picks, np.random.default_rng(0))

    picks, seconds, added = extended(gemv, size, few)
    agree = same(picks, np.asarray(rows))
    table.append(line("GEMV, materialized", seconds, added, extended=True, same_picks=agree))
    work = partial(peers.activeml_badge, probs, embeddings)
    _, seconds, added = extended(work, size, few)
    table.append(line("scikit-activeml", seconds, added, extended=True))
    return table


def uncertainty(rows):
    """Scores of many probabilities against one pass over the memory, and a compiled logarithm."""
    probs = torch.rand(rows, 1000, generator=torch.Generator().manual_seed(0))
    for part in probs.split(10_000):
        part /= part.sum(1, keepdim=True)
    compiled = torch.compile(lambda p: -(p * p.log()).sum(1))
    baselines = {
        "one pass (a sum)": lambda: torch.sum(probs),
        "compiled elementwise log": lambda: compiled(probs),
    }
    scores = {
        name: partial(getattr(functional, name), probs)
        for name in ("least_confidence", "margin", "entropy")
    }
    table = []
    for name, work in (baselines | scores).items():
        work()  # warm-up
        _, seconds, added = measured(work, 3)
        against = {"against": "compiled elementwise log"} if name == "entropy" else {}
        table.append(line(name, seconds, added, **against))
    return table


def on_the_gpu(rows, width, size):
    """K-center on a CUDA device: median of three, timed with events."""
    points = torch.randn(rows, width, generator=torch.Generator().manual_seed(0))
    device = points.cuda()
    functional.kcenter_greedy(device[:2000], 100)
    seconds, picks = [], None
    for _ in range(3):
        start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        start.record()
        picks, _ = functional.kcenter_greedy(device, size)
        end.record()
        end.synchronize()
        seconds.append(start.elapsed_time(end) / 1000)
    peak = torch.cuda.max_memory_allocated() / 2**20
    row = line("alframe", statistics.median(seconds), peak - device.nbytes / 2**20)
    if rows * size <= 5e8:
        row["same_rows_as_the_cpu"] = bool(
            (functional.kcenter_greedy(points, size)[0] == picks.cpu()).all()
        )
    return [row]


SETS = ("cifar10_resnet20", "clustered", "isotropic", "duplicates")
CASES = {
    **{f"k-center, {data}, 5,000 picks": (kcenter, data, 5000) for data in SETS},
    "k-center, digits (1,797 x 64), 898 picks": (kcenter, "digits", 898),
    "k-center, clustered, 25,000 picks": (kcenter, "clustered", 25_000),
    "k-center, isotropic, 25,000 picks": (kcenter, "isotropic", 25_000),
    "k-center, clustered 100,000 x 256, 2,000 picks": (kcenter, "clustered_wide", 2000),
    "k-center, isotropic 100,000 x 256, 2,000 picks": (kcenter, "isotropic_wide", 2000),
    "facility location, 10,000 x 64, 1,000 picks": (facility_location, "clustered_10k", 1000),
    "facility location, 50,000 x 64, 5,000 picks": (facility_location, "clustered", 5000, False),
    "BADGE, 50,000 x 10 x 512, 1,000 picks": (badge, "badge", 1000),
    "uncertainty, 1,000,000 x 1,000": (uncertainty, 1_000_000),
}
LARGE = {
    "k-center, clustered 1,000,000 x 256, 100,000 picks": (kcenter_large, "million", 100_000),
}
GPU = {
    "k-center on the GPU, 50,000 x 64, 5,000 picks": (on_the_gpu, 50_000, 64, 5000),
    "k-center on the GPU, 50,000 x 64, 25,000 picks": (on_the_gpu, 50_000, 64, 25_000),
    "k-center on the GPU, 1,000,000 x 256, 100,000 picks": (on_the_gpu, 10**6, 256, 10**5),
    "k-center on the GPU, 1,280,000 x 2,048, 128,000 picks": (on_the_gpu, 1_280_000, 2048, 128_000),
}


def run_case(name):
    """Runs one case in this process and prints its rows."""
    function, *arguments = (CASES | LARGE | GPU)[name]
    small = os.environ.get("BENCH_SMALL")
    if small:
        arguments = [a if isinstance(a, bool | str) else max(a // 100, 20) for a in arguments]
    print(json.dumps(function(*arguments)))


def in_a_fresh_process(name, small):
    """Runs one case in a process of its own and returns its rows."""
    environment = os.environ | ({"BENCH_SMALL": "1"} if small else {})
    command = [sys.executable, __file__, "--case", name]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(f"{name} failed:\n{done.stderr}")
    return json.loads(done.stdout.splitlines()[-1])


def times(row, rows):
    """Returns how many times as long a row took as the one it stands against, else the first."""
    by = row.get("against", rows[0]["by"])
    return row["seconds"] / next(other["seconds"] for other in rows if other["by"] == by)


def show(name, rows):
    """Prints a case as rows of the Markdown table."""
    for row in rows:
        mark = "~" if row.get("extended") else ""
        notes = {
            key: row[key] for key in row if key not in ("by", "seconds", "extra_mb", "extended")
        }
        said = ", ".join(f"{key.replace('_', ' ')}: {value}" for key, value in notes.items())
        print(
            f"| {name} | {row['by']} | {mark}{row['seconds']:.3g} | {times(row, rows):.1f} | "
            f"{row['extra_mb']:.0f} | {said} |",
            flush=True,
        )


def three_digits(number):
    """Returns a ratio in words, never as a power of ten."""
    return f"{number:,.0f}" if number >= 100 else f"{number:.3g}"


def compact(kept):
    """Returns the kept cases as the README's table: one row each, peers as ratios."""
    lines = ["| case | seconds | extra memory | times as long: |", "|---|---|---|---|"]
    for name, case in kept.items():
        ours, *others = case["rows"]
        ratios = ", ".join(
            f"{row['by']} {'~' * bool(row.get('extended'))}"
            f"{three_digits(times(row, case['rows']))} x"
            + (f" (of {row['against']})" if "against" in row else "")
            for row in others
        )
        lines.append(
            f"| {name} | {ours['by'] + ': ' if ours['by'] != 'alframe' else ''}"
            f"{ours['seconds']:.3g} | {ours['extra_mb']:.0f} MB | {ratios} |"
        )
    stamps = {(c["device"], c["versions"]["torch"], c["date"]) for c in kept.values()}
    said = "; ".join(f"{device}, torch {torch_}, {date}" for device, torch_, date in sorted(stamps))
    return "\n".join([*lines, "", f"*{said}; seed 0; `scripts/bench_selection.py`.*"])


def write_readme():
    """Puts the kept table between the README's two marks."""
    readme = RESULTS.parent / "README.md"
    mark = "<!-- bench_selection -->"
    before, _, after = readme.read_text().split(mark)
    kept = json.loads((RESULTS / "bench_selection.json").read_text())["cases"]
    readme.write_text(f"{before}{mark}\n{compact(kept)}\n{mark}{after}")


def main():
    """Measures the cases and keeps the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--small", action="store_true")
    parser.add_argument("--large", action="store_true")
    parser.add_argument(
        "--only", nargs="*", default=[""], help="cases whose name holds one of these"
    )
    parser.add_argument("--readme", action="store_true")
    parser.add_argument("--case", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.readme:
        write_readme()
        return
    if given.case:
        run_case(given.case)
        return
    cases = CASES | (LARGE if given.large else {}) | (GPU if torch.cuda.is_available() else {})
    names = [name for name in cases if any(word in name for word in given.only)]
    device = Hardware().describe()
    print(f"{device}\n\n| case | by | seconds | times the first | extra MB | |\n{'|---' * 6}|")
    kept = {}
    for name in names:
        kept[name] = in_a_fresh_process(name, given.small)
        show(name, kept[name])
    if given.small:
        return
    out = RESULTS / "bench_selection.json"
    before = json.loads(out.read_text())["cases"] if out.is_file() else {}
    stamp = {
        "command": "python " + " ".join(["scripts/bench_selection.py", *sys.argv[1:]]),
        "device": device,
        "versions": versions(),
        "git": git_state(),
        "seed": 0,
        "environment": {key: os.environ[key] for key in os.environ if key.startswith("OMP_")},
        "date": datetime.now(UTC).date().isoformat(),
    }
    before = {name: case for name, case in before.items() if name in CASES | LARGE | GPU}
    before |= {name: {**stamp, "rows": rows} for name, rows in kept.items()}
    out.write_text(json.dumps({"cases": before}, indent=1) + "\n")


if __name__ == "__main__":
    main()
