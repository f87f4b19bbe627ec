"""Keeps a report's numbers and figures under results/, with what they were measured on.

    python scripts/keep_results.py REPORT_DIR NAME "COMMAND" FIGURE...

Writes results/NAME.json and copies each FIGURE (a name without its ending; the newest that begins
so) to results/NAME_FIGURE.svg and .png. Refuses a report that holds unfinished runs.
"""

import json
import shutil
import sys
from pathlib import Path

import pandas as pd

RESULTS = Path(__file__).parents[1] / "results"


def main(report: Path, name: str, command: str, *figures: str) -> None:
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
        "runs": records(runs[["group", "seed", "accuracy", "area", "seconds"]]),
    }
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / f"{name}.json").write_text(json.dumps(kept, indent=1, allow_nan=False) + "\n")
    for figure in figures:
        for ending in ("svg", "png"):
            found = sorted(report.glob(f"{figure}*.{ending}"))
            if not found:
                sys.exit(f"{report} holds no figure {figure}*.{ending}")
            shutil.copy(found[-1], RESULTS / f"{name}_{figure}.{ending}")


def records(table: pd.DataFrame) -> list[dict[str, object]]:
    """Returns a table as JSON records, empty cells as null."""
    rows: list[dict[str, object]] = json.loads(table.to_json(orient="records", double_precision=6))
    return rows


if __name__ == "__main__":
    main(Path(sys.argv[1]), *sys.argv[2:])
