"""What the tests of the store share."""

import os

import pytest
from store_parts import contents, fill


@pytest.fixture(scope="module")
def expected(tmp_path_factory):
    """What an undisturbed process leaves."""
    folder = tmp_path_factory.mktemp("undisturbed") / "store"
    fill(folder)
    return contents(folder)


@pytest.fixture(autouse=True)
def _no_power_cut(monkeypatch):
    """Waiting for the disk takes most of the time, and changes nothing that a test can see."""
    monkeypatch.setattr(os, "fsync", lambda _: None)


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "store"
