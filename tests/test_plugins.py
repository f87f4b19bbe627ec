"""Parts from outside the package: one file and one YAML each."""

import sys

import pytest
from tiny_runs import ACTIVE, alframe, metrics, selections

from alframe.cli import run
from alframe.errors import UserError

STRATEGY = '''
import numpy as np
from alframe.protocols import Need, Query

class LowestRows:
    """Takes the lowest rows whose largest probability is below a limit, then the others."""

    pipelines = frozenset({"active_learning", "core_set"})
    stochastic = False
    needs = (Need("probs"),)

    def __init__(self, limit):
        self.limit = limit

    def select(self, size, candidates, pool, seen, rng):
        sure = (seen.probs(candidates).amax(1) >= self.limit).cpu().numpy()
        return Query(candidates[np.lexsort((candidates, sure))][:size])
'''

DATA = '''
import numpy as np
from alframe.data.dataset import Splits, build_dataset

def stripes(*, rows, **splits):
    """Images whose left or right half is bright."""
    rng = np.random.default_rng(0)
    labels = rng.integers(2, size=rows + 40)
    images = rng.integers(100, size=(len(labels), 6, 6), dtype=np.uint8)
    for image, label in zip(images, labels):
        image[:, 3 * label : 3 * label + 3] += 100
    train, test = (images[:rows], labels[:rows]), (images[rows:], labels[rows:])
    return build_dataset("stripes", train, test, ["left", "right"], Splits(**splits))
'''

MODEL = '''
from torch import nn

class Plain(nn.Module):
    """Gives logits and nothing else; where its embedding is, alframe finds out."""

    def __init__(self, num_classes, input_shape, width):
        super().__init__()
        height, wide, channels = input_shape
        self.flatten = nn.Flatten()
        self.hidden = nn.Linear(channels * height * wide, width)
        self.last = nn.Linear(width, num_classes)

    def forward(self, inputs):
        return self.last(self.hidden(self.flatten(inputs)).relu())
'''

MODULE = '''
import pytorch_lightning as pl
import torch

class Trained(pl.LightningModule):
    """Has its own network, loss and optimizer."""

    def __init__(self, num_classes, input_shape, rate):
        super().__init__()
        height, wide, channels = input_shape
        self.flatten = torch.nn.Flatten()
        self.hidden = torch.nn.Linear(channels * height * wide, 12)
        self.last = torch.nn.Linear(12, num_classes)
        self.rate = rate

    def forward(self, inputs):
        return self.last(self.hidden(self.flatten(inputs)).relu())

    def training_step(self, batch, batch_idx):
        wanted = torch.nn.functional.one_hot(batch.labels, self.last.out_features)
        return (self(batch.inputs).softmax(1) - wanted).square().sum(1).mean()

    def configure_optimizers(self):
        return torch.optim.Adam(self.parameters(), self.rate)


class Around(pl.LightningModule):
    """Trains a network of alframe's."""

    def __init__(self, model):
        super().__init__()
        self.model = model

    def forward(self, inputs):
        return self.model(inputs)

    def training_step(self, batch, batch_idx):
        return torch.nn.functional.cross_entropy(self(batch.inputs), batch.labels)

    def configure_optimizers(self):
        return torch.optim.AdamW(self.parameters(), 0.01)
'''

YAMLS = {
    "learner/own": (
        "defaults:\n  - /recipe@recipe: digits\n  - _self_\n"
        "_target_: alframe.learners.lightning.LightningLearner\nmodel: null\nmodule:\n"
        "  _target_: strangers_parts.Trained\n  _partial_: true\n  rate: 0.01\n"
    ),
    "strategy/mine": "_target_: strangers_parts.LowestRows\nlimit: 0.5\n",
    "data/mine": "_target_: strangers_parts.stripes\nrows: 120\nvalidation: 20\n",
    "model/mine": "_target_: strangers_parts.Plain\n_partial_: true\nwidth: 12\n",
    "learner/mine": (
        "defaults:\n  - /model@model: mine\n  - /recipe@recipe: digits\n  - _self_\n"
        "_target_: alframe.learners.lightning.LightningLearner\n"
    ),
    "experiment/mine": (
        "# @package _global_\ndefaults:\n  - override /strategy: mine\nname: my_experiment\n"
    ),
}
SHORT = "schedule.initial=10", "schedule.query_size=5", "schedule.budget=20"


