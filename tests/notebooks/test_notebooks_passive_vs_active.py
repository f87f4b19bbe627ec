"""Executes the notebook and checks the numbers that its text states.

Without the `slow` mark with few seeds; with it as it is committed.
"""

import json
import os
from pathlib import Path

import nbformat
import pytest
from ipykernel.kernelspec import write_kernel_spec
from nbclient import NotebookClient

import alframe

NOTEBOOK = Path(__file__).parents[2] / "notebooks" / "01_passive_vs_active.ipynb"
STORE = "Path('summary.json').write_text(json.dumps(summary, default=float))"


@pytest.fixture(scope="module")
def execute(tmp_path_factory):
    """Executes the notebook in a new folder, with this interpreter and this alframe."""

    def run(seeds=None):
        folder = tmp_path_factory.mktemp("notebook")
        write_kernel_spec(folder / "jupyter" / "kernels" / "python3")
        paths = [str(Path(alframe.__file__).parents[1]), os.environ.get("PYTHONPATH", "")]
        changed = {
            "PYTHONPATH": os.pathsep.join(filter(None, paths)),
            "JUPYTER_PATH": str(folder / "jupyter"),
            "JUPYTER_RUNTIME_DIR": str(folder / "runtime"),
            "IPYTHONDIR": str(folder / "ipython"),
        }
        notebook = nbformat.read(NOTEBOOK, as_version=4)
        notebook.cells.append(nbformat.v4.new_code_cell(f"import json\n{STORE}"))
        work = folder / "work"
        work.mkdir()
        with pytest.MonkeyPatch.context() as patch:
            patch.delenv("ALFRAME_NOTEBOOK_SEEDS", raising=False)
            for name, value in changed.items():
                patch.setenv(name, value)
            if seeds is not None:
                patch.setenv("ALFRAME_NOTEBOOK_SEEDS", str(seeds))
            place = {"metadata": {"path": str(work)}}
            NotebookClient(notebook, timeout=500, resources=place).execute()
        assert [path.name for path in work.iterdir()] == ["summary.json"]
        return notebook, json.loads((work / "summary.json").read_text())

    return run


@pytest.fixture(scope="module")
def few(execute):
    return execute(seeds=5)


def test_committed_without_outputs():
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    nbformat.validate(notebook)
    assert set(notebook.metadata) == {"kernelspec"}
    assert notebook.metadata.kernelspec.name == "python3"
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert code
    for cell in code:
        assert (cell.outputs, cell.execution_count, cell.metadata) == ([], None, {})


def test_shows_figures_and_hides_the_tables_of_the_runs(few):
    notebook, _ = few
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", [])]
    assert sum("image/png" in output.get("data", {}) for output in outputs) == 3
    printed = "".join(output.text for output in outputs if output.output_type == "stream")
    assert "budget reached" not in printed
    assert "stderr" not in {output.get("name") for output in outputs}


@pytest.mark.parametrize("kind", ["uniform", "gaussians"])
def test_active_needs_far_fewer_labels(few, kind):
    needed = few[1][kind]
    assert needed["active"][0] <= 10
    assert needed["passive"][0] >= 4 * needed["active"][0]


def test_no_advantage_where_classes_overlap(few):
    for labels in ("9", "14", "21", "31"):
        mean, low, high = few[1]["overlapping"][labels]
        assert low < mean < high
        assert high > 0


@pytest.mark.slow
def test_with_all_seeds_the_text_holds(execute):
    _, summary = execute()
    for kind in ("uniform", "gaussians"):
        active, passive, ratio = (
            summary[kind][name] for name in ("active", "passive", "passive / active")
        )
        assert 5 <= active[0] <= 8
        assert active[2] <= 9
        assert 60 <= passive[0] <= 180
        assert passive[1] <= 100 <= passive[2]
        assert ratio[1] >= 4
    for labels in ("9", "14", "21", "31"):
        mean, _, high = summary["overlapping"][labels]
        assert 0.02 < mean < high
