"""Networks with weights from files give what a direct forward pass gives, or a clear refusal."""

from __future__ import annotations

import os
import pickle
import sys
from functools import partial

import numpy as np
import pytest
import torch
import torchvision
from encoder_parts import arrays, by_hand, dataset
from safetensors.torch import save_file
from torch import nn
from torchvision.transforms import functional

from alframe.data.dataset import Splits, build_dataset
from alframe.encoders.images import ImageInputs
from alframe.encoders.timm import TimmEncoder
from alframe.encoders.torchvision import MEAN, STD, TorchvisionEncoder
from alframe.encoders.weights import WeightsEncoder
from alframe.errors import UserError
from alframe.learners.hardware import Hardware
from alframe.models.mlp import MLP
from alframe.models.small_cnn import SmallCNN

CPU = Hardware("cpu")
SMALL = "shufflenet_v2_x0_5"  # torchvision's smallest network


def cnn(classes=3, seed=0):
    torch.manual_seed(seed)
    network = SmallCNN(classes, (8, 8, 1), width=4)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):  # else evaluation mode would make no difference
            module.running_mean.uniform_(-1, 1)
            module.running_var.uniform_(0.5, 2)
    return network.eval()


def save(file, weights):
    if file.suffix == ".safetensors":
        save_file({name: tensor.contiguous() for name, tensor in weights.items()}, file)
    else:
        torch.save(weights, file)
    return file


def make(file, model=SmallCNN, width=4, **options):
    return WeightsEncoder(dataset(), CPU, partial(model, width=width), str(file), **options)


@pytest.mark.parametrize("kind", ["safetensors", "pt", "a checkpoint", "DataParallel"])
def test_a_model_of_ours(tmp_path, kind):
    network = cnn()
    weights = dict(network.state_dict())
    if kind == "a checkpoint":
        weights = {"epoch": 3, "state_dict": {f"model.{n}": t for n, t in weights.items()}}
    elif kind == "DataParallel":
        weights = {f"module.{name}": tensor for name, tensor in weights.items()}
    ending = "safetensors" if kind == "safetensors" else "pt"
    encoder = make(save(tmp_path / f"weights.{ending}", weights))
    inputs = arrays()["inputs"]
    expected = by_hand(network.embed, inputs, like=inputs)
    np.testing.assert_allclose(encoder.embed(inputs), expected, rtol=1e-4, atol=1e-5)
    assert (encoder.name, encoder.width) == ("SmallCNN", 16)


def test_another_layer_and_another_number_of_classes(tmp_path):
    torch.manual_seed(0)
    network = MLP(5, (8, 8, 1), hidden=[7, 6]).eval()
    file = save(tmp_path / "mlp.pt", network.state_dict())
    inputs = arrays()["inputs"]
    encoder = WeightsEncoder(dataset(), CPU, partial(MLP, hidden=[7, 6]), str(file), 5)
    expected = by_hand(network.embed, inputs, like=inputs)
    np.testing.assert_allclose(encoder.embed(inputs), expected, rtol=1e-4, atol=1e-5)
    assert encoder.width == 6
    with pytest.raises(UserError, match=r"holds head\.weight \[5, 6\] for \[3, 6\].*num_classes"):
        WeightsEncoder(dataset(), CPU, partial(MLP, hidden=[7, 6]), str(file))


def test_the_hash_is_of_weights_and_of_how_inputs_are_standardized(tmp_path):
    weights = cnn().state_dict()
    one = make(save(tmp_path / "one.pt", weights))
    assert make(save(tmp_path / "two.safetensors", weights)).weights_hash == one.weights_hash
    bright = dataset(brightness=90)  # which is standardized by other numbers
    other = WeightsEncoder(bright, CPU, partial(SmallCNN, width=4), str(tmp_path / "one.pt"))
    assert other.weights_hash != one.weights_hash
    weights["head.bias"][1] += 1e-3
    assert make(save(tmp_path / "three.pt", weights)).weights_hash != one.weights_hash


def test_the_global_random_state_is_left_alone(tmp_path):
    file = save(tmp_path / "weights.pt", cnn().state_dict())
    torch.manual_seed(7)
    before = torch.get_rng_state()
    make(file)
    assert torch.equal(torch.get_rng_state(), before)


class Code:
    """What must not run when a file of weights is read."""

    def __reduce__(self):
        return os.mkdir, ("ran",)


