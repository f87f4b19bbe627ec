"""alframe-select: the rows that Python gives, whatever the format; mistakes in one sentence."""

from __future__ import annotations

import io

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from safetensors.numpy import save_file

from alframe.cli.select import main
from alframe.errors import UserError
from alframe.functional import entropy, kcenter_greedy
from alframe.selection import Arrays, select_rows
from alframe.strategies.grad_match import GradMatch
from alframe.strategies.kcenter import KCenter

ROWS, WIDTH = 60, 4
POINTS = np.random.default_rng(0).normal(size=(ROWS, WIDTH)).astype(np.float32)
PROBS = np.random.default_rng(1).dirichlet(np.ones(3), ROWS).astype(np.float32)
LABELED = [3, 17, 59]


def write(folder, kind, values=POINTS):
    file = folder / f"points.{kind}"
    if kind == "npy":
        np.save(file, values)
    elif kind == "npz":
        np.savez(file, embeddings=values, other=np.zeros(3))
    elif kind == "safetensors":
        save_file({"embeddings": values}, file)
    else:
        pd.DataFrame(values).rename(columns=str).to_parquet(file)
    return file


def table(capsys):
    return pd.read_csv(io.StringIO(capsys.readouterr().out))


@pytest.mark.parametrize("kind", ["npy", "npz", "safetensors", "parquet"])
def test_rows_are_those_of_the_kernel(tmp_path, capsys, kind):
    file = write(tmp_path, kind)
    assert main([str(file), "--strategy", "kcenter", "--size", "10"]) == 0
    picked = table(capsys)
    rows, radii = kcenter_greedy(POINTS, 10)
    assert picked["row"].tolist() == rows.tolist()
    assert picked["rank"].tolist() == list(range(10))
    np.testing.assert_allclose(picked["score"][1:], radii[1:])


@pytest.mark.parametrize(
    "kind", ["csv", "csv with a heading", "npy", "parquet", "an earlier answer"]
)
def test_labeled_rows_are_centers_and_never_picked(tmp_path, capsys, kind):
    file = tmp_path / f"labeled.{kind.split()[0] if kind[0] != 'a' else 'csv'}"
    if kind == "npy":
        np.save(file, np.array(LABELED))
    elif kind == "parquet":
        pd.DataFrame({"row": LABELED}).to_parquet(file)
    elif kind == "an earlier answer":
        pd.DataFrame({"rank": [0, 1, 2], "row": LABELED}).to_csv(file, index=False)
    else:
        heading = "row\n" if "heading" in kind else ""
        file.write_text("\ufeff" + heading + "\r\n".join(map(str, LABELED)), encoding="utf-8")
    assert main([str(write(tmp_path, "npy")), "--size", "20", "--labeled", str(file)]) == 0
    rows, _ = kcenter_greedy(POINTS, 20, LABELED)
    assert table(capsys)["row"].tolist() == rows.tolist()


@pytest.mark.parametrize("ending", ["csv", "parquet", "npy"])
def test_probabilities_come_from_a_file_of_their_own(tmp_path, ending):
    np.save(tmp_path / "probs.npy", PROBS)
    out = tmp_path / f"rows.{ending}"
    words = ["--probs", str(tmp_path / "probs.npy"), "--strategy", "entropy", "--size", "7"]
    assert main([*words, "--out", str(out)]) == 0
    readers = {"csv": pd.read_csv, "parquet": pd.read_parquet}
    rows = np.load(out) if ending == "npy" else readers[ending](out)["row"].to_numpy()
    best = np.argsort(-entropy(PROBS.astype(np.float64)), kind="stable")[:7]
    np.testing.assert_array_equal(rows, best)


def test_a_list_column_and_a_named_array(tmp_path, capsys):
    column = pa.FixedSizeListArray.from_arrays(pa.array(POINTS.ravel()), WIDTH)
    pq.write_table(pa.table({"id": np.arange(ROWS), "vector": column}), tmp_path / "rows.parquet")
    assert main([f"{tmp_path / 'rows.parquet'}:vector", "--size", "5"]) == 0
    assert table(capsys)["row"].tolist() == kcenter_greedy(POINTS, 5)[0].tolist()


