"""Executes a notebook in a new folder, with this interpreter and this alframe."""

import json
import os
from pathlib import Path
from typing import Any

import nbformat
import pytest
from ipykernel.kernelspec import write_kernel_spec
from nbclient import NotebookClient

import alframe

FOLDER = Path(__file__).parents[2] / "notebooks"
STORE = "Path('summary.json').write_text(json.dumps(summary, default=float))"
SETTINGS = ("ALFRAME_NOTEBOOK_SEEDS", "ALFRAME_NOTEBOOK_BUDGET")


def executed(path: Path, folder: Path, **settings: object) -> tuple[Any, dict[str, Any]]:
    """Returns the notebook with its outputs, and what it left in ``summary``.

    Args:
        path: The notebook.
        folder: For the kernel and the working directory; the notebook must leave no file there.
        settings: Environment variables.
    """
    write_kernel_spec(folder / "jupyter" / "kernels" / "python3")
    paths = [str(Path(alframe.__file__).parents[1]), os.environ.get("PYTHONPATH", "")]
    changed = {
        "PYTHONPATH": os.pathsep.join(filter(None, paths)),
        "JUPYTER_PATH": str(folder / "jupyter"),
        "JUPYTER_RUNTIME_DIR": str(folder / "runtime"),
        "IPYTHONDIR": str(folder / "ipython"),
        **{name: str(value) for name, value in settings.items()},
    }
    notebook = nbformat.read(path, as_version=4)
    notebook.cells.append(nbformat.v4.new_code_cell(f"import json\n{STORE}"))
    work = folder / "work"
    work.mkdir()
    with pytest.MonkeyPatch.context() as patch:
        for name in SETTINGS:
            patch.delenv(name, raising=False)
        for name, value in changed.items():
            patch.setenv(name, value)
        place = {"metadata": {"path": str(work)}}
        NotebookClient(notebook, timeout=900, resources=place).execute()
    assert [path.name for path in work.iterdir()] == ["summary.json"]
    return notebook, json.loads((work / "summary.json").read_text())


def assert_committed_without_outputs(path: Path) -> None:
    """Fails where a notebook holds what an execution left."""
    notebook = nbformat.read(path, as_version=4)
    nbformat.validate(notebook)
    assert set(notebook.metadata) == {"kernelspec"}
    assert notebook.metadata.kernelspec.name == "python3"
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert code
    for cell in code:
        assert (cell.outputs, cell.execution_count, cell.metadata) == ([], None, {})


def printed_and_pictures(notebook: Any) -> tuple[str, int]:
    """Returns what was printed, and how many pictures there are; nothing may be on stderr."""
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", [])]
    assert "stderr" not in {output.get("name") for output in outputs}
    printed = "".join(output.text for output in outputs if output.output_type == "stream")
    return printed, sum("image/png" in output.get("data", {}) for output in outputs)
