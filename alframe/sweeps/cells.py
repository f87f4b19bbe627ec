"""The cells of a sweep: one run for each combination of values, named by its overrides."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.core.override_parser.overrides_parser import OverridesParser

from alframe.run_dir import is_harmless

LONGEST_NAME = 120  # characters; file systems end at 255 bytes


@dataclass(frozen=True)
class Cell:
    """One run of a sweep.

    Attributes:
        name: Of its folder in the sweep's.
        overrides: What it is composed of.
    """

    name: str
    overrides: tuple[str, ...]


def cells_of(overrides: Sequence[str]) -> list[Cell]:
    """Returns the cells of a command's overrides: the last swept key varies fastest.

    Raises:
        HydraException: For an override that cannot be parsed.
    """
    parsed = OverridesParser.create().parse_overrides(list(overrides))
    swept = {one.get_key_element() for one in parsed if one.is_sweep_override()}
    split = BasicSweeper.split_arguments(parsed, None)[0]
    cells = [Cell(cell_name(words, swept), tuple(words)) for words in split]
    return list({cell.name: cell for cell in cells}.values())


def cell_name(overrides: Sequence[str], swept: Container[str] = ()) -> str:
    """Names a cell by its overrides, with a hash where that is too long or no name of a folder.

    What may change when a run goes on (such as its logger) is part of the name only if it is swept.
    """
    named = [
        word
        for word in overrides
        for key in [word.partition("=")[0]]
        if key in swept or not is_harmless(key.lstrip("+~"))
    ]
    name = ",".join(sorted(named)) or "default"
    if len(name.encode()) <= LONGEST_NAME and "/" not in name:
        return name
    digest = hashlib.sha256(name.encode()).hexdigest()[:12]
    short = name.encode()[: LONGEST_NAME - 13].decode(errors="ignore").replace("/", "_")
    return f"{short}-{digest}"


def quoted(value: str) -> str:
    """Returns a value as Hydra reads it from an override, whatever is in it."""
    # a backslash counts as one, but before a quote
    escaped = re.sub(r"(\\*)('|$)", lambda m: 2 * m[1] + ("\\'" if m[2] else ""), value)
    return f"'{escaped}'"


def varied(cells: Sequence[Cell]) -> Mapping[str, list[Any]]:
    """Returns the overrides of each cell that not all cells have, by name."""
    common = set.intersection(*(set(cell.overrides) for cell in cells)) if cells else set()
    return {cell.name: [word for word in cell.overrides if word not in common] for cell in cells}
