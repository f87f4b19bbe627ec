"""Keeps a report's numbers and figures under results/, with what they were measured on.

    python scripts/keep_results.py REPORT_DIR NAME "COMMAND" FIGURE... [--into FOLDER]

Writes results/NAME.json and copies each FIGURE (a name without its ending; the newest that begins
so) to results/NAME_FIGURE.svg and .png. Refuses a report that holds unfinished runs. Where the
report's folder holds a reproduction.json (see reproduce_svp.py) it is kept with the rest: it tells
which runs are missing, so that a part of a reproduction can be kept.
"""

import argparse
import json
import shutil
import sys
from pathlib import Path

import pandas as pd

RESULTS = Path(__file__).parents[1] / "results"


def main() -> None:
    """Reads the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("report", type=Path)
    parser.add_argument("name")
    parser.add_argument("command")
    parser.add_argument("figures", nargs="*")
    parser.add_argument("--into", type=Path, default=RESULTS)
    keep(**vars(parser.parse_args()))


def keep(report: Path, name: str, command: str, figures: list[str], into: Path) -> None:
    """Writes the JSON file and copies the figures."""
    runs = pd.read_csv(report / "runs.csv")
    unfinished = runs[runs["state"] != "done"]
    if len(unfinished):
        sys.exit(f"{report} holds runs that are not done: {', '.join(unfinished['run'])}")
    kept = {
        "command": command,
        "devices": sorted(runs["device"].unique()),
        "versions": sorted(runs["versions"].unique()),
        "revisions": sorted(runs["revision"].fillna("none").unique()),
        "seeds": sorted(int(seed) for seed in runs["seed"].unique()),
        "started": runs["started"].min(),
        "finished": runs["finished"].max(),
        "results": records(pd.read_csv(report / "results.csv")),
        "ranking": records(pd.read_csv(report / "ranking.csv")),
        "costs": records(pd.read_csv(report / "costs.csv")),
        "work": records(pd.read_csv(report / "work.csv")),
        "runs": records(runs[["group", "seed", "accuracy", "area", "seconds"]]),
    }
    if len(fidelity := pd.read_csv(report / "fidelity.csv")):
        kept["fidelity"] = records(fidelity)
    for more in ("concepts", "pairs", "penalty", "target_accuracy"):
        if (report / f"{more}.csv").is_file():
            kept[more] = records(pd.read_csv(report / f"{more}.csv"))
    if (report / "reproduction.json").is_file():
        kept["reproduction"] = json.loads((report / "reproduction.json").read_text())
    into.mkdir(parents=True, exist_ok=True)
    (into / f"{name}.json").write_text(json.dumps(kept, indent=1, allow_nan=False) + "\n")
    for figure in figures:
        for ending in ("svg", "png"):
            found = sorted(report.glob(f"{figure}*.{ending}"))
            if not found:
                sys.exit(f"{report} holds no figure {figure}*.{ending}")
            shutil.copy(found[-1], into / f"{name}_{figure}.{ending}")


def records(table: pd.DataFrame) -> list[dict[str, object]]:
    """Returns a table as JSON records, empty cells as null."""
    rows: list[dict[str, object]] = json.loads(table.to_json(orient="records", double_precision=6))
    return rows


if __name__ == "__main__":
    main()