@pytest.mark.parametrize("place", [0, 1, 3, 5])
def test_options_of_the_strategy_stand_anywhere(tmp_path, capsys, place):
    words = [str(write(tmp_path, "npy")), "--strategy", "probcover", "--size", "3"]
    words.insert(place, "strategy.delta=0.5") if place < 5 else words.append("strategy.delta=0.5")
    assert main(words) == 0
    assert len(table(capsys)) == 3


def test_options_without_a_file_of_embeddings(tmp_path, capsys):
    draws = np.stack([PROBS, PROBS[::-1]], 1)
    np.save(tmp_path / "draws.npy", draws)
    words = ["--mc-probs", str(tmp_path / "draws.npy"), "--strategy", "bald", "--size", "2"]
    assert main([*words, "strategy.draws=2"]) == 0
    assert len(table(capsys)) == 2


def test_numpy_arrays_from_python():
    by_numpy = select_rows(KCenter(), 5, Arrays(ROWS, POINTS))
    by_torch = select_rows(KCenter(), 5, Arrays(ROWS, torch.tensor(POINTS)))
    assert by_numpy.rows.tolist() == by_torch.rows.tolist()
    with pytest.raises(UserError, match=r"expected arrays of 7 rows, got embeddings of 60"):
        Arrays(7, POINTS)


def test_core_sets_take_labels_and_give_weights(tmp_path, capsys):
    np.save(tmp_path / "probs.npy", PROBS)
    names = np.array(["cat", "dog"])[np.arange(ROWS) % 2]
    pd.DataFrame({"label": names}).to_csv(tmp_path / "labels.csv", index=False)
    words = ["--probs", str(tmp_path / "probs.npy"), "--strategy", "craig", "--size", "10"]
    assert main([*words, "--labels", str(tmp_path / "labels.csv")]) == 0
    picked = table(capsys)
    assert (picked["row"] % 2).sum() == 5
    assert picked["weight"].sum() == ROWS


def test_labels_are_the_columns_of_the_probabilities(tmp_path, capsys):
    """Of three columns the middle one has no row: its number must not be closed up."""
    labels = np.where(np.arange(ROWS) % 2, 2, 0)
    np.save(tmp_path / "probs.npy", PROBS)
    np.save(tmp_path / "labels.npy", labels)
    words = ["--probs", str(tmp_path / "probs.npy"), "--labels", str(tmp_path / "labels.npy")]
    assert (
        main([str(write(tmp_path, "npy")), *words, "--strategy", "grad_match", "--size", "8"]) == 0
    )
    arrays = Arrays(ROWS, torch.tensor(POINTS), torch.tensor(PROBS), labels=labels)
    expected = select_rows(GradMatch(), 8, arrays)
    assert table(capsys)["row"].tolist() == expected.rows.tolist()
    np.save(tmp_path / "labels.npy", labels + 1)
    assert main([*words, "--strategy", "craig", "--size", "8"]) == 2
    assert "--labels holds 3: expected 0 to 2, the columns of probs" in capsys.readouterr().err


def test_rows_that_are_not_labeled_need_no_label(tmp_path, capsys):
    np.save(tmp_path / "probs.npy", PROBS)
    labels = np.full(ROWS, "", dtype=object)
    labels[LABELED] = ["0", "1", "2"]
    pd.DataFrame({"label": labels}).to_csv(tmp_path / "labels.csv", index=False)
    (tmp_path / "labeled.csv").write_text("\n".join(map(str, LABELED)))
    words = ["--probs", str(tmp_path / "probs.npy"), "--labels", str(tmp_path / "labels.csv")]
    words += ["--strategy", "class_balance", "--size", "9"]
    assert main([*words, "--labeled", str(tmp_path / "labeled.csv")]) == 0
    assert len(table(capsys)) == 9
    assert main(words) == 2
    assert "57 labels are missing, the first is that of row 0" in capsys.readouterr().err


def test_recorded_dynamics(tmp_path, capsys):
    history = np.random.default_rng(2).integers(0, 2, (9, ROWS)).astype(np.uint8)
    np.savez(tmp_path / "history.npz", correct=history)
    words = ["--dynamics", str(tmp_path / "history.npz"), "--strategy", "forgetting"]
    assert main([*words, "--size", "4"]) == 0
    forgotten = (history[:-1] > history[1:]).sum(0) + np.where(history.any(0), 0, 100)
    np.testing.assert_array_equal(table(capsys)["row"], np.argsort(-forgotten, kind="stable")[:4])


