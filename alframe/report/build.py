"""From runs to the report's files, in memory: nothing is written before all of it is made."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import count

import pandas as pd

from alframe import __version__
from alframe.report import concepts, curves, proxy_figures, tables, words, work
from alframe.report.groups import Group, by_device, make_groups
from alframe.report.html import Section, page
from alframe.report.ranking import ranking, ranking_picture
from alframe.report.runs import Run
from alframe.report.style import Picture, look

METHOD = (
    "Accuracies are those of the final target model on the test split. Intervals are two-sided "
    "95 % Student t intervals over seeds, with as many seeds as each row names; one seed has no "
    "interval. Area is the mean height of the accuracy curve over the budget."
)
RANKING = (
    "By the area under test accuracy against budget, over the range that most groups cover. "
    "Against random: the mean difference to random picks, seed by seed."
)
COSTS = (
    "Wall-clock needed to get the model, mean over seeds of one device: the selector's training "
    "(the proxy, or the target itself), observing and selecting, and the target's own training. "
    "Speed-up is the full run's training time divided by the sum, for each seed, then averaged. "
    "Break-even is the largest share of the rows at which the sum is still no longer than the full "
    "run, if the target's seconds are linear in its rows. Compiling, where the training step was "
    "compiled, is needed once for each network and stands on its own."
)
WORK = (
    "Means over the seeds of one device; of active learning, of the last round. Rows a second are "
    "training rows, counted again in each epoch, or rows that were looked at or selected from. "
    "Multiply-adds are those of the model for one row, forward; one is two FLOPs."
)
CONCEPTS = (
    "Average precision on the test rows, mean over the concepts (mAP), then over seeds; positives "
    "among all labels, and the share of the pool that was labeled or ever a candidate, for a "
    "concept. Intervals are over seeds."
)
FIDELITY = (
    "The strategy also selected from what the target sees that was trained on all rows: the share "
    "of the proxy's picks that are the target's too, beside what random picks would share, and the "
    "rank correlation of the scores of all rows, where the strategy scores each row on its own. "
    "Selection speed-up: training on all rows, observing and selecting, target by proxy."
)


@dataclass(frozen=True)
class Report:
    """The files by name, and what the terminal shows."""

    files: dict[str, bytes]
    headline: words.TextTable
    notes: list[str]


def build(runs: Sequence[Run], target: float | None = None) -> Report:
    """Makes the report.

    Args:
        runs: Loaded runs, at least one.
        target: A test accuracy whose price is tabulated, or None.

    Raises:
        UserError: If a training curve cannot be read.
    """
    groups = make_groups(runs)
    measured = [group for group in groups if len(group.points)]
    ranks = ranking(measured)
    with look():
        ranked = [ranking_picture(ranks, pipeline) for pipeline in ranks["pipeline"].unique()]
        pictures = [*_pictures(measured), *(picture for picture in ranked if picture is not None)]
    found = concepts.searches(runs)
    with look():
        pictures = [*concepts.pictures(found), *pictures]
    frames = {
        "results": tables.results(measured),
        "ranking": ranks,
        "costs": tables.costs(measured),
        "work": work.work(measured),
        "fidelity": work.fidelity(measured),
        "runs": tables.run_list(groups),
    }
    if found:
        frames["concepts"] = concepts.concepts(found)
    if target is not None:
        frames["target_accuracy"] = tables.reached(measured, target)
    headline = tables.headline(measured)
    notes = [*_notes(groups), *concepts.notes(runs)]
    sections = _sections(words.results_text(headline), frames, pictures, target)
    html = page("alframe report", _summary(runs, measured), notes, sections)
    files = {f"{name}.csv": frame.to_csv(index=False).encode() for name, frame in frames.items()}
    files["results.md"] = _markdown(frames, target).encode()
    for picture in pictures:
        files |= {f"{picture.name}.png": picture.png, f"{picture.name}.svg": picture.svg.encode()}
    # last, so that the page is new only where all the rest is
    return Report({**files, "index.html": html.encode()}, words.brief_text(headline), notes)


def _pictures(groups: Sequence[Group]) -> list[Picture]:
    active = [g for g in groups if g.pipeline != "core_set" and len(g.selected)]
    core = [g for g in groups if g.pipeline == "core_set" and len(g.selected)]
    pictures: list[Picture | None] = []
    if active:
        pictures.append(curves.accuracy_against_labels(active))
    if curves.has_seconds(active):
        pictures.append(curves.accuracy_against_seconds(active))
    if core:
        pictures.append(curves.accuracy_against_rows(core))
    parts = [part for group in core for part in by_device(group) if len(part.selected)]
    for number, part in zip(count(1), parts, strict=False):
        name = f"{_slug(part.label)}_{number}"
        if curves.has_seconds([part]):
            pictures.append(proxy_figures.bars(part, f"speed_up_{name}"))
        pictures.append(proxy_figures.wall_clock(part, f"wall_clock_{name}"))
    return [picture for picture in pictures if picture is not None]


def _sections(
    headline: words.TextTable,
    frames: dict[str, pd.DataFrame],
    pictures: Sequence[Picture],
    target: float | None,
) -> list[Section]:
    sections = []
    if "concepts" in frames:
        table = words.concepts_text(frames["concepts"])
        sections.append(Section("Rare concepts", CONCEPTS, table=table))
    sections.append(Section("Results", METHOD, table=headline))
    if target is not None:
        text = (
            "What it takes to first reach this test accuracy; means over the seeds that reached it."
        )
        table = words.reached_text(frames["target_accuracy"])
        sections.append(Section(f"To reach {words.percent(target)}", text, table=table))
    if len(frames["ranking"]) > 1:
        sections.append(Section("Ranking", RANKING, table=words.ranking_text(frames["ranking"])))
    if pictures:
        sections.append(Section("Figures", pictures=pictures))
    results = words.results_text(frames["results"])
    if len(frames["fidelity"]):
        table = words.fidelity_text(frames["fidelity"])
        sections.append(Section("Proxy fidelity", FIDELITY, table=table))
    parts = words.work_text(frames["work"])
    return [
        *sections,
        Section("Costs", COSTS, table=words.costs_text(frames["costs"])),
        Section("What each part takes", WORK, table=parts, folded=len(parts.rows) > 12),
        Section("All budgets", table=results, folded=len(results.rows) > 12),
        Section("Runs", table=words.runs_text(frames["runs"])),
    ]


def _summary(runs: Sequence[Run], measured: Sequence[Group]) -> list[str]:
    done = sum(run.state == "done" for run in runs)
    seeds = sorted({group.seeds for group in measured})
    per_group = " to ".join(str(n) for n in dict.fromkeys([*seeds[:1], *seeds[-1:]])) or "no"
    devices = "; ".join(sorted({run.device for run in runs}))
    made = datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC")
    return [
        f"{len(runs)} runs, {done} of them done, in {len(measured)} groups with results; "
        f"{per_group} seeds in a group.",
        f"Devices: {devices}.",
        f"Made by alframe {__version__} on {made}.",
    ]


def _notes(groups: Sequence[Group]) -> list[str]:
    notes = []
    for group in groups:
        for run in (*group.runs, *group.repeated):
            reason = run.status.get("reason") or "no reason was recorded"
            if run.state == "failed":
                notes.append(f"Failed: {run.path} ({group.label}, seed {run.seed}): {reason}")
            elif run.state != "done":
                also = "; what it finished so far is counted" if run in group.runs else ""
                notes.append(
                    f"Unfinished ({run.state}): {run.path} ({group.label}, seed {run.seed}){also}."
                )
        if len(group.devices) > 1:
            notes.append(
                f"Mixed devices: the seeds of {group.label} ran on {'; '.join(group.devices)}. "
                "Their accuracies are averaged, their seconds are not."
            )
        notes += [
            f"Resumed on another device: {run.path} ({group.label}, seed {run.seed}) ran on "
            f"{run.device}. Its accuracies count, its seconds do not."
            for run in group.runs
            if len(run.devices) > 1
        ]
        if group.repeated:
            seeds = ", ".join(str(run.seed) for run in group.repeated)
            notes.append(
                f"Repeated seeds: {group.label} has more than one run of seed {seeds}; the latest "
                "finished one counts."
            )
        if len(group.points) and group.seeds < 3:
            notes.append(f"Few seeds: {group.label} has {group.seeds}, fewer than 3.")
        if not len(group.points):
            notes.append(f"No test accuracy yet: {group.label}.")
    return notes


def _markdown(frames: dict[str, pd.DataFrame], target: float | None) -> str:
    parts = []
    if "concepts" in frames:
        parts += ["# Rare concepts", CONCEPTS, words.concepts_text(frames["concepts"]).markdown()]
    parts += ["# Results", METHOD, words.results_text(frames["results"]).markdown()]
    if target is not None:
        table = words.reached_text(frames["target_accuracy"])
        parts += [f"# To reach {words.percent(target)}", table.markdown()]
    if len(frames["ranking"]) > 1:
        parts += ["# Ranking", RANKING, words.ranking_text(frames["ranking"]).markdown()]
    if len(frames["fidelity"]):
        table = words.fidelity_text(frames["fidelity"])
        parts += ["# Proxy fidelity", FIDELITY, table.markdown()]
    parts += ["# Costs", COSTS, words.costs_text(frames["costs"]).markdown()]
    parts += ["# What each part takes", WORK, words.work_text(frames["work"]).markdown()]
    return "\n\n".join(part.strip() for part in parts) + "\n"


def _slug(label: str) -> str:
    """Letters and digits only, so that the name is a file name everywhere."""
    clean = "".join(c if c.isascii() and c.isalnum() else "_" for c in label.lower())
    return "_".join(part for part in clean.split("_") if part)[:60]