@pytest.fixture(scope="module")
def stranger(tmp_path_factory):
    """A folder with a module of parts, and a config folder that names them."""
    folder = tmp_path_factory.mktemp("stranger")
    (folder / "strangers_parts.py").write_text(STRATEGY + DATA + MODEL + MODULE)
    for name, text in YAMLS.items():
        file = folder / "configs" / f"{name}.yaml"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    return folder


@pytest.fixture
def here(stranger, workdir, monkeypatch):
    """Makes the stranger's module importable in this process; returns its search path."""
    monkeypatch.syspath_prepend(str(stranger))
    yield f"hydra.searchpath=[file://{stranger / 'configs'}]"
    sys.modules.pop("strangers_parts", None)


def test_a_strategy_is_one_file_and_one_yaml(stranger, workdir):
    words = "strategy=mine", "strategy.limit=2", "run_dir=mine", *ACTIVE
    done = alframe(
        "--config-dir", str(stranger / "configs"), *words, cwd=workdir, PYTHONPATH=str(stranger)
    )
    assert done.returncode == 0, done.stderr
    table = selections(workdir / "mine")
    first, second = (table[table.round_id == round_id].row.tolist() for round_id in (1, 2))
    assert first + second == sorted(first + second)  # nothing is that sure: the lowest rows
    assert "strategy: mine" in (workdir / "mine" / "config.yaml").read_text()


def test_a_dataset_and_a_model_that_only_gives_logits(here):
    result = run(
        here, "data=mine", "learner@target=mine", "strategy=kcenter", "target.model.width=8", *SHORT
    )
    assert set(metrics(result.path).labeled) == {10, 15, 20}
    assert metrics(result.path).accuracy.iloc[-1] > 0.9


def test_a_lightning_module_of_ones_own(here):
    words = "data=mine", "learner@target=own", "target.module.rate=0.02"
    result = run(here, *words, "strategy=kcenter", *SHORT)
    assert set(metrics(result.path).labeled) == {10, 15, 20}
    assert metrics(result.path).accuracy.iloc[-1] > 0.9


def test_ones_own_module_around_a_network_of_ours(here, workdir):
    around = "target.module={_target_: strangers_parts.Around, _partial_: true}"
    result = run(here, "learner@target=small_cnn", around, "data=mine", "strategy=margin", *SHORT)
    assert set(metrics(result.path).labeled) == {10, 15, 20}
    wrong = around.replace("Around", "Trained").replace("true}", "true, rate: 0.1}")
    with pytest.raises(UserError, match=r"target.*unexpected keyword argument 'model'"):
        run(here, "learner@target=small_cnn", wrong)


def test_what_ones_own_module_does_not_record_is_refused_before_the_first_epoch(here, workdir):
    words = "pipeline=core_set", "strategy=forgetting", "learner@target=own", "data=mine"
    with pytest.raises(UserError, match=r"needs dynamics.*target\.module=null"):
        run(here, *words)
    assert list(workdir.iterdir()) == []


def test_a_dataset_by_target_alone(here):
    result = run(
        here, "data=mine", "learner@target=small_cnn", "target.recipe.min_steps=0", *SHORT,
        "model@target.model=mine", "pipeline=core_set", "strategy=forgetting",
    )  # fmt: skip
    assert result.outcome.state == "done"


def test_an_experiment_of_ones_own(here):
    result = run(here, "experiment=mine", *ACTIVE)
    assert result.path.name.startswith("my_experiment-")


def test_the_keys_of_a_strangers_part_are_checked(here, workdir):
    with pytest.raises(UserError, match=r"strategy\.limmit.*did you mean limit"):
        run(here, "strategy=mine", "+strategy.limmit=3", *ACTIVE)
    with pytest.raises(UserError, match=r"data\.row: .*did you mean data\.rows\?"):
        run(here, "data=mine", "data.row=3")
    assert list(workdir.iterdir()) == []


def test_options_of_both_folders_are_known(stranger, workdir):
    done = alframe("--config-dir", str(stranger / "configs"), "strategy=mien", cwd=workdir)
    assert done.returncode == 2
    assert "entropy" in done.stderr
    assert "did you mean mine?" in done.stderr


def test_a_module_that_is_not_on_the_path(stranger, workdir):
    folder = f"hydra.searchpath=[file://{stranger / 'configs'}]"
    with pytest.raises(UserError, match=r"strategy\._target_=strangers_parts\.LowestRows: "):
        run(folder, "strategy=mine", *ACTIVE)
    assert list(workdir.iterdir()) == []
