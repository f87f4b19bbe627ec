"""Who may import whom (design.md, section 3), and the sizes that keep a room readable."""

from __future__ import annotations

import ast
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest
from tiny_runs import environment

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "alframe"
FILES = sorted(PACKAGE.rglob("*.py"))
STANDARD = set(sys.stdlib_module_names)


@cache
def tree(file):
    return ast.parse(file.read_text())


def module_of(file):
    parts = list(file.relative_to(ROOT).with_suffix("").parts)
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


@cache
def modules():
    return {module_of(file) for file in FILES}


def imports(file):
    """All modules that a file imports, also within functions and for type checking only."""
    found = set()
    for node in ast.walk(tree(file)):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{file}: relative import"
            found |= {node.module}
            names = {f"{node.module}.{alias.name}" for alias in node.names}
            found |= names & modules()  # from alframe.pipelines import stages
    return found


def is_within(module, names):
    return any(module == name or module.startswith(f"{name}.") for name in names)


def importers(name):
    return [file for file in FILES if any(is_within(module, [name]) for module in imports(file))]


def room(file):
    """The folder of the package that a file is in, or its own name."""
    return file.relative_to(PACKAGE).parts[0].removesuffix(".py")


ONLY_IN = [
    ("hydra", {"cli", "sweeps"}),
    ("omegaconf", {"cli", "sweeps"}),
    ("pytorch_lightning", {"learners", "tracking"}),
    ("wandb", {"tracking"}),
    ("tensorboard", {"tracking"}),
    ("faiss", {"neighbors"}),
    ("torchvision", {"data", "models", "encoders"}),
    ("timm", {"encoders"}),
    ("torchmetrics", {"tasks"}),
    ("alframe.cli", {"cli", "sweeps", "__main__"}),
    ("alframe.report", {"report"}),
    ("alframe.tracking", {"cli", "tracking"}),
    ("alframe.pipelines", {"cli", "pipelines"}),
    ("alframe.strategies", {"strategies"}),
    ("alframe.candidates", {"candidates"}),
    ("alframe.oracles", {"oracles"}),
    ("alframe.encoders", {"cli", "encoders"}),
]


@pytest.mark.parametrize(("name", "rooms"), ONLY_IN, ids=[name for name, _ in ONLY_IN])
def test_is_imported_only_in(name, rooms):
    strangers = [str(file.relative_to(ROOT)) for file in importers(name) if room(file) not in rooms]
    assert strangers == []


def test_faiss_only_in_its_one_file():
    assert {file.name for file in importers("faiss")} <= {"faiss.py"}


@pytest.mark.parametrize("name", ["lightning", "lightning_fabric", "lightning.pytorch"])
def test_the_other_name_of_lightning_is_never_used(name):
    assert importers(name) == []


CORE = {
    "protocols",
    "errors",
    "pool",
    "schedule",
    "run_dir",
    "record",
    "limits",
    "parts",
    "histories",
    "observations",
    "options",
    "selection",
    "sharing",
    "world",
    "agreement",
    "meter",
}
MAY_IMPORT = {
    "pipelines": (
        [f"alframe.{name}" for name in CORE] + ["alframe.pipelines"],
        ["numpy"],
    ),
    "strategies": (
        [
            f"alframe.{n}"
            for n in ("protocols", "pool", "functional", "neighbors", "errors", "options", "limits")
        ]
        + ["alframe.strategies"],
        ["numpy", "torch", "scipy"],
    ),
    "candidates": (
        [
            f"alframe.{n}"
            for n in ("protocols", "pool", "functional", "neighbors", "errors", "options")
        ]
        + ["alframe.candidates"],
        ["numpy", "torch", "scipy"],
    ),
    "functional": (["alframe.functional"], ["numpy", "torch", "scipy"]),
    "oracles": (
        [f"alframe.{n}" for n in ("protocols", "errors", "data", "oracles")],
        ["numpy"],
    ),
    "report": (
        [f"alframe.{n}" for n in ("report", "run_dir", "errors")],
        ["numpy", "pandas", "scipy", "matplotlib", "pyarrow", "yaml", "rich"],
    ),
    "neighbors": (
        [f"alframe.{n}" for n in ("neighbors", "protocols", "functional", "errors", "options")]
        + ["alframe.caching", "alframe.files", "alframe.limits", "alframe.noted"],
        ["numpy", "torch", "faiss"],
    ),
    "models": (["alframe.models", "alframe.errors"], ["numpy", "torch", "torchvision"]),
    "encoders": (
        ["alframe.encoders", "alframe.learners.hardware"]
        + [f"alframe.{n}" for n in ("protocols", "errors", "options", "data", "models")],
        ["numpy", "torch", "torchvision", "timm", "safetensors"],
    ),
    "store": (
        [f"alframe.{n}" for n in ("store", "protocols", "errors", "options", "files", "run_dir")]
        + ["alframe.noted"],
        ["numpy"],
    ),
}


