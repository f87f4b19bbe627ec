"""What decides the fits of a run beside rows, labels and random streams; see `alframe.sharing`."""

from __future__ import annotations

import ast
import hashlib
import importlib
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import alframe
from alframe.cli.versions import versions
from alframe.run_dir import flatten, is_harmless

OWN = ("data", "learners", "models", "tasks", "options.py", "schedule.py", "world.py", "ranks.py")
"""What of alframe takes part in a fit."""
KNOWN = ("alframe", "torch")  # these have their own place in a signature
DOCUMENTED = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)

Node = Mapping[str, Any]


def decisive(config: Node, fingerprint: str, device: str) -> dict[str, Any]:
    """Returns what `alframe.sharing.Sharing` signs of every fit of a run.

    Args:
        config: The composed config, plain.
        fingerprint: Of the dataset.
        device: In words.
    """
    data = flatten({"data": config["data"]})
    learners = {role: config[role] for role in ("target", "proxy") if config.get(role)}
    return {
        "data": {key: value for key, value in data.items() if not is_harmless(key)},
        "fingerprint": fingerprint,
        "device": device,
        "versions": versions(),
        "code": own_code(),
        **{name: _part(config[name]) for name in ("task", "trainer")},
        "learners": {role: _part(node) for role, node in learners.items()},
    }


def _part(node: Node) -> dict[str, Any]:
    return {"config": node, "code": strange_code(node)}


def own_code(folder: Path = Path(alframe.__file__).parent) -> str:
    """Returns the sha256 of alframe's files that take part in a fit, whatever they say of it."""
    digest = hashlib.sha256()
    for name in OWN:
        for path in _sources(folder / name):
            digest.update(f"{path.relative_to(folder)}\n{_meaning(path)}\n".encode())
    return digest.hexdigest()


def strange_code(node: Node) -> dict[str, str]:
    """Returns, for each package that the node's targets are from, the sha256 of its files.

    torch is known by its version, and alframe's own files by `own_code`.
    """
    packages = sorted({target.split(".")[0] for target in _targets(node)} - set(KNOWN))
    return {name: _package_digest(name) for name in packages}


def _targets(node: Node) -> Iterator[str]:
    for name, value in node.items():
        if name == "_target_":
            yield str(value)
        for child in value if isinstance(value, list) else [value]:
            if isinstance(child, Mapping):
                yield from _targets(child)


def _package_digest(name: str) -> str:
    module = importlib.import_module(name)
    folders: Iterable[str] = getattr(module, "__path__", None) or [str(module.__file__)]
    digest = hashlib.sha256()
    for folder in sorted(map(Path, folders)):
        for path in _sources(folder):
            digest.update(f"{path.relative_to(folder.parent)}\n".encode() + path.read_bytes())
    return digest.hexdigest()


def _sources(place: Path) -> list[Path]:
    return sorted(place.rglob("*.py")) if place.is_dir() else [place]


def _meaning(path: Path) -> str:
    """Returns a Python file without comments, docstrings and layout."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    for node in ast.walk(tree):
        if isinstance(node, DOCUMENTED) and ast.get_docstring(node, clean=False) is not None:
            node.body = node.body[1:]
    return ast.dump(tree)
