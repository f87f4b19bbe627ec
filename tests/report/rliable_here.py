"""Imports rliable, whose numbers ours are compared with."""

from __future__ import annotations

import importlib.util
import sys
import types

found = importlib.util.find_spec("arch")
assert found is not None, "rliable brings arch: install the dev dependencies"
if "arch" not in sys.modules:
    # rliable wants arch < 8, which does not import as a whole beside pandas 3; its bootstrap does,
    # and rliable uses nothing else: so arch's own __init__ is not run
    arch = types.ModuleType("arch")
    arch.__path__ = list(found.submodule_search_locations or ())
    sys.modules["arch"] = arch

from rliable import library, metrics  # noqa: E402

__all__ = ["library", "metrics"]
