"""Every YAML composes, and its keys are those of its target."""

import os
from pathlib import Path

import hydra
import pytest
from omegaconf import OmegaConf, open_dict
from tiny_runs import metrics

from alframe.cli import run
from alframe.cli.build import check_keys
from alframe.cli.compose import CONFIGS

PARTS = (
    "data", "task", "target", "proxy", "strategy", "candidates", "index", "oracle", "schedule",
    "trainer", "pipeline", "logger",
)  # fmt: skip
PLACES = {  # where an option of a group takes the default's place, if not under the group's name
    "learner": ("learner@target", "learner@proxy"),
    "model": ("model@target.model",),
    "recipe": ("recipe@target.recipe",),
}
MORE = {  # what an option needs besides itself
    "learner@proxy": ("pipeline=core_set",),
    "data=array": ("data.path=mine.npz",),
    "data=embedded": ("data.train=train", "data.test=test", "data.labels=mine.npz"),
    "index=faiss": ("index.factory=Flat",),
}
EXPERIMENTS = sorted(file.stem for file in (CONFIGS / "experiment").glob("*.yaml"))
DEBUGS = {  # by pipeline, and whether it is made for a proxy
    "active": ("active_learning", False),
    "active_proxy": ("active_learning", True),
    "svp": ("core_set", True),
}


def options():
    """Yields every option of every group, in each of its places."""
    for file in sorted(CONFIGS.rglob("*.yaml")):
        group = file.parent.relative_to(CONFIGS).as_posix()
        if group in (".", "experiment", "debug", "encoder"):  # alframe-embed's own is the last
            continue
        for place in PLACES.get(group, (group,)):
            choice = f"{place}={file.stem}"
            more = (*MORE.get(place, ()), *MORE.get(choice, ()))
            yield pytest.param(choice, more, id=choice)


def compose(*overrides):
    with hydra.initialize_config_dir(str(CONFIGS), version_base="1.3", job_name="alframe"):
        config = hydra.compose("run", [*overrides, "run_dir=somewhere"], return_hydra_config=False)
    with open_dict(config):
        config.pop("hydra", None)
    plain = OmegaConf.to_container(config, resolve=True, throw_on_missing=True)
    assert isinstance(plain, dict)
    return plain


def check(config):
    for part in PARTS:
        if config[part] is not None:
            check_keys(config[part], part)
            assert part == "logger" or "_target_" in config[part]


def test_the_groups_here_are_all_groups():
    default = compose()
    assert {group for group in PARTS if default[group] is not None} == set(PARTS) - {"proxy"}
    folders = {path.name for path in CONFIGS.iterdir() if path.is_dir()}
    others = {"experiment", "debug", "paths", "encoder", "hydra", *PLACES}
    assert folders == others | (set(PARTS) - {"target", "proxy"})
    assert {file.stem for file in (CONFIGS / "debug").glob("*.yaml")} == set(DEBUGS)


@pytest.mark.parametrize(("choice", "more"), options())
def test_an_option_composes_and_has_the_keys_of_its_target(choice, more):
    check(compose(choice, *more))


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_an_experiment_composes_and_has_the_keys_of_its_targets(name):
    config = compose(f"experiment={name}")
    check(config)
    assert config["name"] == name


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_an_experiment_has_its_command_at_the_head(name):
    lines = (CONFIGS / "experiment" / f"{name}.yaml").read_text().splitlines()
    head = [line for line in lines if line.startswith("# ")]
    assert lines[0] == "# @package _global_"
    assert head[1].split()[:3] == ["#", "alframe", f"experiment={name}"]
    assert lines[: len(head)] == head
    assert len(head) >= 3


@pytest.mark.parametrize("file", sorted(CONFIGS.rglob("*.yaml")), ids=lambda file: file.stem)
def test_a_config_says_what_it_is(file):
    if file.parent.name not in ("paths", "logger", "model"):
        assert file.read_text().startswith("# ")


def fitting():
    """Yields every debug config with every experiment that it is made for."""
    for name in EXPERIMENTS:
        config = compose(f"experiment={name}")
        if "Lightning" in config["target"]["_target_"]:
            pipeline = Path(config["pipeline"]["_target_"].replace(".", "/")).parent.name
            kind = pipeline, config["proxy"] is not None
            yield from ((debug, name) for debug, made_for in DEBUGS.items() if made_for == kind)


@pytest.mark.parametrize(("debug", "name"), fitting())
def test_a_debug_config_makes_an_experiment_small(debug, name):
    config = compose(f"experiment={name}", f"debug={debug}")
    check(config)
    assert config["data"]["subset"] <= 200
    assert config["target"]["recipe"]["epochs"] == 1
    for learner in filter(None, (config["target"], config["proxy"])):
        assert learner["recipe"]["epochs"] <= 2
        assert not learner["model"].get("depth") or learner["model"]["depth"] == 8
    assert config["name"] == name


def test_the_default_is_digits_active():
    assert compose("experiment=digits_active") == compose()


@pytest.mark.parametrize(
    ("name", "debug", "models"),
    [("digits_active", "active", {"target"}), ("digits_svp", "svp", {"proxy", "target"})],
)
def test_a_debug_run_takes_the_whole_way(name, debug, models, workdir):
    result = run(f"experiment={name}", f"debug={debug}", "trainer=cpu")
    assert result.outcome.state == "done"
    assert set(metrics(result.path).model) == models


@pytest.mark.slow
@pytest.mark.skipif("ALFRAME_DATA_DIR" not in os.environ, reason="needs CIFAR-10")
@pytest.mark.parametrize(
    ("name", "debug"),
    [("svp_cifar10_small", "svp"), ("svp_cifar10", "svp"), ("svp_cifar10_short", "svp"),
     ("cifar10_active", "active"), ("svp_cifar10_active", "active_proxy")],
)  # fmt: skip
def test_a_debug_run_on_cifar10(name, debug, workdir):
    result = run(f"experiment={name}", f"debug={debug}", "data.download=false", "trainer=cpu")
    assert result.outcome.state == "done"
    table = metrics(result.path)
    assert table.train_rows.max() <= 200
    assert "target" in set(table.model)


def test_the_lecture_runs(workdir):
    result = run("experiment=lecture_1d", "schedule.budget=6")
    assert sorted(set(metrics(result.path).labeled)) == [2, 3, 4, 5, 6]
