"""``concept=NAME`` chooses task and schedule where nobody else does."""

import sys

import pytest
import yaml

import alframe.cli
from alframe.cli.choices import is_chosen
from alframe.cli.compose import CONFIGS, compose, with_aliases
from alframe.errors import UserError

LAB = """# @package _global_
defaults:
  - override /schedule: lab
  - _self_
schedule: {budget: 39}
"""


@pytest.fixture
def folder(tmp_path):
    """A stranger's configs: experiments with a schedule of their own, and without one."""
    schedule = yaml.safe_load((CONFIGS / "schedule" / "digits.yaml").read_text()) | {"initial": 25}
    files = {
        "schedule/lab": yaml.safe_dump(schedule),
        "experiment/lab": LAB,
        "experiment/longer": "# @package _global_\ndefaults:\n  - lab\n  - _self_\nname: longer\n",
        "experiment/plain": "# @package _global_\nschedule: {initial: 7}\n",
        "experiment/broken": "defaults: [",
    }
    for name, text in files.items():
        path = tmp_path / "mine" / f"{name}.yaml"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return tmp_path / "mine"


@pytest.mark.parametrize("experiment", ["lab", "longer"])
def test_an_experiment_keeps_its_schedule(folder, experiment):
    words = with_aliases(["concept=3", f"experiment={experiment}", "--config-dir", str(folder)])
    config = compose([word for word in words if "=" in word], [folder])
    assert (config.schedule.initial, config.schedule.budget) == (25, 39)
    assert config.task._target_.endswith("RareConcept")  # which it does not choose


@pytest.mark.parametrize(
    ("words", "added"),
    [
        (["concept=3"], ["task", "schedule"]),
        (["concept=null"], []),
        (["concept=3", "schedule=svp"], ["task"]),
        (["concept=3", "schedule.initial=10"], ["task", "schedule"]),
        (["concept=3", "experiment=seals_cifar10"], []),
        (["concept=3", "experiment=svp_cifar10_short"], ["task", "schedule"]),
        (["concept=3", "experiment=svp_cifar10_active"], ["task"]),
        (["concept=3", "experiment=nowhere"], ["task", "schedule"]),
        (["concept=3", "experiment=plain"], ["task", "schedule"]),
        (["concept=3", "experiment=broken"], ["task", "schedule"]),
        (["-m", "concept=3", "experiment=lab,longer"], ["task"]),
    ],
    ids=" ".join,
)
def test_what_is_chosen_already_is_left_alone(folder, words, added):
    found = with_aliases([*words, f"--config-dir={folder}"])
    assert [word for word in found if word.endswith("=rare_concept")] == [
        f"{group}=rare_concept" for group in added
    ]


def test_words_are_added_where_hydra_takes_them():
    """It takes none after a flag."""
    assert with_aliases(["concept=3", "seed=1", "--cfg", "job"]) == [
        "concept=3", "task=rare_concept", "schedule=rare_concept", "seed=1", "--cfg", "job",
    ]  # fmt: skip
    assert with_aliases(["--cfg", "job", "concept=3"])[:3] == ["--cfg", "job", "concept=3"]


def test_values_of_an_experiment_stand_above_the_schedule_of_concepts(folder):
    words = with_aliases(["concept=3", "experiment=plain", f"--config-dir={folder}"])
    config = compose([word for word in words if word[0] != "-"], [folder])
    assert (config.schedule.initial, config.schedule.budget) == (7, 300)


def test_experiments_of_which_only_some_choose_are_refused(folder, monkeypatch, capsys, workdir):
    words = ["-m", "concept=3", "experiment=lab,plain", "--config-dir", str(folder)]
    says = r"experiment=lab,plain: .* of these only lab do; give schedule=NAME, too"
    with pytest.raises(UserError, match=says):
        is_chosen("schedule", words, CONFIGS)
    monkeypatch.setattr(sys, "argv", ["alframe", *words])
    monkeypatch.setenv("HYDRA_FULL_ERROR", "")
    with pytest.raises(SystemExit) as ended:
        alframe.cli.main()
    assert ended.value.code == 2
    assert len(capsys.readouterr().err.splitlines()) == 1
    assert list(workdir.iterdir()) == []