def test_the_seed_and_options_of_the_strategy(tmp_path, capsys):
    file = str(write(tmp_path, "npy"))
    answers = []
    for words in (["--seed", "0"], ["--seed", "0"], ["--seed", "1"]):
        assert main([file, "--strategy", "random", "--size", "9", *words]) == 0
        answers.append(table(capsys)["row"].tolist())
    assert answers[0] == answers[1] != answers[2]
    assert (
        main([file, "strategy.metric=euclidean", "--strategy", "facility_location", "--size", "3"])
        == 0
    )
    assert len(table(capsys)) == 3


def test_before_it_starts_it_says_what_it_takes(tmp_path, capsys):
    assert main([str(write(tmp_path, "npy")), "--size", "3"]) == 0
    said = capsys.readouterr().err
    assert "kcenter picks 3 of 60 rows: at most" in said
    assert "MiB beside the arrays, roughly" in said


def test_rows_that_are_not_finite_are_left_out_on_request(tmp_path, capsys):
    bad, labeled = [0, 7, 40], [0, 3, 59]
    values = POINTS.copy()
    values[bad, 1] = [np.nan, np.inf, -np.inf]
    np.save(tmp_path / "labeled.npy", labeled)
    options = ["--labeled", str(tmp_path / "labeled.npy"), "--size", "10", "--drop-nonfinite"]
    assert main([str(write(tmp_path, "npy", values)), *options]) == 0
    said = capsys.readouterr()
    assert "left out 3 rows that hold NaN or infinity, first 0, 7, 40" in said.err
    kept = np.setdiff1d(np.arange(ROWS), bad)
    rows, _ = kcenter_greedy(POINTS[kept], 10, np.searchsorted(kept, [3, 59]))
    assert pd.read_csv(io.StringIO(said.out))["row"].tolist() == kept[rows].tolist()


def test_rows_are_left_out_of_every_array():
    probs, history = torch.tensor(PROBS), torch.rand(3, ROWS)
    probs[2, 0], history[1, 4] = torch.nan, torch.inf
    labels = np.arange(ROWS)
    arrays = Arrays(
        ROWS, torch.tensor(POINTS), probs, dynamics={"el2n": history}, labels=labels, labeled=[2, 5]
    )
    kept = arrays.finite()
    assert kept.tolist() == [row for row in range(ROWS) if row not in (2, 4)]
    rest = arrays.only(kept)
    assert rest.rows == ROWS - 2
    assert rest.labeled.tolist() == [3]
    assert torch.equal(rest.embeddings, torch.tensor(POINTS)[kept])
    assert torch.equal(rest.probs, probs[kept])
    assert torch.equal(rest.dynamics["el2n"], history[:, kept])
    assert rest.labels.tolist() == kept.tolist()


def test_an_empty_list_of_labeled_rows(tmp_path, capsys):
    (tmp_path / "labeled.csv").write_text("row\n")
    options = ["--labeled", str(tmp_path / "labeled.csv"), "--size", "2"]
    assert main([str(write(tmp_path, "npy")), *options]) == 0
    assert table(capsys)["row"].tolist() == kcenter_greedy(POINTS, 2)[0].tolist()


