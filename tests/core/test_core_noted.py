"""Notes of files whose checksums were compared."""

import os
import shutil
import time

from alframe.noted import is_noted, look_at, write_note


def test_a_note_is_of_files_that_nobody_touched(tmp_path):
    path, note = tmp_path / "file", tmp_path / "note.json"
    path.write_bytes(b"content")
    old = time.time_ns() - 10**10
    os.utime(path, ns=(old, old))
    assert not is_noted(note, look_at([path]))
    write_note(note, look_at([path]))
    assert is_noted(note, look_at([path]))
    path.write_bytes(b"changed")
    os.utime(path, ns=(old, old))  # of the same size and time
    assert not is_noted(note, look_at([path]))


def test_a_copy_with_its_note_is_not_the_file(tmp_path):
    folder, copy = tmp_path / "folder", tmp_path / "copy"
    folder.mkdir()
    (folder / "file").write_bytes(b"content")
    old = time.time_ns() - 10**10
    os.utime(folder / "file", ns=(old, old))
    write_note(folder / "note.json", look_at([folder / "file"]))
    shutil.copytree(folder, copy)  # with its times
    assert not is_noted(copy / "note.json", look_at([copy / "file"]))


def test_what_was_written_a_moment_ago_is_not_noted(tmp_path):
    path, note = tmp_path / "file", tmp_path / "note.json"
    path.write_bytes(b"content")
    write_note(note, look_at([path]))
    assert not note.exists()
    now = time.time_ns() + 10**10  # of a machine whose clock is ahead
    os.utime(path, ns=(now, now))
    write_note(note, look_at([path]))
    assert not note.exists()


def test_a_broken_note_notes_nothing(tmp_path):
    (tmp_path / "file").write_bytes(b"content")
    for text in ("", "{", "[]", "3"):
        (tmp_path / "note.json").write_text(text)
        assert not is_noted(tmp_path / "note.json", look_at([tmp_path / "file"]))
