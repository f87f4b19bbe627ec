"""The search for rare concepts: average precision, positives found, and the share touched."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import pandas as pd

from alframe.report.curves import FEW_SEEDS, TOO_FEW, intervals
from alframe.report.groups import identity, make_labels, one_per_seed, settings_of
from alframe.report.runs import Run
from alframe.report.statistics import Kind, over_seeds
from alframe.report.style import (
    Picture,
    add_legend,
    add_notes,
    count_axis,
    new_axes,
    percent_axis,
    render,
    strokes,
)

MEASURED = ("average_precision", "positives_found", "share_touched")
COLUMNS = (
    "group", "labeled", "concepts", "average_precision", "low", "high",
    "positives_found", "positives_low", "positives_high", "share_touched", "seeds",
)  # fmt: skip
CONCEPT = "concept"


@dataclass(frozen=True)
class Search:
    """Runs of one config that differ in their concept and seed.

    Attributes:
        label: Unique among the searches of a report.
        concepts: What was searched for.
        points: Columns ``seed``, ``labeled`` and `MEASURED`: a row for each seed and number of
            labels that every concept has, its means over the concepts.
    """

    label: str
    concepts: tuple[str, ...]
    points: pd.DataFrame


def searches(runs: Sequence[Run]) -> list[Search]:
    """Returns the searches among the runs, in the order of their labels; `notes` has the others."""
    members: dict[tuple[str, ...], list[Run]] = {}
    for run in runs:
        if _is_search(run) and _has_precision(run):
            members.setdefault(tuple(identity(_without_concept(run))), []).append(run)
    labels = make_labels([settings_of(_without_concept(mine[0])) for mine in members.values()])
    found = [_search(label, mine) for label, mine in zip(labels, members.values(), strict=True)]
    return sorted(found, key=lambda search: search.label)


def notes(runs: Sequence[Run]) -> list[str]:
    """Says which concepts are left out, since no test row is of them."""
    unmeasured = [run for run in runs if _is_search(run) and not _has_precision(run)]
    names = sorted({str(run.settings[CONCEPT]) for run in unmeasured})
    if not names:
        return []
    return [f"No test row is of these concepts, which are left out: {', '.join(names)}."]


def _is_search(run: Run) -> bool:
    return set(MEASURED) <= set(run.metrics) and run.settings.get(CONCEPT) is not None


def _has_precision(run: Run) -> bool:
    """Tells whether test rows are of the concept: then every average precision is above 0."""
    points = _points(run)
    return not len(points) or bool((points["average_precision"] > 0).any())


def _without_concept(run: Run) -> Run:
    return replace(run, settings={k: v for k, v in run.settings.items() if k != CONCEPT})


def _search(label: str, runs: Sequence[Run]) -> Search:
    by_concept: dict[str, list[Run]] = {}
    for run in runs:
        by_concept.setdefault(str(run.settings[CONCEPT]), []).append(run)
    parts = [
        _points(run).assign(seed=run.seed)
        for mine in by_concept.values()
        for run in one_per_seed(label, mine[0].pipeline, mine).runs
    ]
    grouped = pd.concat(parts).groupby(["seed", "labeled"], sort=True)
    means = grouped[list(MEASURED)].mean()[grouped.size() == len(by_concept)]
    return Search(label, tuple(sorted(by_concept)), means.reset_index())


def _points(run: Run) -> pd.DataFrame:
    tests = run.metrics[(run.metrics["model"] == "target") & (run.metrics["split"] == "test")]
    # an empty answer of the oracle gives two rounds with equally many labels: the last one counts
    last = tests.dropna(subset=["labeled"]).drop_duplicates("labeled", keep="last")
    return last[["labeled", *MEASURED]].astype(float)


def concepts(found: Sequence[Search], kind: Kind = "t") -> pd.DataFrame:
    """Returns a row for each search and number of labels.

    ``average_precision`` is the mean over concepts (mAP), then over seeds; ``low`` and ``high``
    are its interval over seeds, and likewise of ``positives_found``, which are the positives among
    all labels, per concept. ``share_touched`` is the share of the pool that was labeled or a
    candidate so far.
    """
    rows = []
    for search in found:
        lines = {name: over_seeds(search.points, "labeled", name, kind) for name in MEASURED}
        precision, positives = lines["average_precision"], lines["positives_found"]
        rows.append(
            pd.DataFrame(
                {
                    "group": search.label,
                    "labeled": precision["labeled"],
                    "concepts": len(search.concepts),
                    "average_precision": precision["mean"],
                    "low": precision["low"],
                    "high": precision["high"],
                    "positives_found": positives["mean"],
                    "positives_low": positives["low"],
                    "positives_high": positives["high"],
                    "share_touched": lines["share_touched"]["mean"],
                    "seeds": precision["n"],
                }
            )
        )
    return pd.concat(rows, ignore_index=True) if rows else pd.DataFrame(columns=list(COLUMNS))


def pictures(found: Sequence[Search], kind: Kind = "t") -> list[Picture]:
    """Draws average precision, and positives found, against labels; one line per search."""
    table = concepts(found, kind)
    if not len(table):
        return []
    names = sorted({name for search in found for name in search.concepts})
    of = names[0] if len(names) == 1 else f"{len(names)} concepts"
    shown = (
        (("average_precision", "low", "high"), f"Average precision against labels: {of}"),
        (
            ("positives_found", "positives_low", "positives_high"),
            f"Positives found against labels: {of}",
        ),
    )
    return [_picture(table, columns, title, kind) for columns, title in shown]


def _picture(table: pd.DataFrame, columns: tuple[str, str, str], title: str, kind: Kind) -> Picture:
    value, low, high = columns
    few = int(table["seeds"].min()) < TOO_FEW
    warning = f"Fewer than {TOO_FEW} seeds: {FEW_SEEDS}" if few else ""
    axes = new_axes(title, intervals(kind), warning=warning)
    labels = sorted(table["group"].unique())
    for label, stroke in zip(labels, strokes(len(labels)), strict=True):
        line = table[table["group"] == label]
        touched = 100 * line["share_touched"].iloc[-1]
        axes.plot(
            line["labeled"], line[value], color=stroke.color, marker=stroke.marker,
            linestyle=stroke.dash, label=f"{label} ({touched:.3g} % of the pool touched)", zorder=3,
        )  # fmt: skip
        axes.fill_between(
            line["labeled"], line[low], line[high],
            color=stroke.color, alpha=0.16, linewidth=0, zorder=2,
        )  # fmt: skip
    count_axis(axes, "labels")
    if value == "average_precision":
        percent_axis(axes, "average precision, test rows")
    else:
        axes.set_ylim(bottom=0)
        axes.set_ylabel("positives among the labels")
    add_legend(axes)
    fewest, most = int(table["seeds"].min()), int(table["seeds"].max())
    seeds = str(most) if fewest == most else f"{fewest} to {most}"
    said = "; fewer than 3: the intervals are wide, or there are none" if few else ""
    add_notes(axes, [f"{seeds} {'seed' if seeds == '1' else 'seeds'}{said}."])
    return render(f"concepts_{value}", title, axes)
