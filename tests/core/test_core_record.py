"""The tables of a run."""

from __future__ import annotations

import csv

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest

from alframe.record import METRIC_COLUMNS, Record
from alframe.run_dir import RunDir


@pytest.fixture
def record(tmp_path):
    run = RunDir.open(tmp_path / "run", {"seed": 0})
    run.once("stages/a", dict)  # else nothing is new, and the tables stay as they are
    yield Record(run)
    run.close()


def test_finished_stages_that_are_passed_again_leave_the_tables_whole(tmp_path):
    run = RunDir.open(tmp_path / "run", {"seed": 0})
    run.once("stages/a", dict)
    record = Record(run)
    for name in ("one", "two"):
        record.add_metrics([metric(name)])
        record.add_selection(0, np.arange(3), None, np.arange(3))
    run.close()
    tables = [(run.path / name).read_bytes() for name in ("metrics.csv", "selections.parquet")]
    again = RunDir.open(run.path, {"seed": 0})
    again.once("stages/a", dict)
    replayed = Record(again)
    replayed.add_metrics([metric("one")])
    replayed.add_selection(0, np.arange(3), None, np.arange(3))
    assert tables == [
        (run.path / name).read_bytes() for name in ("metrics.csv", "selections.parquet")
    ]
    again.once("stages/b", dict)
    replayed.add_metrics([metric("two")])
    replayed.add_selection(0, np.arange(3), None, np.arange(3))
    replayed.write()
    again.close()
    assert tables == [
        (run.path / name).read_bytes() for name in ("metrics.csv", "selections.parquet")
    ]


def metric(fit, **values):
    """A row as the pipelines make it."""
    plain = {
        "fit": fit,
        "round_id": 0,
        "train_rows": 20,
        "labeled": 20,
        "model": fit.rsplit("_", 1)[-1],
        "split": "test",
        "accuracy": 0.5,
        "macro_accuracy": 0.4,
        "loss": 1.25,
        "seconds_fit": 2.0,
        "seconds_observe": 0.5,
        "seconds_select": 0.25,
    }
    return {**plain, **values}


def folder(record):
    return record._run.path


def read_metrics(record):
    with (folder(record) / "metrics.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def test_metrics_have_the_promised_columns_first_and_the_tasks_own_after(record):
    record.add_metrics([metric("round_000_target")])
    record.add_metrics([metric("round_001_target", f1=0.1), metric("round_001_proxy")])
    rows = read_metrics(record)
    assert tuple(rows[0])[: len(METRIC_COLUMNS)] == METRIC_COLUMNS
    assert list(rows[0])[len(METRIC_COLUMNS) :] == ["macro_accuracy", "f1"]
    assert [row["fit"] for row in rows] == [
        "round_000_target",
        "round_001_target",
        "round_001_proxy",
    ]
    assert [row["f1"] for row in rows] == ["", "0.1", ""]


def test_numbers_come_back_to_the_last_bit(record):
    value = 0.1 + 0.2
    record.add_metrics([metric("a_target", accuracy=value, loss=1 / 3)])
    (row,) = read_metrics(record)
    assert (float(row["accuracy"]), float(row["loss"])) == (value, 1 / 3)


def test_seconds_count_each_fit_once(record):
    rows = [metric("round_000_target", split=split) for split in ("validation", "test")]
    record.add_metrics([*rows, metric("round_000_proxy", seconds_fit=1.0)])
    record.add_metrics([metric("round_001_target", seconds_fit=4.0)])
    assert record.seconds() == {"target": 6.0, "proxy": 1.0, "observe": 1.5, "select": 0.75}


def selections(record):
    return pd.read_parquet(folder(record) / "selections.parquet")


def test_each_selected_row_has_a_line_best_first(record):
    record.add_selection(0, np.array([40, 3]), None, np.array([1, 0]))
    record.add_selection(1, np.array([9, 7]), np.array([np.inf, 0.5], np.float32), np.array([2, 2]))
    table = selections(record)
    assert list(table.columns) == ["row", "round_id", "rank", "score", "label"]
    assert table["row"].tolist() == [40, 3, 9, 7]
    assert table["round_id"].tolist() == [0, 0, 1, 1]
    assert table["rank"].tolist() == [0, 1, 0, 1]
    assert table["label"].tolist() == [1, 0, 2, 2]
    assert table["score"].isna().tolist() == [True, True, False, False]
    assert table["score"].tolist()[2:] == [np.inf, 0.5]
    kinds = table.dtypes.astype(str).to_dict()
    assert (kinds["row"], kinds["round_id"], kinds["rank"]) == ("int64",) * 3
    assert kinds["score"] == "float64"


def test_the_files_are_whole_after_every_stage(record):
    for round_id in range(3):
        record.add_selection(round_id, np.arange(2) + 10 * round_id, None, np.zeros(2, np.int64))
        assert len(selections(record)) == 2 * (round_id + 1)
        record.add_metrics([metric(f"round_{round_id}_target")])
        assert len(read_metrics(record)) == round_id + 1


def test_a_flipped_bit_in_the_selections_is_found(record):
    """Parquet notices it only with page checksums (faults.md, known silences)."""
    rows = np.random.default_rng(0).permutation(5000)
    record.add_selection(0, rows, rows / 7, rows % 10)
    path = folder(record) / "selections.parquet"
    assert pq.read_table(path, page_checksum_verification=True).num_rows == 5000
    raw = bytearray(path.read_bytes())
    first = pq.read_metadata(path).row_group(0).column(0)
    raw[first.data_page_offset + first.total_compressed_size // 3] ^= 1
    path.write_bytes(raw)
    with pytest.raises(OSError, match=r"(?i)crc|checksum|corrupt"):
        pq.read_table(path, page_checksum_verification=True)


def test_a_fits_curve_is_written_once(record):
    points = [{"epoch": 1, "seconds": 0.5, "split": "test", "error": 0.25}]
    record.add_curve("round_000_target", points)
    record.add_curve("round_000_target", [{**points[0], "seconds": 9.0}])
    record.add_curve("round_000_proxy", [])
    path = folder(record) / "fits" / "round_000_target" / "curve.csv"
    assert path.read_text() == "epoch,seconds,split,error\n1,0.5,test,0.25\n"
    assert not (folder(record) / "fits" / "round_000_proxy").exists()
