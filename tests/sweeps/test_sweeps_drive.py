"""Sweeps in this process: what is made, what is skipped, what is refused."""

import json
import shutil
import sys

import pytest
import yaml
from sweep_parts import PROBES, SWEPT, stamps
from tiny_runs import CORE_SET

import alframe.cli
from alframe.pipelines.active_learning import ActiveLearning
from alframe.sweeps.cli import main as show_sweep

CELLS = ["seed=0,strategy=margin", "seed=0,strategy=random", "seed=1,strategy=margin",
         "seed=1,strategy=random"]  # fmt: skip


@pytest.fixture
def sweep(workdir, monkeypatch, capfd):
    """Calls the command line with -m; returns exit code, stdout and stderr."""

    def call(*words):
        monkeypatch.setenv("HYDRA_FULL_ERROR", "")  # main sets it: put back after the test
        monkeypatch.setattr(sys, "argv", ["alframe", "-m", *words, "hydra.sweep.dir=sweep"])
        try:
            alframe.cli.main()
            code = 0
        except SystemExit as end:
            code = end.code
        return code, *capfd.readouterr()

    return call


def states(folder):
    found = folder.glob("*/status.json")
    return {path.parent.name: json.loads(path.read_text())["state"] for path in found}


def test_the_same_command_again_makes_nothing(sweep, workdir):
    code, said, _ = sweep(*SWEPT, *PROBES)
    assert code == 0
    assert "4 cells: 4 done" in said
    before = stamps(workdir / "sweep")
    assert len(before) == 4
    code, said, told = sweep(*SWEPT, *PROBES)
    assert (code, told) == (0, "")
    assert "4 cells: 4 done" in said
    assert stamps(workdir / "sweep") == before
    # another logger, other values: the cells that are there are taken, the others made
    code, said, _ = sweep("strategy=margin", "seed=0,2", *(w for w in PROBES if w != "logger=[]"))
    assert code == 0
    after = stamps(workdir / "sweep")
    assert before.items() <= after.items()
    assert len(after) == 5
    assert show_sweep(["sweep"]) == 0
    assert show_sweep(["."]) == 2


def test_concepts_have_their_embeddings_and_the_index_of_them_in_common(sweep, workdir):
    words = (
        "concept=3,5", "data=digits", "data.subset=900", "data.validation=100", "data.test=300",
        "learner@target=probe", "strategy=most_likely_positive", "candidates=seals",
        "candidates.k=8", "index=ivf_flat", "encoder@embeddings.encoder=raw",
        "embeddings.learn=true", "embeddings.dir=stores", "task.positives=5", "task.negatives=15",
        "schedule.initial=20", "schedule.query_size=5", "schedule.budget=30", "logger=[]",
        "trainer=cpu",
    )  # fmt: skip
    code, said, told = sweep(*words)
    assert code == 0
    assert "2 cells: 2 done" in said
    assert len([*workdir.glob("**/store.json")]) == 2  # of training rows and test rows
    (meta,) = workdir.glob("**/index_*/meta.json")
    key = json.loads(meta.read_text())["source_key"]
    found = [json.loads(path.read_text()) for path in workdir.glob("sweep/*/status.json")]
    assert [run["neighbors"]["source_key"] for run in found] == [key, key]
    assert [run["recall"] for run in found] == [found[0]["recall"]] * 2
    assert (said + told).count("rows built in") == 1


def test_fits_that_cells_have_in_common_are_made_once(sweep, workdir):
    words = *CORE_SET, "pipeline.sizes=[0.5]", "logger=[]", "trainer=cpu"
    assert sweep("strategy=random,margin", "seed=0", *words)[0] == 0
    made = [json.loads(path.read_text()) for path in workdir.glob("sweep/shared/*/fit.json")]
    assert sorted(fit["what"].partition(":")[0] for fit in made) == [
        "full_target", "proxy", "size_000_target", "size_000_target",
    ]  # fmt: skip


