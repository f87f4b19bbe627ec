"""From runs to the report's files, in memory: nothing is written before all of it is made."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import count

import pandas as pd

from alframe import __version__
from alframe.report import concepts, curves, proxy_figures, tables, texts, words, work
from alframe.report.compare import compare
from alframe.report.groups import Group, by_device, make_groups
from alframe.report.html import Section, page
from alframe.report.options import Options
from alframe.report.ranking import ranking, ranking_picture
from alframe.report.runs import Run
from alframe.report.style import Picture, look


@dataclass(frozen=True)
class Report:
    """The files by name, and what the terminal shows."""

    files: dict[str, bytes]
    headline: words.TextTable
    notes: list[str]


def build(runs: Sequence[Run], options: Options | None = None) -> Report:
    """Makes the report.

    Args:
        runs: Loaded runs, at least one.
        options: What the reader chose; None takes the defaults.

    Raises:
        UserError: If a training curve cannot be read.
    """
    options = options or Options()
    groups = make_groups(runs)
    measured = [group for group in groups if len(group.points)]
    found = concepts.searches(runs)
    frames = _frames(groups, found, options)
    with look():
        comparison = compare(measured, options)
        pictures = [
            *concepts.pictures(found, options.interval),
            *_pictures(measured, options),
            *_ranked(frames["ranking"], options),
            *comparison.pictures,
        ]
    frames |= comparison.frames
    headline = tables.headline(measured, options.interval, log=options.log_budget)
    notes = [*_notes(groups), *concepts.notes(runs), *comparison.notes]
    sections = _sections(words.results_text(headline), frames, pictures, options)
    at = [section.title for section in sections].index("Costs")
    sections[at:at] = comparison.sections
    html = page("alframe report", _summary(runs, measured), notes, sections)
    files = {f"{name}.csv": frame.to_csv(index=False).encode() for name, frame in frames.items()}
    files["results.md"] = _markdown(frames, options, comparison.sections).encode()
    for picture in pictures:
        files |= {f"{picture.name}.png": picture.png, f"{picture.name}.svg": picture.svg.encode()}
    # last, so that the page is new only where all the rest is
    return Report({**files, "index.html": html.encode()}, words.brief_text(headline), notes)


def _frames(
    groups: Sequence[Group], found: Sequence[concepts.Search], options: Options
) -> dict[str, pd.DataFrame]:
    """Returns the tables of the groups by the names of their files."""
    kind, log = options.interval, options.log_budget
    measured = [group for group in groups if len(group.points)]
    frames = {
        "results": tables.results(measured, kind),
        "ranking": ranking(measured, kind, log=log),
        "costs": tables.costs(measured, kind),
        "work": work.work(measured),
        "fidelity": work.fidelity(measured, kind),
        "runs": tables.run_list(groups, log=log),
    }
    if found:
        frames["concepts"] = concepts.concepts(found, kind)
    if options.target is not None:
        frames["target_accuracy"] = tables.reached(measured, options.target, kind)
    return frames


def _ranked(ranks: pd.DataFrame, options: Options) -> list[Picture]:
    pictures = [
        ranking_picture(ranks, pipeline, options.interval, log=options.log_budget)
        for pipeline in ranks["pipeline"].unique()
    ]
    return [picture for picture in pictures if picture is not None]


def _pictures(groups: Sequence[Group], options: Options) -> list[Picture]:
    kind, log = options.interval, options.log_budget
    active = [g for g in groups if g.pipeline != "core_set" and len(g.selected)]
    core = [g for g in groups if g.pipeline == "core_set" and len(g.selected)]
    pictures: list[Picture | None] = []
    if active:
        pictures.append(curves.accuracy_against_labels(active, kind, log=log))
    if curves.has_seconds(active):
        pictures.append(curves.accuracy_against_seconds(active, kind))
    if core:
        pictures.append(curves.accuracy_against_rows(core, kind, log=log))
    parts = [part for group in core for part in by_device(group) if len(part.selected)]
    for number, part in zip(count(1), parts, strict=False):
        name = f"{_slug(part.label)}_{number}"
        if curves.has_seconds([part]):
            pictures.append(proxy_figures.bars(part, f"speed_up_{name}", kind))
        pictures.append(proxy_figures.wall_clock(part, f"wall_clock_{name}"))
    return [picture for picture in pictures if picture is not None]


def _sections(
    headline: words.TextTable,
    frames: dict[str, pd.DataFrame],
    pictures: Sequence[Picture],
    options: Options,
) -> list[Section]:
    target = options.target
    sections = []
    if "concepts" in frames:
        table = words.concepts_text(frames["concepts"])
        sections.append(Section("Rare concepts", texts.CONCEPTS, table=table))
    sections.append(Section("Results", texts.method(options), table=headline))
    if target is not None:
        table = words.reached_text(frames["target_accuracy"])
        sections.append(Section(f"To reach {words.percent(target)}", texts.REACHED, table=table))
    if len(frames["ranking"]) > 1:
        sections.append(
            Section("Ranking", texts.ranking(options), table=words.ranking_text(frames["ranking"]))
        )
    if pictures:
        sections.append(Section("Figures", pictures=pictures))
    results = words.results_text(frames["results"])
    if len(frames["fidelity"]):
        table = words.fidelity_text(frames["fidelity"])
        sections.append(Section("Proxy fidelity", texts.FIDELITY, table=table))
    parts = words.work_text(frames["work"])
    return [
        *sections,
        Section("Costs", texts.COSTS, table=words.costs_text(frames["costs"])),
        Section("What each part takes", texts.WORK, table=parts, folded=len(parts.rows) > 12),
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


def _markdown(
    frames: dict[str, pd.DataFrame], options: Options, comparison: Sequence[Section]
) -> str:
    target = options.target
    parts = []
    if "concepts" in frames:
        parts += [
            "# Rare concepts",
            texts.CONCEPTS,
            words.concepts_text(frames["concepts"]).markdown(),
        ]
    parts += ["# Results", texts.method(options), words.results_text(frames["results"]).markdown()]
    if target is not None:
        table = words.reached_text(frames["target_accuracy"])
        parts += [f"# To reach {words.percent(target)}", table.markdown()]
    if len(frames["ranking"]) > 1:
        parts += [
            "# Ranking",
            texts.ranking(options),
            words.ranking_text(frames["ranking"]).markdown(),
        ]
    for section in comparison:
        parts += [f"# {section.title}", section.text]
        parts += [section.table.markdown()] if section.table is not None else []
    if len(frames["fidelity"]):
        table = words.fidelity_text(frames["fidelity"])
        parts += ["# Proxy fidelity", texts.FIDELITY, table.markdown()]
    parts += ["# Costs", texts.COSTS, words.costs_text(frames["costs"]).markdown()]
    parts += ["# What each part takes", texts.WORK, words.work_text(frames["work"]).markdown()]
    return "\n\n".join(part.strip() for part in parts) + "\n"


def _slug(label: str) -> str:
    """Letters and digits only, so that the name is a file name everywhere."""
    clean = "".join(c if c.isascii() and c.isalnum() else "_" for c in label.lower())
    return "_".join(part for part in clean.split("_") if part)[:60]
