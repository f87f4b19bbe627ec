"""The benchmark of a run's start runs; its times are not looked at."""

from __future__ import annotations

import pytest
from script_parts import small_tables


@pytest.mark.slow
def test_the_small_benchmark_of_a_start_runs_and_keeps_nothing():
    rows = small_tables("bench_start")
    assert [row[0] for row in rows[1:3]] == ["as it is", "looked for"]
    for seconds, garbage in ([float(cell) for cell in row[1:]] for row in rows[1:3]):
        assert 0 <= garbage < seconds
    assert len(rows) == 3 + 1 + 4
