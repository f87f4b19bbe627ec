import inspect
import subprocess
import sys
from pathlib import Path
from typing import get_type_hints

import pytest
from hydra.utils import get_method, instantiate
from omegaconf import OmegaConf

from alframe.data.dataset import DataOptions, Loading, SplitOptions, Splits

FOLDER = Path(__file__).parents[2] / "configs" / "data"
CONFIGS = sorted(FOLDER.glob("*.yaml"))


def load(path, *overrides):
    context = OmegaConf.create({"seed": 3, "paths": {"data_dir": "nowhere"}})
    context.data = OmegaConf.merge(OmegaConf.load(path), OmegaConf.from_dotlist(list(overrides)))
    return context.data


def test_the_options_are_those_of_the_splits():
    assert get_type_hints(SplitOptions) == get_type_hints(Splits)


def test_the_keys_of_all_datasets_are_those_of_splits_and_loading():
    hints = get_type_hints(Splits) | get_type_hints(Loading)
    assert get_type_hints(DataOptions) == hints


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_how_batches_are_made_is_the_same_in_every_config(path):
    config = load(path)
    assert (config.loader, config.device_share, config.workers) == ("auto", 0.5, None)
    assert Loading() == Loading(config.loader, config.device_share, config.workers)


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_keys_are_the_arguments_of_the_target(path):
    config = load(path)
    parameters = inspect.signature(get_method(config["_target_"])).parameters.values()
    named = {p.name for p in parameters if p.kind is p.KEYWORD_ONLY}
    assert {p.kind for p in parameters} == {
        inspect.Parameter.KEYWORD_ONLY,
        inspect.Parameter.VAR_KEYWORD,
    }
    assert set(config) - {"_target_"} == named | set(get_type_hints(DataOptions))


@pytest.mark.parametrize("name", ["digits", "one_dimensional"])
def test_what_needs_no_files_can_be_composed(name):
    data = instantiate(load(FOLDER / f"{name}.yaml", "validation=0", "subset=500"))
    assert (len(data.pool_rows), len(data.validation_rows)) == (500, 0)


@pytest.mark.parametrize("name", ["digits", "one_dimensional"])
def test_how_batches_are_made_reaches_the_dataset_and_changes_no_fingerprint(name):
    plain = instantiate(load(FOLDER / f"{name}.yaml"))
    other = instantiate(
        load(FOLDER / f"{name}.yaml", "loader=workers", "device_share=0.25", "workers=3")
    )
    assert other.loading == Loading("workers", 0.25, 3)
    assert other.fingerprint == plain.fingerprint


def test_importing_the_datasets_is_cheap():
    names = ("array", "dataset", "digits", "one_dimensional", "vision")
    modules = ", ".join(f"alframe.data.{name}" for name in names)
    heavy = "[m for m in ('torch', 'torchvision', 'sklearn', 'scipy') if m in sys.modules]"
    code = f"import sys, {modules}; print({heavy})"
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert result.stdout.strip() == "[]"
