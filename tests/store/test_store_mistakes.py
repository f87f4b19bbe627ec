"""What is wrong is refused by name, and nothing is lost.

The plain twin of every store here is one array in memory.
"""

from __future__ import annotations

import os
from collections import namedtuple

import numpy as np
import pytest
from store_parts import (
    POINTS,
    ROWS,
    WIDTH,
    Crash,
    contents,
    crashing_at,
    fill,
    plan,
)

from alframe.errors import UserError
from alframe.store import Store
from alframe.store import plan as store_plan
from alframe.store.writer import StoreWriter


@pytest.mark.parametrize("change", [-1, -600, 1], ids=["a byte", "rows", "longer"])
def test_a_shard_of_another_size_is_refused_by_name(folder, expected, change):
    fill(folder)
    path = folder / "shard_00002.npy"
    os.truncate(path, path.stat().st_size + change)
    word = "truncated" if change < 0 else "altered"
    says = rf"shard_00002\.npy is {word}: expected 3728 bytes, got {3728 + change}; remove shard"
    for refuse in (lambda: Store.open(folder), lambda: fill(folder)):
        with pytest.raises(UserError, match=says):
            refuse()
    path.unlink()
    with pytest.raises(UserError, match=r"shard_00002\.npy cannot be read"):
        Store.open(folder)
    assert fill(folder).rows == 300
    assert contents(folder) == expected


def test_an_altered_value_is_found_by_verify(folder):
    fill(folder)
    path = folder / "shard_00003.npy"
    content = bytearray(path.read_bytes())
    content[-5] ^= 1
    path.write_bytes(content)
    store, writer = Store.open(folder), StoreWriter(folder, plan())
    for each in (store, writer):
        with pytest.raises(UserError, match=r"shard_00003\.npy is altered: expected sha256"):
            each.verify()
    content[-5] ^= 1
    path.write_bytes(content)
    store.verify()
    writer.verify()


def test_an_altered_header_is_refused(folder):
    fill(folder)
    path = folder / "shard_00000.npy"
    path.write_bytes(path.read_bytes().replace(b"(300, 6)", b"(600, 3)"))
    with pytest.raises(UserError, match=r"shard_00000\.npy is altered.*float16 \[300, 6\]"):
        Store.open(folder)


BROKEN = {
    "no JSON": lambda text: text[:40],
    "a list": lambda text: f"[{text}]",
    "no key": lambda text: text.replace('"key"', '"kay"'),
    "a type": lambda text: text.replace("float16", "float8"),
    "an unknown shard": lambda text: text.replace('"3": {', '"../3": {'),
    "shards of other rows": lambda text: text.replace(
        '"shards": {', '"shards": {"4": {"sha256": ""},'
    ).replace("complete", "filling"),
    "a shard too many": lambda text: text.replace('"3": {', '"4": {'),
    "a shard without a checksum": lambda text: text.replace('"sha256"', '"sha265"', 1),
    "fewer rows": lambda text: text.replace('"rows": 1000', '"rows": 0'),
    "a later format": lambda text: text.replace('"format": 1', '"format": 2'),
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_damaged_manifest_is_refused(folder, name):
    fill(folder)
    path = folder / "store.json"
    text = path.read_text()
    assert BROKEN[name](text) != text
    path.write_text(BROKEN[name](text))
    for refuse in (lambda: Store.open(folder), lambda: fill(folder)):
        with pytest.raises(UserError, match=r"store\.json is damaged"):
            refuse()


def test_no_store(tmp_path):
    with pytest.raises(UserError, match=r"index\.store=.* holds no store"):
        Store.open(tmp_path, "index.store")


def test_room_is_checked_before_anything_is_written(folder, monkeypatch, expected):
    disk = namedtuple("disk", "free")

    def leave(free):
        monkeypatch.setattr(store_plan.shutil, "disk_usage", lambda _: disk(free))

    leave(12_511)
    says = r"out=.* needs 12512 bytes more.*got 12511 bytes free.*store\.dtype"
    with pytest.raises(UserError, match=says):
        fill(folder)
    assert not folder.exists()
    leave(12_512)
    fill(folder)
    assert sum(map(len, expected[0].values())) == 12_512
    path = folder.with_name("half")
    with pytest.raises(Crash):
        fill(path, crashing_at(440), checkpoint=0)
    written = sum(file.stat().st_size for file in path.glob("shard_*.npy*"))
    leave(12_512 - written - 1)
    with pytest.raises(UserError, match=rf"needs {12_512 - written} bytes more"):
        fill(path)
    leave(12_512 - written)
    fill(path)
    leave(0)
    assert fill(folder).found == 4  # what is there needs no room


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"dtype": "float64"}, r"store\.dtype=float64: expected float16 or float32"),
        ({"per_shard": 0}, r"store\.rows_per_shard=0"),
        ({"invalid": "ignore"}, r"store\.invalid=ignore: expected refuse or drop"),
    ],
)
def test_wrong_options(folder, options, says):
    with pytest.raises(UserError, match=says):
        fill(folder, **options)


