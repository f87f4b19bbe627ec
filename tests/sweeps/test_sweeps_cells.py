"""How cells are named."""

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser

from alframe.sweeps.cells import Cell, cell_name, cells_of, quoted, varied


def test_cells_are_the_product_of_what_is_swept():
    cells = cells_of(["data=digits", "strategy=a,b", "seed=range(2)"])
    assert [cell.overrides for cell in cells] == [
        ("data=digits", "strategy=a", "seed=0"), ("data=digits", "strategy=a", "seed=1"),
        ("data=digits", "strategy=b", "seed=0"), ("data=digits", "strategy=b", "seed=1"),
    ]  # fmt: skip
    assert cells[1].name == "data=digits,seed=1,strategy=a"


def test_the_order_of_overrides_makes_no_other_cell():
    here, there = cells_of(["seed=0,1", "strategy=a"]), cells_of(["strategy=a", "seed=1,0"])
    assert {cell.name for cell in here} == {cell.name for cell in there}


def test_what_may_change_is_not_named_unless_it_is_swept():
    words = ["logger=[]", "seed=0,1", "paths.data_dir=/else", "+share.dir=x", "data.workers=2"]
    assert [cell.name for cell in cells_of(words)] == ["seed=0", "seed=1"]
    swept = cells_of(["seed=0", "data.workers=0,2"])
    assert [cell.name for cell in swept] == ["data.workers=0,seed=0", "data.workers=2,seed=0"]


def test_a_long_name_ends_with_a_hash_of_all_of_it():
    words = [f"key_{i}=some_long_value" for i in range(20)]
    first, second = cell_name([*words, "last=1"]), cell_name([*words, "last=2"])
    assert first != second
    assert max(len(first.encode()), len(second.encode())) <= 120
    assert cell_name(["data.folder=/some/where"]).startswith("data.folder=_some_where-")
    assert len(cells_of(["data.folder=x/y,x_y"])) == 2
    assert cell_name([]) == "default"


@pytest.mark.parametrize(
    "value", ["a=1,b=2", "it's", "back\\slash", "a\\'b", "end\\", "\\\\'", "x" * 200, "é"]
)
def test_hydra_reads_a_quoted_name_as_it_is(value):
    (parsed,) = OverridesParser.create().parse_overrides([f"sweep.cell={quoted(value)}"])
    assert parsed.value() == value


def test_the_table_shows_what_differs():
    cells = [Cell("a", ("data=digits", "seed=0")), Cell("b", ("data=digits", "seed=1"))]
    assert varied(cells) == {"a": ["seed=0"], "b": ["seed=1"]}
