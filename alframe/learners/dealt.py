"""Looking at rows in several processes: each looks at its part, and the first gets all.

A part is a number of whole batches, so that each row is in the batch that it is in for one process:
then what is seen does not depend on how many they are, to the last bit.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

from alframe.observations import Table, passed_over, within
from alframe.protocols import Need, Rows
from alframe.world import World, here


def part_of(rows: int, batch: int, world: World) -> slice:
    """Returns the places, among so many rows, that a process looks at in batches."""
    batches = -(-rows // batch)
    # Rounded up, so that the first process has a batch wherever there is one.
    first, last = (-(-batches * rank // world.size) for rank in (world.rank, world.rank + 1))
    return slice(min(first * batch, rows), min(last * batch, rows))


def observed_together(
    requests: Mapping[Need, Rows],
    batch: int,
    look: Callable[[Mapping[Need, Rows]], dict[Need, Table]],
) -> dict[Need, Table]:
    """Returns what ``look`` gives for the requests; in all processes but the first, nothing.

    Args:
        requests: The rows for each need, ascending and distinct.
        batch: Rows that are looked at at a time.
        look: Looks at rows in batches, for needs that are not of dynamics.
    """
    world = here()
    if world.size == 1:
        return look(requests)
    rows = passed_over(requests)
    own = rows[part_of(len(rows), batch, world)]
    mine = {need: within(asked, own) for need, asked in requests.items() if need.what != "dynamics"}
    seen = look(mine) if len(own) or world.first else {}
    every, whole = list(mine), dict[Need, Table]()
    for numbers in world.share(_same_tables(every, seen)):
        table = _joined(world, seen.get(every[numbers[0]]))
        if table is not None:
            whole |= {every[number]: table for number in numbers}
    return whole


def _same_tables(needs: list[Need], seen: Mapping[Need, Table]) -> list[list[int]]:
    """Returns the numbers of the needs, those together that one table serves."""
    groups: dict[int, list[int]] = {}
    for number, need in enumerate(needs):
        if need in seen:
            groups.setdefault(id(seen[need]), []).append(number)
    return list(groups.values())


def _joined(world: World, table: Table | None) -> Table | None:
    """Puts the tables of all processes together, whose rows follow each other."""
    like = world.share(None if table is None else (table.values[:0].cpu(), table.what))
    assert like is not None  # the first process looks at the first batch
    values = like[0] if table is None else table.values
    rows = world.gather(like[0].new_empty(0).numpy() if table is None else table.rows)
    joined = world.joined(values)
    if joined is None:
        return None
    whole = np.concatenate([some for some in rows if len(some)] or [rows[0]])
    return Table(whole, joined, like[1])
