"""Stores that a run fills for itself, once for all runs that ask for the same embeddings."""

import errno
import json
import shutil
import subprocess
import sys
from collections import namedtuple
from pathlib import Path

import numpy as np
import pytest
from embedded_parts import embedded_words
from tiny_runs import ACTIVE, assert_same_results, environment, metrics, selections

from alframe.cli import run
from alframe.cli.embed import main as embed
from alframe.encoders.raw import RawEncoder
from alframe.errors import UserError
from alframe.store import Store
from alframe.store import plan as store_plan

MADE = (
    *ACTIVE, "logger=[]", "candidates=seals", "candidates.k=8", "embeddings.learn=true",
    "encoder@embeddings.encoder=raw", "embeddings.dir=made", "embeddings.dtype=float32",
)  # fmt: skip


def kept():
    return {path.name.rpartition("_")[0]: path for path in Path("made").iterdir()}


def test_it_is_as_with_stores_that_alframe_embed_filled(workdir):
    first = run(*MADE).path
    named = {}
    data = ("data.subset=300", "data.validation=100", "data.test=100")
    for split in ("train", "test"):
        words = ("data=digits", *data, "encoder=raw", "trainer=cpu", f"split={split}")
        assert embed([*words, f"out={split}", "store.dtype=float32"]) == 0
        named[split] = Store.open(split)
    assert kept().keys() == {"digits_train", "digits_test"}
    for split, store in named.items():
        made = Store.open(kept()[f"digits_{split}"])
        assert made.key == store.key
        assert (made.take([5, 3]) == store.take([5, 3])).all()
    by_hand = [w for w in MADE if not w.startswith(("encoder@", "embeddings.d"))]
    second = run(*by_hand, "embeddings.train=train", "embeddings.test=test").path
    assert_same_results(first, second)


def test_other_runs_find_them(workdir):
    run(*MADE, "seed=0")
    before = {path: path.stat().st_mtime_ns for path in Path("made").rglob("*") if path.is_file()}
    run(*MADE, "seed=1", "strategy=margin")
    after = {path: path.stat().st_mtime_ns for path in Path("made").rglob("*") if path.is_file()}
    changed = {path.name for path in after if after[path] != before.get(path)}
    assert all(name.endswith("lock") for name in changed)
    run(*MADE, "embeddings.dtype=float16")
    assert len(list(Path("made").iterdir())) == 4


def test_without_learners_that_see_them_only_the_training_rows_are_embedded(workdir):
    run(*MADE, "embeddings.learn=false")
    assert kept().keys() == {"digits_train"}


@pytest.mark.slow
def test_two_runs_at_once_fill_each_store_once(workdir):
    """Under the same lock, whoever comes second waits or finds it complete."""
    command = [sys.executable, "-m", "alframe", *MADE]
    both = [
        subprocess.Popen(
            [*command, f"run_dir=run_{i}"], env=environment(), cwd=workdir,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        )
        for i in range(2)
    ]  # fmt: skip
    said = "".join(process.communicate()[0] for process in both)
    assert [process.returncode for process in both] == [0, 0], said
    assert_same_results(Path("run_0"), Path("run_1"))
    assert said.count("rows embedded") == 2, said  # train and test


def test_a_resumed_run_may_have_them_elsewhere(workdir):
    path = run(*MADE, "run_dir=mine").path
    Path("made").rename("moved")
    status = json.loads((path / "status.json").read_text())
    again = run(*MADE, "run_dir=mine", "embeddings.dir=moved")
    assert json.loads((again.path / "status.json").read_text()) == status


SEARCH = (
    "learner@target=probe", "schedule.initial=20", "schedule.query_size=10", "schedule.budget=30",
    "logger=[]", "candidates=seals", "candidates.k=8",
)  # fmt: skip


