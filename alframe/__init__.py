"""alframe: which rows to label next, which rows to train on, and what it costs."""

from importlib.metadata import PackageNotFoundError, version

try:
    __version__ = version("alframe")
except PackageNotFoundError:  # a checkout that is on the path but not installed
    __version__ = "0+unknown"

__all__ = ["__version__"]
