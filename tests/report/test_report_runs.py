import json
from pathlib import Path

import pytest
from report_runs import budget_rows, curve, write_run

from alframe.errors import UserError
from alframe.report.runs import find, load


def test_runs_are_found_at_any_depth_once_and_never_within_a_run(tmp_path: Path) -> None:
    first = write_run(tmp_path / "a" / "b" / "run 1, x=2", [])
    second = write_run(tmp_path / "c", [])
    write_run(second / "inner", [])
    (tmp_path / "half").mkdir()
    (tmp_path / "half" / "config.yaml").write_text("seed: 0")
    assert find([tmp_path, first, tmp_path / "c"]) == [first, second]


def test_a_run_directory_itself_is_found(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", [])
    assert find([run]) == [run]


def test_a_missing_path_and_an_empty_folder_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="nowhere"):
        find([tmp_path / "nowhere"])
    with pytest.raises(UserError, match="no runs found"):
        find([tmp_path])


def test_a_run_is_loaded(tmp_path: Path) -> None:
    curves = {"round_000_target": curve(5.0, 0.1)}
    run = load(write_run(tmp_path / "r", budget_rows({10: 0.5}), seed=2**33, curves=curves))
    assert (run.seed, run.state, run.pipeline) == (2**33, "done", "active_learning")
    assert run.device == "cpu: 2 threads of a test"
    assert not run.has_proxy
    assert run.settings["schedule.sizes"] == [10, 20]
    assert list(run.metrics["split"]) == ["validation", "test"]
    assert len(run.curve("round_000_target")) == 5
    assert run.curve("no_such_fit").empty


def test_a_run_without_metrics_is_empty(tmp_path: Path) -> None:
    assert load(write_run(tmp_path / "r", [], status={"state": "failed"})).metrics.empty


def test_a_proxy_is_seen_in_the_config(tmp_path: Path) -> None:
    assert load(write_run(tmp_path / "r", [], choices={"proxy": "resnet8"})).has_proxy


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("config.yaml", "seed: [1", "cannot be read"),
        ("config.yaml", "- 1", "mapping"),
        ("config.yaml", "seed: zero", "seed"),
        ("config.yaml", "seed: true", "seed"),
        ("config.yaml", "seed: !!python/object/apply:os.getcwd []", "cannot be read"),
        ("config.yaml", "seed: 0\nloop: &a [*a]", "cannot be read"),
        ("status.json", "{", "cannot be read"),
        ("status.json", json.dumps({"state": "dancing"}), "dancing"),
        ("metrics.csv", "", "cannot be read"),
        ("metrics.csv", "fit,round_id\na,0\n", "none named model, split, labeled"),
    ],
)
def test_files_that_are_no_run_are_named(
    tmp_path: Path, name: str, content: str, message: str
) -> None:
    run = write_run(tmp_path / "r", budget_rows({10: 0.5}))
    (run / name).write_text(content)
    with pytest.raises(UserError, match=message) as caught:
        load(run)
    assert str(run / name) in str(caught.value)


def test_bytes_that_are_no_text_are_refused(tmp_path: Path) -> None:
    run = write_run(tmp_path / "r", budget_rows({10: 0.5}))
    (run / "metrics.csv").write_bytes(b"\xff\xfe\x00\x81")
    with pytest.raises(UserError, match=r"metrics\.csv"):
        load(run)


def test_words_among_numbers_are_refused(tmp_path: Path) -> None:
    run = write_run(tmp_path / "r", budget_rows({10: 0.5}))
    text = (run / "metrics.csv").read_text().replace("0.5,", "half,")
    (run / "metrics.csv").write_text(text)
    with pytest.raises(UserError, match="numbers in column accuracy"):
        load(run)


def test_a_yaml_bomb_is_refused_before_it_unfolds(tmp_path: Path) -> None:
    run = write_run(tmp_path / "r", [])
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]" for i in range(1, 9)]
    (run / "config.yaml").write_text("seed: 0\n" + "\n".join(lines))
    with pytest.raises(UserError, match="at most"):
        load(run)