BAD = {
    "no file": ([], r"expected a file of embeddings"),
    "absent": (["absent.npy"], r"EMBEDDINGS=absent\.npy: expected a file"),
    "another format": (["notes.txt"], r"expected \.npy, \.npz, \.parquet or \.safetensors"),
    "a pickle": (["pickle.npy"], r"of plain numbers"),
    "truncated": (["cut.npy"], r"of plain numbers"),
    "one axis": (["flat.npy"], r"expected 2 axes, got shape \(60,\)"),
    "nan": (["nan.npy"], r"1 rows, first in 5: .* --drop-nonfinite"),
    "too many": (["points.npy", "--size", "61"], r"size=61: expected 1 to 60"),
    "none": (["points.npy", "--size", "0"], r"size=0: expected 1 to 60"),
    "no such strategy": (["points.npy", "--strategy", "kcentre"], r"did you mean kcenter"),
    "no such option": (["points.npy", "strategy.colour=red"], r"strategy\.colour"),
    "needs probabilities": (["points.npy", "--strategy", "entropy"], r"expected --probs"),
    "needs labels": (["points.npy", "--strategy", "herding"], r"expected --labels"),
    "other rows": (["points.npy", "--probs", "few.npy"], r"embeddings of 60 rows, probs of 9 rows"),
    "label out of range": (["points.npy", "--labeled", "far.csv"], r"from 0 to 59, got 1 others"),
    "label twice": (["points.npy", "--labeled", "twice.csv"], r"1 rows come twice"),
    "short of labels": (["points.npy", "--labels", "few.csv"], r"expected 60 labels"),
    "no folder": (["points.npy", "--out", "nowhere/rows.csv"], r"expected a folder"),
    "an ending": (["points.npy", "--out", "rows.xls"], r"\.csv, \.parquet or \.npy"),
    "too little memory": (["points.npy", "--memory", "1e-9"], r"expected at most 0% \(--memory\)"),
    "too little time": (["points.npy", "--seconds", "1e-9"], r"expected at most --seconds=1e-09"),
    "two files": (["points.npy", "few.npy"], r"expected one file of embeddings .* few\.npy"),
    "another group": (["points.npy", "learner@proxy=mlp"], r"expected one file of embeddings"),
    "a private option": (["points.npy", "strategy.foo=1"], r"strategy\.foo(?!.*_target_)"),
    "a negative seed": (["points.npy", "--seed", "-1"], r"--seed=-1: expected a whole number"),
    "no such device": (["points.npy", "--device", "foo"], r"--device=foo: expected cpu"),
    "no config folder": (["points.npy", "--config-dir", "nodir"], r"--config-dir=nodir: expected"),
    "no distribution": (
        ["points.npy", "--probs", "raw.npy", "--strategy", "badge"],
        r"probs of 60 of 60 rows do not sum to 1, first of 0, 1, 2, 3, 4 \(to 0\)",
    ),
    "ragged lists": (["ragged.parquet"], r"column vector, got 2 values in row 0 and 1 in row 3"),
    "a column of words": (["words.parquet"], r"columns of numbers, got column name of string"),
}


@pytest.mark.parametrize("case", BAD)
def test_a_mistake_is_one_sentence_and_nothing_is_written(tmp_path, monkeypatch, capsys, case):
    monkeypatch.chdir(tmp_path)
    write(tmp_path, "npy")
    (tmp_path / "notes.txt").write_text("no numbers")
    np.save("pickle.npy", np.array([{}]), allow_pickle=True)
    (tmp_path / "cut.npy").write_bytes((tmp_path / "points.npy").read_bytes()[:200])
    np.save("flat.npy", POINTS[:, 0])
    np.save("nan.npy", np.where(np.arange(ROWS)[:, None] == 5, np.nan, POINTS))
    np.save("few.npy", PROBS[:9])
    np.save("raw.npy", np.zeros_like(PROBS))
    lists = [[1.0, 2.0]] * 3 + [[1.0], [1.0, 2.0, 3.0]]
    pq.write_table(pa.table({"vector": lists}), "ragged.parquet")
    pq.write_table(pa.table({"name": ["a", "b"], "x": [1.0, 2.0]}), "words.parquet")
    (tmp_path / "far.csv").write_text("row\n1\n60\n")
    (tmp_path / "twice.csv").write_text("1\n4\n1\n")
    (tmp_path / "few.csv").write_text("label\n0\n1\n")
    before = sorted(tmp_path.iterdir())
    words, message = BAD[case]
    size = [] if "--size" in words else ["--size", "3"]
    assert main([*words, *size]) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert pd.Series(said.err.splitlines()[-1]).str.contains(message).all(), said.err
    assert sorted(tmp_path.iterdir()) == before


def test_the_embeddings_are_mapped_not_copied(tmp_path):
    from alframe.cli.array_files import read_array
    from alframe.selection import Arrays
    from alframe.strategies.kcenter import KCenter

    values = read_array(str(write(tmp_path, "npy")), "EMBEDDINGS", 2, "embeddings")
    seen = Arrays(ROWS, embeddings=values).observe(KCenter().needs)
    assert seen.embeddings(np.arange(ROWS)).data_ptr() == values.data_ptr()
    assert isinstance(values, torch.Tensor)
