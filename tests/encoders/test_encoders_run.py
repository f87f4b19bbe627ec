"""The model of a run is found, restored, and looks at inputs as it did in its training."""

from __future__ import annotations

import shutil

import numpy as np
import pytest
import torch
from encoder_parts import arrays, by_hand, dataset

from alframe.cli import run
from alframe.cli.build import build
from alframe.cli.trained import TrainedModels, _chosen
from alframe.data.array import array
from alframe.data.dataset import Splits, build_dataset
from alframe.encoders.run import RunEncoder
from alframe.errors import UserError
from alframe.learners.hardware import Hardware
from alframe.models.small_cnn import SmallCNN

CPU = Hardware("cpu")
TINY = (
    "data=array",
    "data.validation=9",
    "schedule.initial=10",
    "schedule.query_size=10",
    "schedule.budget=20",
    "strategy=margin",
    "trainer=cpu",
    "logger=[]",
)


def cnn(role):
    recipe = f"{role}.recipe"
    return (f"{recipe}.min_steps=0", f"{recipe}.epochs=2", f"{recipe}.checkpoint_seconds=0")


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A run whose proxy is a CNN and whose target is an ensemble of two, with shared fits."""
    folder = tmp_path_factory.mktemp("runs")
    np.savez(folder / "toy.npz", **arrays())
    run(
        *TINY,
        f"data.path={folder / 'toy.npz'}",
        "learner@proxy=small_cnn",
        "proxy.model.width=4",
        *cnn("proxy"),
        "learner@target=ensemble",
        "target.members=2",
        "target.member.model.width=6",
        *cnn("target.member"),
        f"run_dir={folder / 'cnn'}",
        f"share.dir={folder / 'shared'}",
    )
    return folder


def node(folder):
    return {
        "_target_": "alframe.data.array.array",
        "path": str(folder / "toy.npz"),
        "validation": 9,
    }


def encoder(folder, data=None, run="cnn", **options):
    here = array(path=str(folder / "toy.npz"), validation=9)
    data = here if data is None else data
    trained = TrainedModels(node(folder), data, CPU)
    return RunEncoder(data, CPU, trained, str(folder / run), **options)


def twin(file, width, prefix="weight/"):
    """The network in a fit's file, read by numpy and torch alone."""
    with np.load(file) as state:
        weights = {
            key.removeprefix(prefix): torch.from_numpy(state[key])
            for key in state.files
            if key.startswith(prefix)
        }
    network = SmallCNN(3, (8, 8, 1), width)
    network.load_state_dict(weights)
    return network.eval()


@pytest.mark.parametrize("fit", [None, "round_001_proxy"])
def test_the_embeddings_are_those_of_a_direct_forward_pass(place, fit):
    made = encoder(place, model="proxy", fit=fit)
    inputs = arrays()["inputs"]
    network = twin(place / "cnn" / "fits" / "round_001_proxy" / "fitted.npz", 4)
    expected = by_hand(network.embed, inputs[:7], like=inputs)
    embedded = made.embed(inputs[:7])
    assert (made.width, embedded.shape, embedded.dtype) == (16, (7, 16), np.float32)
    np.testing.assert_allclose(embedded, expected, rtol=1e-4, atol=1e-5)
    assert np.ptp(expected, axis=0).max() > 0.1


def test_an_ensemble_embeds_with_its_first_member(place):
    made = encoder(place)
    inputs = arrays()["inputs"]
    file = place / "cnn" / "fits" / "round_001_target" / "fitted.npz"
    first, second = (twin(file, 6, f"member_{i}/weight/") for i in (0, 1))
    expected = by_hand(first.embed, inputs, like=inputs)
    np.testing.assert_allclose(made.embed(inputs), expected, rtol=1e-4, atol=1e-5)
    assert np.abs(by_hand(second.embed, inputs, like=inputs) - expected).max() > 0.01


def test_a_data_directory_goes_to_datasets_that_have_one(place):
    """The run's dataset is a file; that of today lies in a directory."""
    bright = dataset(seed=3, brightness=90)
    trained = TrainedModels({"root": "elsewhere"}, bright, CPU)
    assert trained(str(place / "cnn"), "proxy", None).data.mean != bright.mean
    cifar = {"_target_": "alframe.data.vision.torchvision_dataset", "name": "cifar10", "root": "x"}
    assert trained._found_here(cifar)["root"] == "elsewhere"
    del cifar["root"]  # of a shared fit, which does not know where its data lay
    assert trained._found_here(cifar)["root"] == "elsewhere"
    assert "root" not in trained._found_here({"_target_": "alframe.data.digits.digits"})


def test_other_data_are_standardized_as_the_training_data_were(place):
    bright = dataset(seed=3, brightness=90)
    made = encoder(place, bright, model="proxy")
    network = twin(place / "cnn" / "fits" / "round_001_proxy" / "fitted.npz", 4)
    expected = by_hand(network.embed, bright.inputs, like=arrays()["inputs"])
    np.testing.assert_allclose(made.embed(bright.inputs), expected, rtol=1e-4, atol=1e-5)
    assert made.weights_hash == encoder(place, model="proxy").weights_hash