@pytest.mark.parametrize("name", MAY_IMPORT)
def test_a_room_imports_only(name):
    own, others = MAY_IMPORT[name]
    files = [file for file in FILES if room(file) == name]
    assert files
    for file in files:
        strange = sorted(
            module
            for module in imports(file)
            if module.split(".")[0] not in STANDARD
            and module != "alframe"
            and not is_within(module, [*own, *others])
        )
        assert strange == [], f"{file.relative_to(ROOT)} imports {strange}"


def test_learners_import_no_strategies_and_no_pipelines():
    for file in FILES:
        if room(file) == "learners":
            forbidden = [f"alframe.{n}" for n in ("strategies", "pipelines", "candidates", "pool")]
            assert not [m for m in imports(file) if is_within(m, forbidden)], file


@pytest.mark.parametrize("name", ["strategies", "candidates"])
def test_no_device_by_name_and_no_global_random_state(name):
    for file in FILES:
        if room(file) != name:
            continue
        for node in ast.walk(tree(file)):
            if isinstance(node, ast.Attribute):
                assert node.attr not in {"cuda", "device", "manual_seed", "is_available"}, file
                text = ast.unparse(node)
                assert not text.startswith(("np.random.seed", "torch.rand", "random.")), file
                draws = text.startswith("np.random.") and text != "np.random.Generator"
                assert not draws, f"{file}: {text}"
            if isinstance(node, ast.Constant):
                assert node.value not in ("cuda", "cpu", "mps"), file


@pytest.mark.parametrize("name", ["pipelines", "pool", "strategies", "schedule", "record"])
def test_no_class_of_a_classifier_is_mentioned(name):
    """Regression, segmentation and text are to follow: what is learned stands in tasks/."""
    words = {"num_classes", "classes", "class_names", "Classification"}
    for file in FILES:
        if room(file) == name:
            names = {n.id for n in ast.walk(tree(file)) if isinstance(n, ast.Name)}
            names |= {n.attr for n in ast.walk(tree(file)) if isinstance(n, ast.Attribute)}
            assert not names & words, file


HEAVY = ("torch", "pytorch_lightning", "torchvision", "sklearn", "pandas", "matplotlib", "scipy")


@pytest.mark.parametrize(
    ("code", "absent"),
    [
        ("import alframe, alframe.cli", HEAVY),
        ("import alframe.report.cli", ("torch", "hydra", "pytorch_lightning", "alframe.cli")),
        ("import alframe.run_dir, alframe.protocols, alframe.schedule, alframe.pool", HEAVY),
        ("import alframe.store, alframe.cli.embed, alframe.cli.index", HEAVY),
    ],
    ids=["cli", "report", "core", "store"],
)
def test_importing_is_cheap(code, absent):
    program = f"import sys; {code}; print([m for m in {absent} if m in sys.modules])"
    done = subprocess.run(
        [sys.executable, "-c", program],
        env=environment(),
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize(("given", "seen"), [(None, "18"), ("24", "24")], ids=["unset", "set"])
def test_waiting_of_openblas_is_short_before_numpy_is_there(given, seen):
    name = "OPENBLAS_THREAD_TIMEOUT"
    variables = {key: value for key, value in environment().items() if key != name}
    code = f"import alframe, os, sys; print(os.environ['{name}'], 'numpy' in sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", code],
        env=variables if given is None else {**variables, name: given},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.split() == [seen, "False"]


@pytest.mark.parametrize("file", FILES, ids=lambda file: str(file.relative_to(ROOT)))
def test_a_file_has_at_most_300_lines_and_a_function_40_of_code(file):
    assert len(file.read_text().splitlines()) <= 300
    for node in ast.walk(tree(file)):
        if isinstance(node, ast.FunctionDef):
            documented = ast.get_docstring(node, clean=False)
            words = len(documented.splitlines()) if documented else 0
            assert node.end_lineno - node.lineno + 1 - words <= 40, node.name


def tool(*words):
    return subprocess.run(
        [sys.executable, "-m", *words],
        cwd=ROOT,
        env=environment(),
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize("command", [("check",), ("format", "--check")], ids=" ".join)
def test_ruff_is_clean(command):
    done = tool("ruff", *command, "--no-cache", ".")
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.slow
def test_mypy_is_clean(tmp_path):
    done = tool("mypy", "--cache-dir", str(tmp_path))
    assert done.returncode == 0, done.stdout + done.stderr
