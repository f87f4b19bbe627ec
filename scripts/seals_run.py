"""One run of alframe in a process of its own, whose memory is watched; see bench_seals.py.

    python scripts/seals_run.py WORDS...

WORDS are those of `alframe`. The last line is JSON: the run directory, seconds, and the most
anonymous resident memory there was at a time (what is mapped from files is not part of it).
"""

from __future__ import annotations

import json
import sys
import threading
import time
from pathlib import Path

POLL = 0.02  # seconds


def anonymous_bytes() -> int:
    """Returns RssAnon of this process."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("RssAnon:"):
            return int(line.split()[1]) * 1024
    raise RuntimeError("expected Linux, whose /proc/self/status has RssAnon")


class Watch:
    """Samples RssAnon in a thread: ``with Watch() as watch``, then ``watch.peak``, in bytes."""

    def __init__(self) -> None:
        self.peak = anonymous_bytes()
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._look, daemon=True)

    def __enter__(self) -> Watch:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def _look(self) -> None:
        while not self._over.wait(POLL):
            self.peak = max(self.peak, anonymous_bytes())


def main() -> None:
    """Runs alframe and prints what it took."""
    from alframe.cli import run

    start = time.perf_counter()
    with Watch() as watch:
        result = run(*sys.argv[1:])
    seconds = round(time.perf_counter() - start, 2)
    print(json.dumps({"path": str(result.path), "seconds": seconds, "peak_bytes": watch.peak}))


if __name__ == "__main__":
    main()