def test_shared_fits_are_those_that_the_run_has(place):
    shared = [
        encoder(place, run=f"shared/{file.parent.name}", model="proxy").weights_hash
        for file in (place / "shared").glob("*/fit.json")
        if "fit proxy" in file.read_text()
    ]
    assert len(shared) == 2  # one for each round
    assert shared.count(encoder(place, model="proxy").weights_hash) == 1


def test_the_hash_is_of_weights_and_of_how_inputs_are_standardized(place):
    proxy, target = encoder(place, model="proxy"), encoder(place)
    assert proxy.weights_hash == encoder(place, model="proxy").weights_hash
    assert proxy.weights_hash != target.weights_hash
    assert proxy.name == target.name == "SmallCNN"


@pytest.mark.parametrize(
    ("names", "model", "chosen"),
    [
        (["full_target", "proxy", "size_000_target"], "target", "full_target"),
        (["full_target", "proxy", "size_000_target"], "proxy", "proxy"),
        (["round_000_target", "round_010_target", "round_010_proxy"], "target", "round_010_target"),
        (["short_00_proxy", "size_000_target", "size_001_target"], "target", None),
        (["short_00_proxy", "size_000_target"], "proxy", None),
    ],
)
def test_which_fit_stands_for_a_run(names, model, chosen):
    assert _chosen(names, model, finished=True) == chosen
    assert _chosen(names, model, finished=False) is None


def copy(place, folder, change=None):
    shutil.copytree(place / "cnn", folder / "cnn")
    shutil.copy(place / "toy.npz", folder / "toy.npz")
    if change is not None:
        change(folder)
    return folder


def test_a_run_that_is_not_finished_has_no_last_round(place, tmp_path):
    def stop(folder):
        status = folder / "cnn" / "status.json"
        status.write_text(status.read_text().replace('"state": "done"', '"state": "running"'))

    folder = copy(place, tmp_path, stop)
    with pytest.raises(UserError, match=r"encoder\.fit=None: expected.* has round_001_proxy;"):
        encoder(folder, model="proxy")
    assert encoder(folder, model="proxy", fit="round_001_proxy").width == 16


def test_data_that_changed_since_are_refused(place, tmp_path):
    """The run's own file is read where the data that are embedded are others."""
    folder = copy(place, tmp_path)
    config = folder / "cnn" / "config.yaml"
    config.write_text(config.read_text().replace(str(place), str(folder)))
    np.savez(folder / "toy.npz", **arrays(seed=9))
    with pytest.raises(UserError, match=r"encoder\.run=.*trained on data of fingerprint"):
        encoder(folder, dataset(seed=3), model="proxy")
    (folder / "toy.npz").unlink()
    other = dataset(seed=3)
    with pytest.raises(UserError, match=r"standardized, but cannot be had: data\.path="):
        RunEncoder(other, CPU, TrainedModels({}, other, CPU), str(folder / "cnn"), "proxy")


def test_an_altered_fit_is_refused(place, tmp_path):
    folder = copy(place, tmp_path)
    file = folder / "cnn" / "fits" / "round_001_proxy" / "fitted.npz"
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)
    with pytest.raises(UserError, match=r"fitted\.npz cannot be restored.*sha256"):
        encoder(folder, model="proxy")


def test_a_probe_has_no_network(place, tmp_path):
    path = f"data.path={place / 'toy.npz'}"
    run(*TINY, path, "learner@target=probe", f"run_dir={tmp_path / 'probe'}")
    with pytest.raises(UserError, match=r"ProbeLearner, which has no network; use encoder=raw"):
        encoder(place, run=str(tmp_path / "probe"))
    with pytest.raises(UserError, match=r"encoder\.model=proxy: the run at .* has none"):
        encoder(place, run=str(tmp_path / "probe"), model="proxy")


MISTAKES = [
    ({"run": "absent"}, r"encoder\.run=.*expected a run directory or the folder of a shared fit"),
    ({"model": "both"}, r"encoder\.model=both: expected target or proxy"),
    ({"fit": "round_009_target"}, r"encoder\.fit=round_009_target.* has round_001_target;"),
    ({"fit": "round_001_proxy"}, r"encoder\.fit=round_001_proxy: expected.*of the target"),
    ({"fit": "../../x_target"}, r"encoder\.fit=\.\./\.\./x_target"),
]


@pytest.mark.parametrize(("options", "says"), MISTAKES)
def test_a_mistake_is_named(place, options, says):
    with pytest.raises(UserError, match=says):
        encoder(place, **options)


def test_rows_of_another_shape_are_refused(place):
    parts = arrays()
    tall = {key: parts[key].repeat(2, axis=1) for key in ("inputs", "test_inputs")}
    train, test = (tall["inputs"], parts["labels"]), (tall["test_inputs"], parts["test_labels"])
    data = build_dataset("tall", train, test, None, Splits())
    with pytest.raises(
        UserError, match=r"trained on rows of shape \(8, 8, 1\), got .*\(16, 8, 1\)"
    ):
        encoder(place, data, model="proxy")


def test_it_is_built_from_its_config(place):
    data = array(path=str(place / "toy.npz"), validation=9)
    config = {"encoder": {"_target_": "alframe.encoders.run.RunEncoder", "run": str(place / "cnn")}}
    trained = TrainedModels(node(place), data, CPU)
    made = build(config, "encoder", data=data, hardware=CPU, trained=trained)
    assert made.weights_hash == encoder(place).weights_hash