def test_a_failed_cell_is_told_and_made_again_on_request(sweep, workdir, monkeypatch):
    plain = ActiveLearning.run

    def run(self, stages):
        if stages.seed == 1:
            raise RuntimeError("first\nthe disk burns")
        return plain(self, stages)

    with monkeypatch.context() as patch:
        patch.setattr(ActiveLearning, "run", run)
        code, said, told = sweep("seed=0,1,2", *PROBES)
    assert code == 1
    assert "RuntimeError" in told
    assert "the disk burns" in said
    assert "3 cells: 2 done, 1 failed" in said
    code, said, told = sweep("seed=0,1,2", *PROBES)
    assert (code, told) == (1, "")
    assert "the disk burns" in said
    before = stamps(workdir / "sweep")
    code, said, _ = sweep("seed=0,1,2", *PROBES, "sweep.failed=again")
    assert code == 0
    assert "3 cells: 3 done" in said
    assert before.items() <= stamps(workdir / "sweep").items()


def test_a_mistake_in_one_cell_is_told_at_its_place(sweep, workdir):
    code, said, told = sweep("schedule.initial=1,20", *(w for w in PROBES if "initial" not in w))
    assert code == 2
    assert "1 done, 1 failed" in said
    assert "schedule.initial=1" in told
    assert show_sweep(["sweep"]) == 0


def test_a_killed_cell_is_gone_on_with(sweep, workdir):
    sweep("seed=0,1", *PROBES)
    (path,) = (
        file.parent
        for file in workdir.glob("sweep/*/config.yaml")
        if yaml.safe_load(file.read_text())["seed"] == 1
    )
    status = json.loads((path / "status.json").read_text())
    (path / "status.json").write_text(json.dumps({**status, "state": "running"}))
    expected = (path / "metrics.csv").read_bytes()
    (path / "stages" / "round_002_metrics.npz").unlink()
    code, said, _ = sweep("seed=0,1", *PROBES)
    assert code == 0
    assert "killed" in said
    assert json.loads((path / "status.json").read_text())["state"] == "done"
    assert len((path / "metrics.csv").read_bytes().splitlines()) == len(expected.splitlines())


def test_another_sweep_is_not_mixed_in(sweep, workdir):
    sweep("seed=0", *PROBES)
    before = stamps(workdir / "sweep")
    code, _, told = sweep("seed=0,1", *PROBES, "learner.weight_decay=3")
    assert code == 2
    code, _, told = sweep("seed=0,1", *(w for w in PROBES if "budget" not in w))
    assert code == 2
    assert "schedule.budget: 40 ->" in told
    assert stamps(workdir / "sweep") == before


@pytest.mark.parametrize("words", [("run_dir=here",), ("sweep.failed=yes",), ("trainer=ddp",)])
def test_what_cannot_be_meant_is_refused(sweep, workdir, words):
    code, _, told = sweep("seed=0,1", *words)
    assert code == 2
    assert words[0] in told
    assert not (workdir / "sweep").exists()


def test_each_sweep_is_a_group_of_wandb(sweep, workdir, monkeypatch):
    groups = []

    class Fake:
        def __init__(self, group=None, **rest):
            groups.append(group)
            raise RuntimeError("left out")

    monkeypatch.setattr("pytorch_lightning.loggers.WandbLogger", Fake)
    sweep("seed=0,1", *(w for w in PROBES if w != "logger=[]"), "logger=[wandb]")
    assert groups == ["sweep", "sweep"]
    configs = [yaml.safe_load(p.read_text()) for p in workdir.glob("sweep/*/config.yaml")]
    assert {config["logger"]["wandb"]["group"] for config in configs} == {"sweep"}


def test_cells_in_processes_of_their_own(sweep, workdir):
    sweep(*SWEPT, *PROBES)
    shutil.move("sweep", "expected")
    code, said, _ = sweep(*SWEPT, *PROBES, "hydra/launcher=joblib", "hydra.launcher.n_jobs=2")
    assert code == 0
    assert "4 cells: 4 done" in said
    for path in (workdir / "expected").glob("*/selections.parquet"):
        assert (workdir / "sweep" / path.parent.name / path.name).read_bytes() == path.read_bytes()
