"""Notes of files whose checksums were compared."""

import os
import shutil
import time

import pytest

from alframe import noted
from alframe.noted import is_noted, look_at, write_note


@pytest.fixture
def later(monkeypatch):
    """Files were touched long ago."""
    monkeypatch.setattr(noted, "MOMENT", -(10**12))


@pytest.mark.usefixtures("later")
def test_a_note_is_of_files_that_nobody_touched(tmp_path):
    path, note = tmp_path / "file", tmp_path / "note.json"
    path.write_bytes(b"content")
    old = path.stat().st_mtime_ns
    assert not is_noted(note, look_at([path]))
    write_note(note, look_at([path]))
    assert is_noted(note, look_at([path]))
    time.sleep(0.02)  # longer than clocks of file systems stand still
    path.write_bytes(b"changed")
    os.utime(path, ns=(old, old))  # of the same size and time
    assert not is_noted(note, look_at([path]))


@pytest.mark.usefixtures("later")
def test_a_copy_with_its_note_is_not_the_file(tmp_path):
    folder, copy = tmp_path / "folder", tmp_path / "copy"
    folder.mkdir()
    (folder / "file").write_bytes(b"content")
    write_note(folder / "note.json", look_at([folder / "file"]))
    shutil.copytree(folder, copy)  # with its times
    assert not is_noted(copy / "note.json", look_at([copy / "file"]))


@pytest.mark.parametrize("age", [0, 10**9, 10**12, -(10**12)])  # or its clock is ahead
def test_what_was_touched_a_moment_ago_is_not_noted(age, tmp_path, monkeypatch):
    path, note = tmp_path / "file", tmp_path / "note.json"
    path.write_bytes(b"content")
    os.utime(path, ns=(0, 0))  # which touches it
    now = path.stat().st_ctime_ns + age
    monkeypatch.setattr(time, "time_ns", lambda: now)
    write_note(note, look_at([path]))
    assert note.exists() == (age == 10**12)


def test_a_broken_note_notes_nothing(tmp_path):
    (tmp_path / "file").write_bytes(b"content")
    for text in ("", "{", "[]", "3"):
        (tmp_path / "note.json").write_text(text)
        assert not is_noted(tmp_path / "note.json", look_at([tmp_path / "file"]))
