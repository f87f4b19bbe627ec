"""Also puts this folder on the path, for the helpers that several test folders share."""

import logging

import pytest


@pytest.fixture(autouse=True)
def _same_logging_for_all_tests():
    """A run in this process sets alframe's logging up; the next test must not feel it."""
    logger = logging.getLogger("alframe")
    before = logger.handlers, logger.level, logger.propagate
    yield
    logger.handlers, logger.level, logger.propagate = before


@pytest.fixture
def workdir(tmp_path, monkeypatch):
    """An empty working directory."""
    folder = tmp_path / "work"
    folder.mkdir()
    monkeypatch.chdir(folder)
    return folder
