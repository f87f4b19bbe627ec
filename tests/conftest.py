"""Also puts this folder on the path, for the helpers that several test folders share."""

import logging
import signal

import pytest
import torch

THREADS = torch.get_num_threads()

# A shell starts what runs in its background with Ctrl-C ignored, and so what that starts, too.
signal.signal(signal.SIGINT, signal.default_int_handler)


def forget_logging():
    """Brings alframe's logger to where it is before the first run in this process."""
    logger = logging.getLogger("alframe")
    logger.handlers, logger.propagate = [], True
    logger.setLevel(logging.NOTSET)


@pytest.fixture(autouse=True)
def _same_logging_for_all_tests():
    """A run in this process sets alframe's logging up; the next test must not feel it.

    Nor must a test feel a run of its module's fixtures, which come before this one.
    """
    forget_logging()
    yield
    forget_logging()


@pytest.fixture(autouse=True)
def _same_threads_for_all_tests():
    """Sets torch's number of threads back, which numba changes too, as it decides last bits."""
    torch.set_num_threads(THREADS)


@pytest.fixture
def workdir(tmp_path, monkeypatch):
    """An empty working directory."""
    folder = tmp_path / "work"
    folder.mkdir()
    monkeypatch.chdir(folder)
    return folder
