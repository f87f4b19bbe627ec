"""Runs that differ only in their seed form a group; groups are named by what sets them apart."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import pandas as pd

from alframe.report.points import COLUMNS, points_of
from alframe.report.runs import Run
from alframe.run_dir import is_harmless

HARMLESS = ("name", "data.download", "pipeline.full", "pipeline.fidelity", "pipeline.keep_models")
"""Besides what may change when a run is resumed: what no accuracy depends on."""
HARMLESS_CHOICES = ("paths", "logger", "experiment", "debug", "hydra")
"""What these choose either shows in other keys, or changes nothing that is measured."""
MOST_PARTS = 3
UNSET = "unset"


@dataclass(frozen=True)
class Group:
    """Runs of one config that differ in their seed.

    Attributes:
        label: Unique among the groups of a report.
        pipeline: ``active_learning`` or ``core_set``.
        runs: One for each seed, ascending.
        repeated: Further runs of the same seeds; they are listed but not counted, since a repeated
            seed is no independent draw.
    """

    label: str
    pipeline: str
    runs: tuple[Run, ...]
    repeated: tuple[Run, ...] = ()

    @cached_property
    def points(self) -> pd.DataFrame:
        """The points of all runs (see `points_of`), with the columns ``seed`` and ``device``."""
        tables = [points_of(run).assign(seed=run.seed, device=run.device) for run in self.runs]
        filled = [table for table in tables if len(table)]
        if not filled:
            return pd.DataFrame(columns=[*COLUMNS, "seed", "device"])
        return pd.concat(filled, ignore_index=True)

    @property
    def selected(self) -> pd.DataFrame:
        """The points without those of the full-data target."""
        return self.points[~self.points["full"].astype(bool)]

    @property
    def at(self) -> str:
        """The column of the budget: ``labeled`` or ``train_rows``."""
        return "train_rows" if self.pipeline == "core_set" else "labeled"

    @property
    def seeds(self) -> int:
        """The number of seeds that have points."""
        return int(self.points["seed"].nunique())

    @property
    def devices(self) -> list[str]:
        """The devices on which its points were measured."""
        return sorted(self.points["device"].unique())


FILES = ("data.path", "data.train", "data.labels")
"""Which data they are: a run may go on where they were moved, but a report takes no two for one."""


def make_groups(runs: Sequence[Run]) -> list[Group]:
    """Returns the groups, active learning first, each in the order of their labels."""
    members: dict[tuple[str, ...], list[Run]] = {}
    for run in runs:
        members.setdefault((run.pipeline, *identity(run)), []).append(run)
    groups = []
    for pipeline in sorted({run.pipeline for run in runs}):
        mine = [group for key, group in members.items() if key[0] == pipeline]
        names = make_labels([settings_of(group[0]) for group in mine])
        groups += [
            one_per_seed(name, pipeline, group) for name, group in zip(names, mine, strict=True)
        ]
    shared = Counter(group.label for group in groups)
    groups = [
        replace(g, label=f"{g.label} ({g.pipeline.replace('_', ' ')})")
        if shared[g.label] > 1
        else g
        for g in groups
    ]
    return sorted(groups, key=lambda group: (group.pipeline, group.label))


def by_device(group: Group) -> list[Group]:
    """Returns the group itself, or its parts by device, so that seconds are never mixed."""
    if len(group.devices) < 2:
        return [group]
    return [
        replace(
            group,
            label=f"{group.label} on {device}",
            runs=tuple(run for run in group.runs if run.device == device),
        )
        for device in group.devices
    ]


def make_labels(settings: Sequence[Mapping[str, object]]) -> list[str]:
    """Returns one label for each config: the choices that differ, else ``key=value``.

    A difference below a key whose choice differs is explained by the choice. At most three other
    keys are named; labels that are still equal are numbered.
    """
    differing = _differing(settings)
    choices = [key for key in differing if key.startswith("choices.")]
    choices.sort(key=lambda key: key != "choices.strategy")
    nodes = tuple(_node(key) for key in choices)
    others = [
        key
        for key in differing
        if key not in choices and not any(f"{key}.".startswith(f"{node}.") for node in nodes)
    ]
    labels = []
    for each in settings:
        # "entropy" beside "entropy, proxy resnet8": what is absent is named only where all else is
        named = [_choice(key, each[key]) for key in choices if each.get(key) is not None]
        absent = [f"no {_node(key)}" for key in choices if each.get(key) is None]
        pairs = _pairs(others, each)
        labels.append(", ".join([*named, *pairs] or absent) or _plain(each))
    for label in [label for label, count in Counter(labels).items() if count > 1]:
        same = [i for i, other in enumerate(labels) if other == label]
        inner = _differing([settings[i] for i in same])
        for i in same:
            labels[i] = ", ".join([label, *_all_pairs(inner, settings[i])])
    return _numbered(labels)


def settings_of(run: Run) -> dict[str, object]:
    """Returns the settings that matter, without the run directory, which means nothing."""
    place = str(run.settings.get("run_dir") or run.path)
    return {
        key: value.replace(place, "run_dir") if isinstance(value, str) else value
        for key, value in run.settings.items()
        if not _is_harmless(key)
    }


def _is_harmless(key: str) -> bool:
    first, *rest = key.split(".")
    if first == "choices" and rest:
        return rest[0].split("/")[0] in HARMLESS_CHOICES
    if key in FILES:
        return False
    return is_harmless(key) or key in HARMLESS or key.split(".")[-1] == "seed"


def identity(run: Run) -> list[str]:
    """Returns what runs of one group have in common."""
    return sorted(f"{key}={value!r}" for key, value in settings_of(run).items())


def one_per_seed(label: str, pipeline: str, runs: Sequence[Run]) -> Group:
    """Returns a group of runs that differ in their seed.

    Of those with one seed, a finished one counts before others, and the latest before older.
    """
    best: dict[int, Run] = {}
    for run in sorted(runs, key=lambda r: (r.state == "done", str(r.status.get("started")))):
        best[run.seed] = run
    chosen = tuple(best[seed] for seed in sorted(best))
    return Group(label, pipeline, chosen, tuple(run for run in runs if run not in chosen))


def _differing(settings: Sequence[Mapping[str, object]]) -> list[str]:
    keys = dict.fromkeys(key for each in settings for key in each)
    return [key for key in keys if len({repr(each.get(key, UNSET)) for each in settings}) > 1]


def _node(choice: str) -> str:
    """``choices.learner@proxy`` sets the node ``proxy``."""
    return choice.removeprefix("choices.").split("@")[-1]


def _choice(key: str, value: object) -> str:
    node = _node(key)
    return str(value) if node in ("strategy", "data") else f"{node} {value}"


def _pairs(keys: Sequence[str], settings: Mapping[str, object]) -> list[str]:
    pairs = _all_pairs(keys, settings)
    return pairs[:MOST_PARTS] + ["..."] * (len(pairs) > MOST_PARTS)


def _all_pairs(keys: Sequence[str], settings: Mapping[str, object]) -> list[str]:
    names = [key.removesuffix("._target_").split(".")[-1] for key in keys]
    return [
        f"{name if names.count(name) == 1 else key}={_short(key, settings.get(key, UNSET))}"
        for key, name in zip(keys, names, strict=True)
    ]


def _short(key: str, value: object) -> str:
    text = str(value).split(".")[-1] if key.endswith("_target_") else str(value)
    return text if len(text) <= 24 else f"{text[:12]}...{text[-9:]}"


def _plain(settings: Mapping[str, object]) -> str:
    return str(settings.get("choices.strategy") or settings.get("strategy.name") or "all runs")


def _numbered(labels: Sequence[str]) -> list[str]:
    seen: Counter[str] = Counter()
    result = []
    for label in labels:
        seen[label] += 1
        result.append(label if seen[label] == 1 else f"{label} #{seen[label]}")
    return result
