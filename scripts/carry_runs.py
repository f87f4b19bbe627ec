"""Carries a folder of runs to another machine, in a few small files.

    python scripts/carry_runs.py pack FOLDER OUT [--megabytes 60]
    python scripts/carry_runs.py unpack OUT FOLDER

What is packed, until it would be more than the given size: the records of all runs; stages and
checkpoints of what is not finished; shared fits on all rows, which other runs will ask for; shared
fits of runs that are not finished; what was compiled. Of each the smallest first. Models in run
directories stay behind: those of finished runs nothing asks for again, those of others are found
among the shared fits. What did not fit is named; it would be made again. OUT gets parts of at most
15 MB.
"""

import argparse
import json
import lzma
import tarfile
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
    whole, size, full = BytesIO(), 0, set[int]()
    with tarfile.open(fileobj=whole, mode="w") as tar:
        for rank, path in wanted(folder):
            packed = b"" if rank in full else lzma.compress(path.read_bytes(), preset=1)
            if not packed or size + len(packed) > limit:
                full.add(rank)  # the others of its rank are larger
                print(f"left behind: {path.relative_to(folder)}")
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


def wanted(folder: Path) -> list[tuple[int, Path]]:
    """Returns the files to carry and their ranks, the most important first."""
    files = [path for path in sorted(folder.rglob("*")) if path.is_file() and path.name != "lock"]
    done = {
        path.parent.name
        for path in folder.glob("runs/*/status.json")
        if json.loads(path.read_text())["state"] == "done"
    }
    ranked = [(rank, path) for path in files if (rank := _rank(path, folder, done)) is not None]
    return sorted(ranked, key=lambda item: (item[0], item[1].stat().st_size, item[1]))


def _rank(path: Path, folder: Path, done: set[str]) -> int | None:
    """Returns how soon a file is to be carried; None where nothing asks for it again."""
    place, *below = path.relative_to(folder).parts
    if place == "compiled":
        return 4
    if place not in ("runs", "shared"):
        return None
    if path.suffix in RECORDS:
        return 0
    if place == "runs":
        return None if below[0] in done or path.name == "fitted.npz" else 1
    note = path.parent / "fit.json"
    if path.name != "fitted.npz" or not note.is_file():
        return 1
    fit = json.loads(note.read_text())
    if fit["what"].startswith(("proxy", "full_target")):
        return 2
    return None if {Path(maker["path"]).name for maker in fit["made_by"]} <= done else 3


if __name__ == "__main__":
    main()
