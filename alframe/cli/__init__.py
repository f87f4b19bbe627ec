"""The command line, and the same from Python: compose a config, build its parts, run them."""

from alframe.cli.main import main, run

__all__ = ["main", "run"]
