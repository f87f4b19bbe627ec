"""alframe-embed: the bytes of a store, whatever was interrupted; mistakes in one sentence."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys

import numpy as np
import pytest
import torch
from store_parts import contents
from tiny_runs import environment

import alframe.cli.embed
from alframe.cli.build import check_keys
from alframe.cli.compose import CONFIGS
from alframe.cli.embed import main
from alframe.cli.filling import in_batches
from alframe.data.digits import digits
from alframe.encoders.raw import RawEncoder
from alframe.store import Store

ENCODERS = sorted(file.stem for file in (CONFIGS / "encoder").glob("*.yaml"))
MORE = {
    "run": ["encoder.run=runs/x"],
    "weights": ["encoder.file=weights.pt"],
    "timm": ["encoder.name=resnet10t"],
}


def embed(*words):
    return main(["data.validation=0", "trainer=cpu", *words])


@pytest.mark.parametrize("split", ["train", "test"])
def test_a_store_holds_every_row_of_a_split_in_order(workdir, split):
    assert embed(f"split={split}", "out=a b/store", "store.dtype=float32", "batch_size=7") == 0
    store, data = Store.open("a b/store"), digits()
    inputs = data.inputs if split == "train" else data.test_inputs
    expected = (inputs.astype(np.float64) - data.mean) / data.std
    taken = store.take(np.arange(store.num_rows))
    np.testing.assert_allclose(taken, expected.reshape(len(inputs), -1), rtol=1e-5, atol=1e-6)
    assert store.parts["split"] == split
    assert store.parts["encoder"] == "raw"


def test_the_same_command_again_finds_everything_there(workdir, capsys):
    words = ("out=store", "store.rows_per_shard=500")
    assert embed(*words) == 0
    before = contents("store")
    assert "1797 rows of 64 float16 values embedded" in capsys.readouterr().err
    assert embed(*words, "store.verify=true") == 0
    said = capsys.readouterr().err
    assert "0 rows of 64" in said
    assert "4 of 4 shards were there" in said
    assert contents("store") == before


def test_machines_share_the_work(workdir):
    words = ("store.rows_per_shard=500",)
    for part in ("2/3", "1/3", "3/3"):
        assert embed(*words, "out=shared", f"store.shard={part}") == 0
        if part == "2/3":
            assert [file.name for file in workdir.glob("shared/*.npy")] == ["shard_00001.npy"]
    assert embed(*words, "out=alone") == 0
    assert contents("shared") == contents("alone")


BLOCKED = """
import sys
from pathlib import Path

from alframe.encoders.raw import RawEncoder


class Blocked(RawEncoder):
    batches = 0

    def embed(self, inputs):
        self.batches += 1
        if self.batches == 12 and Path("block").exists():
            print("in the middle", flush=True)
            sys.stdin.read()
            raise KeyboardInterrupt
        return super().embed(inputs)
