"""Files that are there wholly or not at all, and say so when they are damaged."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from alframe.files import CorruptFileError, decode_state, encode_state, write_atomic, write_json

KEYS = st.from_regex(r"[a-z_]{2,8}(/[a-z.0-9]{1,6})?", fullmatch=True).filter(
    lambda key: key not in {"file", "allow_pickle"}
)
ARRAYS = hnp.arrays(
    st.one_of(
        hnp.integer_dtypes(),
        hnp.unsigned_integer_dtypes(),
        hnp.floating_dtypes(sizes=(16, 32, 64)),
        hnp.boolean_dtypes(),
        hnp.unicode_string_dtypes(max_len=5),
    ),
    hnp.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=4),
)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=6,
)


def packed(folder, state):
    path = folder / "state.npz"
    path.write_bytes(encode_state(state))
    return path


@settings(deadline=None, max_examples=40)
@given(st.dictionaries(KEYS, ARRAYS | JSON, max_size=5))
def test_a_state_comes_back_as_it_was(tmp_path_factory, state):
    again = decode_state(packed(tmp_path_factory.mktemp("state"), state))
    assert again.keys() == state.keys()
    for key, value in state.items():
        if isinstance(value, np.ndarray):
            assert again[key].dtype == value.dtype
            np.testing.assert_array_equal(again[key], value)
        else:
            assert again[key] == value
            assert type(again[key]) is type(value)


def test_seconds_and_scores_come_back_to_the_last_bit(tmp_path):
    values = np.random.default_rng(0).random(100)
    state = {"seconds": float(values[0]), "scores": np.append(values, [np.inf, -0.0, np.nan])}
    again = decode_state(packed(tmp_path, state))
    assert again["seconds"] == state["seconds"]
    assert again["scores"].tobytes() == state["scores"].tobytes()


def test_views_and_foreign_orders_of_bytes_are_kept(tmp_path):
    array = np.arange(24).reshape(4, 6)
    state = {"turned": array.T[::2], "big_endian": array.astype(">i4"), "none": array[:0]}
    again = decode_state(packed(tmp_path, state))
    for key, value in state.items():
        np.testing.assert_array_equal(again[key], value)


@pytest.mark.parametrize(
    "value",
    [np.array([{"a": 1}], dtype=object), np.array(["a", None], dtype=object), {1, 2}, Path("x")],
    ids=["objects", "mixed", "set", "path"],
)
def test_what_would_need_a_pickle_is_refused(value):
    with pytest.raises(TypeError):
        encode_state({"rows": np.arange(3), "bad": value})


def test_a_pickle_within_a_file_is_not_loaded(tmp_path):
    path = tmp_path / "state.npz"
    np.savez(path, bad=np.array([print], dtype=object))
    with pytest.raises(CorruptFileError):
        decode_state(path)


STATE = {"rows": np.arange(5), "scores": np.linspace(1, 0, 5), "seconds": 0.5, "name": "entropy"}


def same(state):
    arrays = all(np.array_equal(state.get(key), STATE[key]) for key in ("rows", "scores"))
    return (
        arrays
        and state.keys() == STATE.keys()
        and (state["seconds"], state["name"])
        == (
            0.5,
            "entropy",
        )
    )


def test_wherever_a_file_ends_early_it_is_said_to_be_corrupt(tmp_path):
    raw = encode_state(STATE)
    path = tmp_path / "state.npz"
    for length in range(len(raw)):
        path.write_bytes(raw[:length])
        with pytest.raises(CorruptFileError, match=r"state\.npz cannot be read back"):
            decode_state(path)


@pytest.mark.parametrize("bit", [0, 6])
def test_wherever_a_bit_flips_the_state_is_right_or_said_to_be_corrupt(tmp_path, bit):
    """Most flips break a checksum; the rest are in what a reader of zip files does not look at."""
    raw = bytearray(encode_state(STATE))
    path = tmp_path / "state.npz"
    found, wrong, escaped = 0, [], []
    for place in range(len(raw)):
        raw[place] ^= 1 << bit
        path.write_bytes(raw)
        raw[place] ^= 1 << bit
        try:
            if not same(decode_state(path)):
                wrong.append(place)
        except CorruptFileError:
            found += 1
        except Exception as error:
            escaped.append(f"{place}: {type(error).__name__}: {error}")
    assert (wrong, escaped) == ([], [])
    assert found > len(raw) / 3


@pytest.mark.parametrize("content", [b"", b"PK", b"{}", bytes(1000), b"\x80\x04N."])
def test_files_of_another_kind_are_said_to_be_corrupt(tmp_path, content):
    path = tmp_path / "state.npz"
    path.write_bytes(content)
    with pytest.raises(CorruptFileError):
        decode_state(path)


# --- atomic writing ---


def leave_no_trace(folder, names):
    assert sorted(path.name for path in folder.iterdir()) == sorted(names)


def test_folders_are_made_and_old_content_is_replaced(tmp_path):
    path = tmp_path / "a" / "b=c, d é" / "file.txt"
    write_atomic(path, b"old")
    write_atomic(path, b"new")
    assert path.read_bytes() == b"new"
    leave_no_trace(path.parent, ["file.txt"])


@pytest.mark.parametrize("stage", ["fsync", "replace"])
@pytest.mark.parametrize("existing", [True, False])
def test_a_write_that_fails_leaves_what_was_there(tmp_path, monkeypatch, stage, existing):
    """As on a full disk: the old content or none, and no half-written file beside it."""
    path = tmp_path / "file.txt"
    if existing:
        path.write_bytes(b"old")

    def fail(*_):
        raise OSError(28, "No space left on device")

    if stage == "fsync":
        monkeypatch.setattr(os, "fsync", fail)
    else:
        monkeypatch.setattr(Path, "replace", fail)
    with pytest.raises(OSError, match="No space left"):
        write_atomic(path, b"new" * 1000)
    assert not existing or path.read_bytes() == b"old"
    leave_no_trace(tmp_path, ["file.txt"] if existing else [])


def test_until_it_is_synced_nothing_is_to_be_seen_under_the_name(tmp_path, monkeypatch):
    path = tmp_path / "file.txt"
    path.write_bytes(b"old")
    seen = []
    sync = os.fsync

    def look(descriptor):
        seen.append(path.read_bytes())
        sync(descriptor)

    monkeypatch.setattr(os, "fsync", look)
    write_atomic(path, b"new")
    assert seen == [b"old", b"new"], "the file is synced before the move, its folder after"


def test_json_is_for_people_to_read(tmp_path):
    path = tmp_path / "status.json"
    write_json(path, {"state": "done", "timings": {"a": 1.5}})
    assert json.loads(path.read_text()) == {"state": "done", "timings": {"a": 1.5}}
    assert path.read_text().count("\n") > 3