def test_stores_made_of_stores_are_told_apart(workdir, capsys):
    """Those of two encoders hold different rows, though both are of the same images."""
    first, second = (embedded_words(workdir, name) for name in "ab")
    assert embed([*first, "encoder=raw", "trainer=cpu", "out=raw"]) == 0
    assert embed([*second, "encoder=raw", "trainer=cpu", "out=raw"]) == 2
    assert "raw holds a store of something else: expected the same, changed are inputs" in (
        capsys.readouterr().err
    )
    made = ("encoder@embeddings.encoder=raw", "embeddings.dir=made", "trainer=cpu")
    for words in (first, second, [*first, "data.subset=200"]):  # of which the moments are others
        run(*words, *SEARCH, *made)
    assert len(list(Path("made").iterdir())) == 3
    run(*first, *SEARCH, *made, "strategy=margin", "embeddings.learn=true")
    assert len(list(Path("made").iterdir())) == 4  # and the test rows


def test_a_store_of_the_same_images_may_be_searched_where_others_are_learned_from(workdir):
    first = embedded_words(workdir, "a")
    embedded_words(workdir, "b")
    status = json.loads(
        (run(*first, *SEARCH, "embeddings.train=b_train").path / "status.json").read_text()
    )
    made = [status["embeddings"]["index"], status["embeddings"]["selector"]["of"]]
    assert [each["encoder"] for each in made] == ["b", "a"]


def test_a_shard_that_was_removed_is_filled_again(workdir):
    expected = run(*MADE).path
    shard = kept()["digits_train"] / "shard_00000.npy"
    whole = shard.read_bytes()
    shard.write_bytes(whole[:-4])
    says = r"shard_00000\.npy is truncated: .* remove shard_00000\.npy and run the command again"
    with pytest.raises(UserError, match=says):
        run(*MADE)
    shard.unlink()
    assert_same_results(run(*MADE).path, expected)
    assert shard.read_bytes() == whole


def test_a_whole_store_is_used_without_writing_to_it(workdir, monkeypatch):
    expected = run(*MADE).path

    def read_only(*_):
        raise OSError(errno.EROFS, "Read-only file system")

    monkeypatch.setattr("alframe.store.writer.take_lock", read_only)
    assert_same_results(run(*MADE).path, expected)
    shutil.rmtree("made")
    with pytest.raises(UserError, match=r"^embeddings\.dir=made.*Read-only.*change embeddings\."):
        run(*MADE)


def test_embeddings_that_nobody_looks_at_are_not_made(workdir, capsys):
    words = [word for word in MADE if not word.startswith(("candidates", "embeddings.learn"))]
    run(*words)
    assert not Path("made").exists()
    assert "embeddings.encoder is left out" in capsys.readouterr().err


def test_no_room_names_keys_that_a_run_has(workdir, monkeypatch):
    disk = namedtuple("disk", "free")
    monkeypatch.setattr(store_plan.shutil, "disk_usage", lambda _: disk(5))
    says = r"^embeddings\.dir=made.* or change embeddings\.dir or embeddings\.dtype$"
    with pytest.raises(UserError, match=says):
        run(*MADE)


def test_too_little_memory_names_keys_that_a_run_has(workdir, monkeypatch):
    def full(self, inputs):
        raise MemoryError

    monkeypatch.setattr(RawEncoder, "embed", full)
    says = r"^encoder raw needs more memory for 128 rows .*choose a smaller embeddings\.encoder"
    with pytest.raises(UserError, match=says):
        run(*MADE, "trainer=cpu")


def test_mistakes_of_an_encoder_name_where_a_run_has_it(workdir, monkeypatch):
    monkeypatch.setattr(RawEncoder, "__init__", refuse_to_be_built)
    says = (
        r"^embeddings\.encoder: it does not take images of embeddings\.encoder\.size=3 by "
        r"encoder@embeddings\.encoder=raw: change embeddings\.encoder\.size or data, or change "
        r"encoder@embeddings\.encoder$"
    )
    with pytest.raises(UserError, match=says):
        run(*MADE)


