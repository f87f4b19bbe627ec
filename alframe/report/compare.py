"""All that compares strategies, ready for the report: tables, figures, sections and notes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import pandas as pd

from alframe.report import texts
from alframe.report.comparison import budgets, matrix, pairs, penalties, strategies
from alframe.report.comparison_figures import penalty_picture, profile_picture
from alframe.report.groups import Group
from alframe.report.html import Section
from alframe.report.options import Options
from alframe.report.paired import FEW, LEAST
from alframe.report.profiles import as_table, profiles
from alframe.report.settings import Setting, make_settings
from alframe.report.style import Picture
from alframe.report.words import DASH, TextTable, between, number, percent, text_table

MOST_NAMED = 6


@dataclass(frozen=True)
class Comparison:
    """What the report shows of strategies against each other; all empty with a single strategy."""

    frames: dict[str, pd.DataFrame]
    pictures: list[Picture]
    sections: list[Section]
    notes: list[str]


def compare(groups: Sequence[Group], options: Options) -> Comparison:
    """Compares the strategies of each pipeline within the settings that they share.

    Args:
        groups: Groups with results.
        options: How intervals and areas are made.
    """
    settings = make_settings(groups)
    if not settings:
        return Comparison({}, [], [], [])
    log = options.log_budget
    beaten, tests = penalties(settings), pairs(settings, log=log)
    found = profiles(settings, log=log)
    pictures = [penalty_picture(beaten, pipeline) for pipeline in beaten["pipeline"].unique()]
    pictures += [profile_picture(profile) for profile in found]
    frames = {"penalty": beaten, "pairs": tests, "profile": as_table(found)}
    sections = []
    for pipeline in beaten["pipeline"].unique():
        where = "" if beaten["pipeline"].nunique() == 1 else f", {pipeline.replace('_', ' ')}"
        mine = [setting for setting in settings if setting.pipeline == pipeline]
        square = matrix_text(matrix(beaten, pipeline), beaten[beaten["pipeline"] == pipeline])
        text = f"{texts.PENALTY} {_where(mine)}"
        sections.append(Section(f"Pairwise penalties{where}", text, table=square))
    table = pairs_text(tests)
    sections.append(
        Section("Pairs of strategies", texts.PAIRS, table=table, folded=len(table.rows) > 12)
    )
    return Comparison(frames, pictures, sections, _notes(settings, tests, log))


def matrix_text(square: pd.DataFrame, table: pd.DataFrame) -> TextTable:
    """Returns the penalty matrix as text, with the averages of its columns below.

    Args:
        square: As of `matrix`.
        table: The rows of `penalties` that it was made of.
    """
    names = list(square.columns)
    averages = table.drop_duplicates("loser").set_index("loser")["loser_average"]
    cells = {"Row beats column": [*names, "column average"]}
    for name in names:
        column = [DASH if row == name else number(float(square[name][row])) for row in names]
        cells[name] = [*column, number(averages[name])]
    return text_table(cells, words=("Row beats column",))


def pairs_text(table: pd.DataFrame) -> TextTable:
    """Returns `pairs` as text."""
    gaps = zip(table["low"], table["high"], strict=True)
    cells = {
        "Pipeline": [name.replace("_", " ") for name in table["pipeline"]],
        "First": list(table["first"]),
        "Second": list(table["second"]),
        "First less second": [percent(v) for v in table["difference"]],
        "95 % interval (t)": [between(low, high, percent) for low, high in gaps],
        "p": [p_value(v) for v in table["p"]],
        "p, Holm": [p_value(v) for v in table["p_holm"]],
        "Settings": [str(v) for v in table["settings"]],
        "Seeds": [str(v) for v in table["seeds"]],
    }
    if table["pipeline"].nunique() == 1:
        del cells["Pipeline"]
    return text_table(cells, words=("Pipeline", "First", "Second"))


def p_value(value: float) -> str:
    """Returns a p-value with three decimals."""
    return "< 0.001" if value < 0.0005 else number(value)


def _where(settings: Sequence[Setting]) -> str:
    """Says at which budgets of which settings, as far as they can be told in a line."""
    shown = [
        f"{setting.label} ({', '.join(f'{at:,}' for at in budgets(setting))})"
        for setting in settings[:MOST_NAMED]
    ]
    more = len(settings) - len(shown)
    return f"Settings and budgets: {_some(shown, more)}."


def _some(names: Sequence[str], more: int = 0) -> str:
    shown, more = list(names[:MOST_NAMED]), more + max(len(names) - MOST_NAMED, 0)
    return "; ".join(shown) + (f"; and {more} more" if more else "")


def _notes(settings: Sequence[Setting], tests: pd.DataFrame, log: bool) -> list[str]:
    notes = []
    for setting in settings:
        seeds = {name: set(group.points["seed"]) for name, group in setting.groups.items()}
        everyone = set.intersection(*seeds.values())
        alone = {name: sorted(mine - everyone) for name, mine in seeds.items() if mine - everyone}
        where = f"{setting.label} ({setting.pipeline.replace('_', ' ')})"
        if alone:
            said = [f"{n}: seed {', '.join(map(str, mine))}" for n, mine in alone.items()]
            notes.append(
                f"Unpaired seeds in {where}: strategies are compared on the seeds that both have. "
                f"Not all strategies have {_some(said)}."
            )
        other = sorted(set(setting.groups) - set(setting.areas(log=log).columns))
        if other:
            notes.append(
                f"Not in the pairs and profiles of {where}, for they cover another range of "
                f"budgets than most: {_some(other)}."
            )
    fewest = int(tests["seeds"].min())
    if fewest < LEAST:
        untested = int(tests["p"].isna().sum())
        notes.append(
            f"Few seeds: {untested} of {len(tests)} pairs of the {len(strategies(settings))} "
            f"strategies have no p-value: fewer than {LEAST} seeds in common, or no difference."
        )
    elif fewest < FEW:
        notes.append(
            f"Few seeds: pairs of strategies have only {fewest} seeds in common, fewer than {FEW}; "
            "only differences that are large beside their spread are found."
        )
    return notes
