"""Groups that differ only in their strategy share a setting: there strategies are compared."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import pandas as pd

from alframe.report.groups import Group, make_labels, settings_of
from alframe.report.ranking import areas_of, comparable

STRATEGY = "strategy"


@dataclass(frozen=True)
class Setting:
    """What stays the same while the strategy changes: data, models, schedule, candidates.

    Attributes:
        label: Unique among the settings of one pipeline.
        pipeline: ``active_learning`` or ``core_set``.
        groups: By the strategy's label, which means the same strategy in every setting.
    """

    label: str
    pipeline: str
    groups: Mapping[str, Group]

    @cached_property
    def accuracies(self) -> dict[str, pd.DataFrame]:
        """Test accuracies [seed, budget] of each strategy, without those of the full run."""
        return {
            name: group.selected.pivot_table("accuracy", "seed", group.at)
            for name, group in self.groups.items()
        }

    def areas(self, *, log: bool = False) -> pd.DataFrame:
        """Returns the areas under the budget curves [seed, strategy]; NaN where a seed has none.

        Strategies that cover another range of budgets than most have no column.
        """
        if log not in self._areas:
            self._areas[log] = self._measure(log)
        return self._areas[log]

    @cached_property
    def _areas(self) -> dict[bool, pd.DataFrame]:
        return {}

    def _measure(self, log: bool) -> pd.DataFrame:
        kept = comparable(list(self.groups.values()), log=log)
        columns = {
            name: pd.Series(areas_of(group, log=log), dtype=float)
            for name, group in self.groups.items()
            if group in kept
        }
        return pd.DataFrame(columns)


def make_settings(groups: Sequence[Group]) -> list[Setting]:
    """Returns the settings in which at least two strategies have results, by pipeline and label."""
    found = []
    for pipeline in sorted({group.pipeline for group in groups}):
        mine = [g for g in groups if g.pipeline == pipeline and len(g.selected)]
        strategies = _labels([_part(group, strategy=True) for group in mine])
        places = _labels([_part(group, strategy=False) for group in mine])
        for place in sorted(set(places)):
            members = {
                name: group
                for name, where, group in zip(strategies, places, mine, strict=True)
                if where == place
            }
            if len(members) > 1:
                found.append(Setting(place, pipeline, dict(sorted(members.items()))))
    return found


def _part(group: Group, *, strategy: bool) -> dict[str, object]:
    """The settings that belong to the strategy, or all others."""
    settings = settings_of(group.runs[0])
    return {key: value for key, value in settings.items() if _is_strategy(key) == strategy}


def _is_strategy(key: str) -> bool:
    node = key.removeprefix("choices.")
    return node.split(".")[0].split("@")[0].split("/")[0] == STRATEGY


def _labels(parts: Sequence[Mapping[str, object]]) -> list[str]:
    """One label for each different part, the same one for equal parts."""
    keys = [repr(sorted(part.items())) for part in parts]
    different = dict(zip(keys, parts, strict=True))
    names = make_labels(list(different.values()))
    if len(different) == 1:  # nothing sets it apart: its strategy, else its data name it
        (part,) = different.values()
        names = [str(part.get("choices.strategy") or part.get("choices.data") or names[0])]
    by_key = dict(zip(different, names, strict=True))
    return [by_key[key] for key in keys]