"""
IN_CHUNKS_OF_A_BATCH = """
import sys
import alframe.cli.embed
import alframe.cli.filling
alframe.cli.filling.CHUNK_BYTES = 1
sys.exit(alframe.cli.embed.main(sys.argv[1:]))
"""


def interrupted(words, monkeypatch):
    monkeypatch.setattr(sys, "stdin", io.StringIO())
    assert main([*words, "out=stopped"]) == 130


def killed(words, monkeypatch):
    process = subprocess.Popen(
        [sys.executable, "-c", IN_CHUNKS_OF_A_BATCH, *words, "out=stopped"],
        env=environment(PYTHONPATH=os.pathsep.join([".", environment()["PYTHONPATH"]])),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert "middle" in process.stdout.readline()
    process.kill()
    process.communicate()


@pytest.mark.parametrize("stop", [interrupted, pytest.param(killed, marks=pytest.mark.slow)])
def test_stopped_in_the_middle_the_same_command_gives_the_same_bytes(
    workdir, monkeypatch, capsys, stop
):
    (workdir / "blocked.py").write_text(BLOCKED)
    (workdir / "block").touch()
    monkeypatch.syspath_prepend(workdir)
    monkeypatch.delitem(sys.modules, "blocked", raising=False)
    monkeypatch.setattr("alframe.cli.filling.CHUNK_BYTES", 1)
    words = ["encoder._target_=blocked.Blocked", "batch_size=50", "store.rows_per_shard=1000"]
    words += ["store.checkpoint_seconds=0", "data.validation=0", "trainer=cpu"]
    stop(words, monkeypatch)
    (workdir / "block").unlink()
    assert main([*words, "out=stopped"]) == 0
    assert f"{1797 - 550} rows of 64" in capsys.readouterr().err
    assert main([*words, "out=undisturbed"]) == 0
    assert contents("stopped") == contents("undisturbed")


def test_batches_are_those_of_a_range():
    data = digits()
    seen = []

    class Noted(RawEncoder):
        def embed(self, inputs):
            seen.append(len(inputs))
            return super().embed(inputs)

    encoder = Noted(data)
    embedded = in_batches(encoder, data.inputs, 30)(100, 175)
    np.testing.assert_array_equal(embedded, RawEncoder(data).embed(data.inputs[100:175]))
    assert seen == [30, 30, 15]


def test_too_large_a_batch_says_so(workdir, capsys, monkeypatch):
    def full(self, inputs):
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(RawEncoder, "embed", full)
    assert embed("out=store", "batch_size=99") == 2
    said = capsys.readouterr().err
    assert "encoder raw needs more memory for 99 rows at a time than there is" in said
    assert "lower batch_size, then run the same command again" in said


def test_a_terminal_shows_rows_and_rows_per_second(workdir, capsys, monkeypatch):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "100")
    assert embed("out=store", "store.rows_per_shard=500") == 0
    said = capsys.readouterr().err
    assert "1797/1797" in said
    assert "rows/s" in said


def test_embeddings_that_cannot_be_searched(workdir, capsys):
    features = np.random.default_rng(0).normal(size=(60, 4)).astype(np.float32)
    features[[5, 50]] = 0
    np.savez("mine.npz", features=features, labels=np.arange(60) % 3)
    words = ("data=array", "data.path=mine.npz", "data.standardize=false", "out=store")
    assert embed(*words) == 2
    assert "2 are zero throughout (rows 5, 50); all are kept" in capsys.readouterr().err
    assert embed(*words, "store.invalid=drop") == 0
    assert Store.open("store").invalid.tolist() == [5, 50]


def test_what_it_was_made_with_is_kept(workdir):
    assert embed("out=store") == 0
    about = json.loads((workdir / "store" / "store.json").read_text())["about"]
    assert about["data"] == "digits"
    assert about["config"] == {"_target_": "alframe.encoders.raw.RawEncoder"}
    assert {"created", "finished", "versions"} <= about.keys()


@pytest.mark.parametrize("name", ENCODERS)
def test_an_encoder_composes_and_has_the_keys_of_its_target(name):
    words = [f"encoder={name}", "out=x", *MORE.get(name, [])]
    config = alframe.cli.embed._compose(words, None)
    check_keys(config["encoder"], "encoder")
    check_keys(config["trainer"], "trainer")


MISTAKES = {
    "no out": ([], "out has no value: expected out=VALUE"),
    "an unknown key": (
        ["out=x", "spilt=test"],
        "spilt: expected a known config key (did you mean split?)",
    ),
    "an added key": (
        ["out=x", "+store.dtyp=float16"],
        "store.dtyp: expected a known config key (did you mean dtype?)",
    ),
    "an encoder's key": (["out=x", "+encoder.size=3"], "encoder.size: expected one of data"),
    "an encoder": (
        ["out=x", "encoder=raww"],
        "encoder=raww: expected one of raw, resnet20_cifar10, run",
    ),
    "no file": (["out=x", "encoder=weights"], "encoder.file has no value"),
    "a split": (["out=x", "split=validation"], "split=validation: expected train or test"),
    "a type": (["out=x", "store.dtype=int8"], "store.dtype=int8"),
    "a part": (["out=x", "store.shard=3/2"], "store.shard=3/2: expected i/n"),
    "no part": (["out=x", "store.shard=2"], "store.shard=2: expected i/n"),
    "a batch": (["out=x", "batch_size=0"], "batch_size=0"),
    "a time": (["out=x", "store.checkpoint_seconds=-1"], "store.checkpoint_seconds=-1"),
    "a file": (["out=file/x"], "out=file/x cannot be written"),
    "other files": (["out=."], "out=. is not empty and holds no store"),
    "no run": (["out=x", "encoder=run", "encoder.run=gone"], "encoder.run=gone: expected a run"),
}


@pytest.mark.parametrize("case", MISTAKES)
def test_a_mistake_is_one_sentence_and_nothing_is_written(workdir, capsys, case):
    (workdir / "file").write_text("no folder")
    words, says = MISTAKES[case]
    assert embed(*words) == 2
    said = capsys.readouterr().err.splitlines()
    assert len(said) == 1, said
    assert said[0].startswith(f"alframe-embed: {says}"), said
    assert [path.name for path in workdir.iterdir()] == ["file"]