def test_no_code_in_a_file_runs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    torch.save({"head.bias": Code()}, "code.pt")
    (tmp_path / "plain.pt").write_bytes(pickle.dumps(Code(), protocol=2))
    for name in ("code.pt", "plain.pt"):
        with pytest.raises(UserError, match=rf"encoder\.file={name}: expected a \.safetensors"):
            make(name)
    assert not (tmp_path / "ran").exists()


def wrong(folder):
    good = cnn().state_dict()
    save(folder / "good.pt", good)
    save(folder / "short.pt", {name: t for name, t in good.items() if name != "head.bias"})
    save(folder / "more.pt", {**good, "extra": torch.zeros(1)})
    save(folder / "numbers.pt", {"epoch": 3})
    save(folder / "good.safetensors", good)
    for name in ("good.pt", "good.safetensors"):
        content = (folder / name).read_bytes()
        (folder / f"cut_{name}").write_bytes(content[: len(content) // 2])
    (folder / "text.safetensors").write_text("no tensors")


WRONG = {
    "absent.pt": "expected a file, but there is none",
    "short.pt": r"lacks head\.bias: expected the weights of SmallCNN",
    "more.pt": r"also holds extra: expected",
    "numbers.pt": r"plain tensors by name",
    "cut_good.pt": r"plain tensors by name",
    "cut_good.safetensors": r"plain tensors by name",
    "text.safetensors": r"plain tensors by name",
}


@pytest.mark.parametrize("name", WRONG)
def test_a_file_without_the_weights_is_refused(tmp_path, monkeypatch, name):
    wrong(tmp_path)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match=rf"encoder\.file={name}.*{WRONG[name]}"):
        make(name)


@pytest.mark.parametrize("classes", [0, "ten"])
def test_no_number_of_classes(tmp_path, classes):
    file = save(tmp_path / "weights.pt", cnn().state_dict())
    with pytest.raises(UserError, match=rf"encoder\.num_classes={classes}"):
        make(file, num_classes=classes)


def test_another_width_is_refused(tmp_path):
    file = save(tmp_path / "weights.pt", cnn().state_dict())
    with pytest.raises(UserError, match=r"holds .* and \d+ more.*model@encoder\.model"):
        make(file, width=5)


class Strange(nn.Module):
    """Its embedding has two axes for each row."""

    def __init__(self, num_classes, input_shape):
        super().__init__()
        self.last = nn.Linear(8, num_classes)

    def forward(self, inputs):
        return self.last(inputs[:, 0])


class Picky(nn.Module):
    """Takes features only."""

    def __init__(self, num_classes, input_shape):
        super().__init__()
        self.last = nn.Linear(64, num_classes)

    def forward(self, inputs):
        return self.last(inputs)


def test_a_network_that_does_not_fit_is_refused(tmp_path):
    strange = save(tmp_path / "strange.pt", Strange(3, None).state_dict())
    with pytest.raises(UserError, match=r"Strange gives embeddings of shape \(1, 8, 8\)"):
        WeightsEncoder(dataset(), CPU, Strange, str(strange))
    picky = save(tmp_path / "picky.pt", Picky(3, None).state_dict())
    with pytest.raises(UserError, match=r"Picky does not take rows of shape \(8, 8, 1\)"):
        WeightsEncoder(dataset(), CPU, Picky, str(picky))


# --- torchvision and timm ------------------------------------------------------------------------


@pytest.mark.parametrize("size", [5, 8, 20])
@pytest.mark.parametrize("channels", [1, 3])
def test_images_are_resized_as_torchvision_does_it(size, channels):
    pixels = np.random.default_rng(0).integers(0, 256, (4, 8, 8, channels), dtype=np.uint8)
    images = torch.from_numpy(pixels).permute(0, 3, 1, 2).expand(-1, 3, -1, -1) / 255
    resized = functional.resize(images, [size, size], antialias=True)
    made = ImageInputs(size, MEAN, STD, CPU.device)(torch.from_numpy(pixels))
    torch.testing.assert_close(made, functional.normalize(resized, MEAN, STD))


@pytest.mark.parametrize("classes", [1000, 4])
def test_torchvision_with_a_file(tmp_path, classes):
    torch.manual_seed(1)
    network = torchvision.models.get_model(SMALL, weights=None, num_classes=classes).eval()
    file = save(tmp_path / "weights.pt", network.state_dict())
    encoder = TorchvisionEncoder(dataset(), CPU, SMALL, str(file), size=32)
    inputs = arrays()["inputs"][:5]
    images = torch.from_numpy(inputs).permute(0, 3, 1, 2).expand(-1, 3, -1, -1)
    resized = functional.resize(images / 255, [32, 32], antialias=True)
    normal = functional.normalize(resized, MEAN, STD)
    network.fc = nn.Identity()
    with torch.no_grad():
        expected = network(normal).numpy()
    assert encoder.width == expected.shape[1] == 1024
    np.testing.assert_allclose(encoder.embed(inputs), expected, rtol=1e-3, atol=1e-5)
    assert encoder.name == f"torchvision {SMALL} at 32 pixels"


def test_torchvision_without_its_hub(monkeypatch):
    def offline(*args, **named):
        raise OSError("no route to host")

    monkeypatch.setattr(torchvision.models, "get_model", offline)
    with pytest.raises(UserError, match=r"encoder\.weights=hub.*no route to host.*FILE"):
        TorchvisionEncoder(dataset(), CPU, SMALL)


def test_torchvision_mistakes(tmp_path):
    file = save(tmp_path / "weights.pt", cnn().state_dict())
    with pytest.raises(UserError, match=r"encoder\.name=resnet5: expected a model of torchvision"):
        TorchvisionEncoder(dataset(), CPU, "resnet5", str(file))
    with pytest.raises(UserError, match=r"encoder\.weights=.*lacks .*encoder\.name"):
        TorchvisionEncoder(dataset(), CPU, SMALL, str(file))
    with pytest.raises(UserError, match=r"encoder\.size=0"):
        TorchvisionEncoder(dataset(), CPU, SMALL, str(file), size=0)


def test_images_of_a_size_that_a_network_does_not_take_name_the_key(tmp_path, monkeypatch):
    """A vision transformer asserts its size, where a convolutional network takes any."""

    def small(name, weights=None, num_classes=7):
        return torchvision.models.VisionTransformer(32, 16, 1, 1, 8, 8, num_classes=num_classes)

    monkeypatch.setattr(torchvision.models, "get_model", small)
    file = save(tmp_path / "weights.pt", small("vit").state_dict())
    assert TorchvisionEncoder(dataset(), CPU, "vit", str(file), size=32).width == 8
    with pytest.raises(UserError, match=r"at 48 pixels does not take .*change encoder\.size or"):
        TorchvisionEncoder(dataset(), CPU, "vit", str(file), size=48)


def test_timm_that_is_absent(monkeypatch):
    monkeypatch.setitem(sys.modules, "timm", None)
    with pytest.raises(UserError, match=r"encoder=timm: expected the package timm.*pip install"):
        TimmEncoder(dataset(), CPU, "resnet10t")


def test_timm_with_a_file(tmp_path):
    timm = pytest.importorskip("timm")
    torch.manual_seed(2)
    network = timm.create_model("resnet10t", num_classes=7).eval()
    file = save(tmp_path / "weights.safetensors", network.state_dict())
    encoder = TimmEncoder(dataset(), CPU, "resnet10t", str(file), size=32)
    inputs = arrays()["inputs"][:5]
    about = timm.data.resolve_model_data_config(network)
    images = torch.from_numpy(inputs).permute(0, 3, 1, 2).expand(-1, 3, -1, -1) / 255
    images = nn.functional.interpolate(images, (32, 32), mode="bilinear", antialias=True)
    mean, std = (torch.tensor(about[name]).view(-1, 1, 1) for name in ("mean", "std"))
    with torch.no_grad():
        expected = network.forward_head(
            network.forward_features((images - mean) / std), pre_logits=True
        )
    np.testing.assert_allclose(encoder.embed(inputs), expected.numpy(), rtol=1e-3, atol=1e-5)
    with pytest.raises(UserError, match=r"encoder\.name=resnet10: expected a model that timm"):
        TimmEncoder(dataset(), CPU, "resnet10", str(file))


@pytest.mark.parametrize("kind", ["torchvision", "timm"])
def test_features_are_no_images(kind):
    part = np.zeros((9, 4), np.float32), np.arange(9) % 3
    data = build_dataset("flat", part, part, None, Splits())
    made = {"torchvision": TorchvisionEncoder, "timm": TimmEncoder}[kind]
    with pytest.raises(UserError, match=rf"encoder={kind}: expected gray or color images"):
        made(data, CPU, "resnet10t")
