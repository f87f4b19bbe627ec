"""alframe: which rows to label next, which rows to train on, and what it costs."""

import os
from importlib.metadata import PackageNotFoundError, version

# After a product, a thread of OpenBLAS waits for the next one with a busy processor, for 2^28 ticks
# if nothing is set, which slows down whatever comes next: numpy and scipy bring one OpenBLAS each,
# and every threaded product of one meets the waiting thread of the other. With 2^18, fits of the
# linear probe to thousands of rows take a seventh to 2/5 of the time, and those to hundreds, which
# take some 10 ms, 3 ms more (scripts/bench_start.py, two threads of an AMD EPYC 9004). Read when
# numpy is imported; what the user has set stays.
os.environ.setdefault("OPENBLAS_THREAD_TIMEOUT", "18")

try:
    __version__ = version("alframe")
except PackageNotFoundError:  # a checkout that is on the path but not installed
    __version__ = "0+unknown"

__all__ = ["__version__"]
