"""Files that are read through."""

import pytest

from alframe import caching
from alframe.caching import cache


@pytest.mark.parametrize("size", [1, 4096, 10_000])
def test_a_file_is_read_to_its_end_and_stays_as_it_is(size, tmp_path, monkeypatch):
    path, content = tmp_path / "file", bytes(size)
    path.write_bytes(content)
    monkeypatch.setattr(caching, "AT_ONCE", 4096)
    cache(path)
    assert path.read_bytes() == content


def test_of_a_large_file_it_is_said(tmp_path, monkeypatch, caplog):
    (tmp_path / "file").write_bytes(bytes(9))
    monkeypatch.setattr(caching, "LARGE", 8)
    with caplog.at_level("INFO"):
        cache(tmp_path / "file")
    assert "reading through" in caplog.text
