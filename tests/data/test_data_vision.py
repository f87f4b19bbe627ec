import hashlib
import os
import pickle
from urllib.error import URLError

import numpy as np
import pytest
import torchvision.datasets

from alframe.data.vision import torchvision_dataset
from alframe.errors import UserError

RNG = np.random.default_rng(0)


def write_idx(path, array):
    head = bytes([0, 0, 8, array.ndim]) + np.array(array.shape, ">i4").tobytes()
    path.write_bytes(head + array.tobytes())


@pytest.fixture
def fashion(tmp_path):
    """A Fashion-MNIST of 30 and 10 images, in the official format."""
    folder = tmp_path / "FashionMNIST" / "raw"
    folder.mkdir(parents=True)
    parts = {}
    for part, rows in (("train", 30), ("t10k", 10)):
        images = RNG.integers(0, 256, (rows, 28, 28), dtype=np.uint8)
        labels = (np.arange(rows) % 10).astype(np.uint8)
        write_idx(folder / f"{part}-images-idx3-ubyte", images)
        write_idx(folder / f"{part}-labels-idx1-ubyte", labels)
        parts[part] = images, labels
    return tmp_path, parts


@pytest.fixture
def cifar100(tmp_path, monkeypatch):
    """A CIFAR-100 of 200 and 100 images, in the official format."""
    reader = torchvision.datasets.CIFAR100
    folder = tmp_path / reader.base_folder
    folder.mkdir()
    parts = {}

    def write(name, content):
        data = pickle.dumps(content)
        (folder / name).write_bytes(data)
        return hashlib.md5(data).hexdigest()

    for part, rows in (("train", 200), ("test", 100)):
        pixels = RNG.integers(0, 256, (rows, 3072), dtype=np.uint8)
        labels = [row % 100 for row in range(rows)]
        md5 = write(part, {"data": pixels, "fine_labels": labels})
        monkeypatch.setattr(reader, f"{part}_list", [[part, md5]])
        parts[part] = pixels, labels
    names = [f"class {number:02}" for number in range(100)]
    md5 = write("meta", {"fine_label_names": names})
    monkeypatch.setattr(reader, "meta", {**reader.meta, "md5": md5})
    return tmp_path, parts


def test_fashion_mnist_gets_a_channel_axis(fashion):
    root, parts = fashion
    data = torchvision_dataset(name="fashion_mnist", root=str(root), download=False, validation=10)
    assert (data.name, data.input_shape, data.num_rows) == ("fashion_mnist", (28, 28, 1), 30)
    np.testing.assert_array_equal(data.inputs[..., 0], parts["train"][0])
    np.testing.assert_array_equal(data.test_inputs[..., 0], parts["t10k"][0])
    np.testing.assert_array_equal(data.reveal(np.arange(30)), parts["train"][1])
    assert data.classes[0] == "T-shirt/top"
    assert (len(data.pool_rows), len(data.validation_rows)) == (20, 10)


def test_cifar100_has_its_fine_labels_and_the_channels_last(cifar100):
    root, parts = cifar100
    data = torchvision_dataset(name="cifar100", root=str(root), download=False)
    assert (data.name, data.input_shape, data.num_classes) == ("cifar100", (32, 32, 3), 100)
    pixels, labels = parts["train"]
    planes = pixels.reshape(200, 3, 32, 32)
    for channel in range(3):
        np.testing.assert_array_equal(data.inputs[..., channel], planes[:, channel])
    np.testing.assert_array_equal(data.reveal(np.arange(200)), labels)
    np.testing.assert_array_equal(data.test_labels, parts["test"][1])
    assert data.classes[99] == "class 99"


@pytest.mark.skipif(
    "ALFRAME_DATA_DIR" not in os.environ,
    reason="ALFRAME_DATA_DIR, the directory with cifar-10-batches-py, is not set",
)
def test_the_real_cifar10():
    root = os.environ["ALFRAME_DATA_DIR"]
    data = torchvision_dataset(name="cifar10", root=root, download=False, validation=0.1)
    assert data.inputs.shape == (50_000, 32, 32, 3)
    assert data.test_inputs.shape == (10_000, 32, 32, 3)
    labels = data.reveal(np.arange(50_000))
    np.testing.assert_array_equal(np.bincount(labels), [5000] * 10)
    np.testing.assert_array_equal(np.bincount(data.test_labels), [1000] * 10)
    np.testing.assert_array_equal(np.bincount(labels[data.validation_rows]), [500] * 10)
    np.testing.assert_array_equal(np.bincount(labels[data.pool_rows]), [4500] * 10)
    assert data.classes[:2] == ("airplane", "automobile")
    # The well-known moments of its training images.
    np.testing.assert_allclose(data.mean / 255, [0.4914, 0.4822, 0.4465], atol=1e-4)
    np.testing.assert_allclose(data.std / 255, [0.2470, 0.2435, 0.2616], atol=1e-4)


@pytest.mark.parametrize("name", ["cifar10", "cifar100", "fashion_mnist"])
def test_absent_data_are_refused_with_advice(name, tmp_path):
    with pytest.raises(UserError) as refusal:
        torchvision_dataset(name=name, root=str(tmp_path), download=False)
    message = str(refusal.value)
    assert message.startswith(f"paths.data_dir={tmp_path}: expected {name} in {tmp_path}/")
    assert "data.download=true" in message


@pytest.mark.parametrize("name", ["cifar10", "cifar100", "fashion_mnist"])
def test_a_failed_download_is_refused_with_advice(name, tmp_path, monkeypatch):
    def unreachable(*args, **kwargs):
        raise URLError("no route to host")

    for module in ("cifar", "mnist"):
        monkeypatch.setattr(
            f"torchvision.datasets.{module}.download_and_extract_archive", unreachable
        )
    with pytest.raises(UserError, match=r"paths\.data_dir=.*the download failed: .*no route"):
        torchvision_dataset(name=name, root=str(tmp_path), download=True)


def test_what_is_there_is_not_downloaded(fashion, monkeypatch):
    def unwanted(self):
        raise AssertionError("downloaded although it is there")

    monkeypatch.setattr(torchvision.datasets.FashionMNIST, "download", unwanted)
    assert torchvision_dataset(name="fashion_mnist", root=str(fashion[0])).num_rows == 30


def test_what_is_absent_is_downloaded(fashion, tmp_path_factory, monkeypatch):
    source, _ = fashion
    empty = tmp_path_factory.mktemp("empty")

    def fetch(self):
        if not (empty / "FashionMNIST").exists():
            (source / "FashionMNIST").rename(empty / "FashionMNIST")

    monkeypatch.setattr(torchvision.datasets.FashionMNIST, "download", fetch)
    assert torchvision_dataset(name="fashion_mnist", root=str(empty)).num_rows == 30


def test_damaged_data_are_refused(fashion):
    root, _ = fashion
    file = root / "FashionMNIST" / "raw" / "train-images-idx3-ubyte"
    file.write_bytes(file.read_bytes()[:1000])
    with pytest.raises(UserError, match=r"paths\.data_dir=.*absent or damaged"):
        torchvision_dataset(name="fashion_mnist", root=str(root), download=False)


def test_an_unknown_name_is_refused(tmp_path):
    with pytest.raises(UserError, match=r"data\.name=mnist: expected one of cifar10, cifar100, "):
        torchvision_dataset(name="mnist", root=str(tmp_path))


def test_splits_are_checked_before_the_data(tmp_path):
    with pytest.raises(UserError, match=r"data\.validation=2\.0: "):
        torchvision_dataset(name="cifar10", root=str(tmp_path), validation=2.0)