def broken(start, stop):
    values = POINTS.copy()
    values[[3, 310, 999], [0, 5, 2]] = [np.nan, np.inf, -np.inf]
    values[[7, 301]] = 0
    values[500, 1] = 70_000  # float16 ends at 65504
    return values[start:stop]


BAD = [3, 7, 301, 310, 500, 999]


def test_they_are_counted_and_refused_when_all_is_written(folder):
    with pytest.raises(UserError) as refused:
        fill(folder, broken)
    for part in (
        "3 hold NaN or infinity (rows 3, 310, 999)",
        "2 are zero throughout (rows 7, 301)",
        "1 are too large for float16 (rows 500)",
        "store.dtype=float32",
        "store.invalid=drop",
    ):
        assert part in str(refused.value)
    with pytest.raises(UserError, match=r"embeddings=.*store\.invalid=drop"):
        Store.open(folder, "embeddings")
    with pytest.raises(UserError, match="3 hold NaN"):
        fill(folder)


def test_they_are_dropped_on_request_without_embedding_again(folder):
    with pytest.raises(UserError):
        fill(folder, broken)
    assert fill(folder, invalid="drop").rows == 0
    store = Store.open(folder)
    assert store.invalid.tolist() == BAD
    others = np.setdiff1d(np.arange(ROWS), BAD)
    assert np.isnan(store.take(np.array(BAD))).all()
    stored = POINTS.astype(np.float16).astype(np.float32)
    np.testing.assert_array_equal(store.take(others), stored[others])
    assert fill(folder).found == 4  # it is finished, whatever is asked for now


def test_float32_holds_what_float16_does_not(folder):
    fill(folder, broken, invalid="drop", dtype="float32")
    assert Store.open(folder).invalid.tolist() == [row for row in BAD if row != 500]


def test_rows_that_vanish_in_float16_are_told_from_zeros(folder):
    values = POINTS.copy()
    values[[3, 400]] = 1e-9
    values[[7]] = 0
    says = (
        r"1 are zero throughout \(rows 7\), 2 are too small for float16 \(rows 3, 400\)|"
        r"2 are too small for float16 \(rows 3, 400\), 1 are zero throughout \(rows 7\)"
    )
    with pytest.raises(UserError, match=says) as refused:
        fill(folder, lambda start, stop: values[start:stop])
    assert "use store.dtype=float32 and another out" in str(refused.value)
    with pytest.raises(UserError) as refused:
        fill(folder.with_name("wide"), lambda start, stop: values[start:stop], dtype="float32")
    assert "expected 1000 embeddings that can be searched, but 1 are zero" in str(refused.value)
    assert "store.dtype" not in str(refused.value)


def test_a_store_of_which_no_row_can_be_searched_is_refused_all_the_same(folder):
    with pytest.raises(UserError, match="1000 are zero throughout"):
        fill(
            folder, lambda start, stop: np.zeros((stop - start, WIDTH), np.float32), invalid="drop"
        )


def test_invalid_rows_survive_a_kill(tmp_path):
    fill(tmp_path / "undisturbed", broken, invalid="drop")
    for row in (140, 440):
        folder = tmp_path / f"{row}"
        with pytest.raises(Crash):
            fill(folder, crashing_at(row, broken), invalid="drop", checkpoint=0)
        fill(folder, broken, invalid="drop")
        assert contents(folder) == contents(tmp_path / "undisturbed")
