"""alframe: which rows to label next, which rows to train on, and what it costs."""

import os
from importlib.metadata import PackageNotFoundError, version

# OpenBLAS's threads wait for their next product with a busy processor, 2^26 ticks by default, which
# is taken from whatever comes next: numpy's and scipy's own ones then wait for each other. Fits of
# the linear probe take a third to an eighth of the time with 2^18, and large products no longer
# (two threads of an AMD EPYC 9004). Read when numpy is imported; what the user has set stays.
os.environ.setdefault("OPENBLAS_THREAD_TIMEOUT", "18")

try:
    __version__ = version("alframe")
except PackageNotFoundError:  # a checkout that is on the path but not installed
    __version__ = "0+unknown"

__all__ = ["__version__"]