def refuse_to_be_built(self, data):
    raise UserError(
        "encoder: it does not take images of encoder.size=3 by encoder=raw: change encoder.size or "
        "data, or change encoder"
    )


def test_rows_that_cannot_be_searched_name_keys_that_a_run_has(workdir, monkeypatch):
    embed = RawEncoder.embed
    monkeypatch.setattr(RawEncoder, "embed", lambda self, inputs: embed(self, inputs) * 1e-9)
    with pytest.raises(UserError) as refused:
        run(*MADE, "embeddings.dtype=float16")
    for part in (
        "embeddings.dir=made", "1797 are too small for float16 (rows 0, 1,",
        "use embeddings.dtype=float32 and another embeddings.dir, fill the stores with",
    ):  # fmt: skip
        assert part in str(refused.value)
    assert run(*MADE).outcome.state == "done"  # in float32


@pytest.mark.parametrize("learner", ["probe", "mlp"])
def test_rows_that_were_dropped_are_not_learned_from(workdir, capsys, learner):
    bad = {"train": [5, 50, 51], "test": [7]}

    def break_some(split):
        def broken(points):
            points[bad[split]] = np.nan

        return broken

    words = embedded_words(workdir, "a", **{split: break_some(split) for split in bad})
    search = [word for word in SEARCH if not word.startswith("candidates")]
    search[0] = f"learner@target={learner}"
    words += ["data.keep_gib=1", "schedule.budget=297", "schedule.query_size=277", "trainer=cpu"]
    path = run(*words, *search[:2], *search[4:]).path
    assert "3 pool rows, 0 validation rows and 1 test rows are left out" in capsys.readouterr().err
    picked = selections(path).row
    assert sorted(picked) == sorted(set(range(300)) - set(bad["train"]))
    assert metrics(path).loss.notna().all()
    data = json.loads((path / "status.json").read_text())["data"]
    assert (data["rows"], data["pool"], data["test"]) == (300, 297, 59)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("embeddings.train=x",), r"embeddings\.encoder: expected it without embeddings\.train"),
        (("encoder@embeddings.encoder=weights",), r"embeddings\.encoder\.file"),
        (
            ("encoder@embeddings.encoder=weights", "embeddings.encoder.file=none.pt"),
            r"embeddings\.encoder\.file=none\.pt: expected a file",
        ),
        (("embeddings.dtype=int8",), r"^embeddings\.dtype=int8: expected float16 or float32$"),
        (("embeddings.keep_gib=-1",), r"^embeddings\.keep_gib=-1: expected"),
        (("candidates.k=0",), r"^candidates\.k=0: expected"),
        (("candidates.k=1797",), r"^candidates\.k=1797: expected at most 1796"),
        (("candidates.when_short=never",), r"^candidates\.when_short=never"),
        (("+candidates.kk=3",), r"^candidates\.kk: expected one of"),
        (("index.min_recall=2",), r"^index\.min_recall=2"),
        (("schedule.budget=5",), r"^schedule\.budget=5 is below schedule\.initial=20"),
        (("schedule.initial=500", "schedule.budget=600"), r"schedule\.initial=500: expected"),
        (("schedule.evaluate_at=[25]",), r"^schedule\.evaluate_at=\[25\]"),
        (("strategy=forgetting",), r"^strategy Forgetting cannot run in pipeline=active_learning"),
        (("strategy.size=3",), r"strategy\.size"),
        (("target.c=3",), r"target\.c"),
        (("concept=3", "task.positives=999", "schedule.initial=1094", "data.subset=1600",
          "schedule.budget=1100", "data.validation=0"), r"^task\.positives=999: expected at most"),
    ],
)  # fmt: skip
def test_mistakes_name_their_key_before_anything_is_filled(words, message, workdir):
    with pytest.raises(UserError, match=message):
        run(*MADE, *words)
    assert list(workdir.iterdir()) == []
