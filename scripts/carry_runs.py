"""Carries a folder of runs to another machine, in a few small files.

    python scripts/carry_runs.py pack FOLDER OUT [--megabytes 60]
    python scripts/carry_runs.py unpack OUT FOLDER

What is packed, until it would be more than the given size: the records of all runs; stages,
checkpoints and models of what is not finished; shared fits on all rows, which other runs will ask
for; all other shared fits; of each the smallest first. Models of finished runs stay behind, since
nothing asks for them again. What did not fit is named; it would be made again. OUT gets parts of at
most 15 MB.
"""

import argparse
import json
import lzma
import tarfile
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path

PART = 15_000_000  # bytes
RECORDS = (".csv", ".json", ".yaml", ".parquet", ".md")


def main() -> None:
    """Reads the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("do", choices=("pack", "unpack"))
    parser.add_argument("source", type=Path)
    parser.add_argument("target", type=Path)
    parser.add_argument("--megabytes", type=float, default=60)
    arguments = parser.parse_args()
    if arguments.do == "pack":
        pack(arguments.source, arguments.target, int(1e6 * arguments.megabytes))
    else:
        unpack(arguments.source, arguments.target)


def pack(folder: Path, out: Path, limit: int) -> None:
    """Writes the parts to ``out`` and prints what did not fit into ``limit`` bytes."""
    out.mkdir(parents=True, exist_ok=True)
    whole, size = BytesIO(), 0
    with tarfile.open(fileobj=whole, mode="w") as tar:
        for path in wanted(folder):
            packed = lzma.compress(path.read_bytes(), preset=1)
            if size + len(packed) > limit:
                print(f"left behind: {path.relative_to(folder)} ({len(packed) / 1e6:.1f} MB)")
                continue
            size += len(packed)
            entry = tarfile.TarInfo(path.relative_to(folder).as_posix())
            entry.size = len(packed)
            tar.addfile(entry, BytesIO(packed))
    content = whole.getvalue()
    for number, start in enumerate(range(0, len(content), PART)):
        (out / f"runs_{number:02d}.part").write_bytes(content[start : start + PART])
    print(f"packed {len(content) / 1e6:.1f} MB from {folder} into {out}")


def unpack(parts: Path, folder: Path) -> None:
    """Puts the files back to where they were below ``folder``."""
    content = b"".join(path.read_bytes() for path in sorted(parts.glob("runs_*.part")))
    with tarfile.open(fileobj=BytesIO(content)) as tar:
        for entry in tar:
            path = folder / entry.name
            file = tar.extractfile(entry)
            if file is None or not path.resolve().is_relative_to(folder.resolve()):
                raise SystemExit(f"{parts} holds {entry.name}: expected files of runs alone")
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(lzma.decompress(file.read()))


def wanted(folder: Path) -> Iterator[Path]:
    """Yields the files to carry, the most important first."""
    files = [path for path in sorted(folder.rglob("*")) if path.is_file() and path.name != "lock"]
    files = [path for path in files if not path.relative_to(folder).parts[0].startswith("report")]
    records = [path for path in files if path.suffix in RECORDS]
    yield from records
    done = {
        path.parent
        for path in records
        if path.name == "status.json" and json.loads(path.read_text())["state"] == "done"
    }
    others = [path for path in files if path not in set(records) and not done & {*path.parents}]
    yield from sorted(others, key=lambda path: (_rank(path), path.stat().st_size))


def _rank(path: Path) -> int:
    note = path.parent / "fit.json"
    if path.name != "fitted.npz" or not note.is_file():
        return 0
    return 1 if json.loads(note.read_text())["what"].startswith(("proxy", "full_target")) else 2


if __name__ == "__main__":
    main()
