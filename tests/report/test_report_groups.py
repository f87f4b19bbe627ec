from pathlib import Path
from typing import Any

import pytest
from report_runs import budget_rows, core_set_rows, write_run

from alframe.report.groups import Group, by_device, make_groups, make_labels
from alframe.report.runs import load

ROWS = budget_rows({10: 0.5, 20: 0.7})


def grouped(*runs: Path) -> list[Group]:
    return make_groups([load(run) for run in runs])


def test_runs_that_differ_in_seed_name_and_place_are_one_group(tmp_path: Path) -> None:
    runs = [
        write_run(
            tmp_path / f"r{seed}",
            ROWS,
            seed=seed,
            config={"paths": {"runs": f"p{seed}"}},
            choices={"logger": f"logger{seed}"},
        )
        for seed in (2, 0, 1)
    ]
    (group,) = grouped(*runs)
    assert [run.seed for run in group.runs] == [0, 1, 2]
    assert group.label == "entropy"
    assert group.repeated == ()


def test_the_label_names_only_the_choices_that_differ(tmp_path: Path) -> None:
    groups = grouped(
        write_run(tmp_path / "a", ROWS),
        write_run(tmp_path / "b", ROWS, choices={"strategy": "random"}),
        write_run(tmp_path / "c", ROWS, choices={"proxy": "resnet8"}),
    )
    assert [group.label for group in groups] == ["entropy", "entropy, proxy resnet8", "random"]


def test_a_difference_outside_the_choices_is_named_by_its_key(tmp_path: Path) -> None:
    groups = grouped(
        write_run(tmp_path / "a", ROWS, config={"target": {"epochs": 5}}),
        write_run(tmp_path / "b", ROWS, config={"target": {"epochs": 9}}),
        write_run(tmp_path / "c", ROWS),
    )
    assert [group.label for group in groups] == ["epochs=5", "epochs=9", "epochs=unset"]


def test_a_confounder_beside_a_choice_is_named() -> None:
    settings: list[dict[str, object]] = [
        {"choices.strategy": "entropy", "strategy.k": 1, "target.lr": 0.1},
        {"choices.strategy": "random", "strategy.k": 2, "target.lr": 0.2},
    ]
    assert make_labels(settings) == ["entropy, lr=0.1", "random, lr=0.2"]


def test_options_of_one_choice_tell_its_groups_apart() -> None:
    settings: list[dict[str, object]] = [
        {"choices.strategy": "random"},
        {"choices.strategy": "entropy", "strategy.k": 1},
        {"choices.strategy": "entropy", "strategy.k": 2},
    ]
    assert make_labels(settings) == ["random", "entropy, k=1", "entropy, k=2"]


def test_labels_that_are_cut_are_numbered() -> None:
    settings: list[dict[str, object]] = [
        {"choices.strategy": "s", "a": 1, "b": 1, "c": 1, "d": d, "e": 1} for d in range(2)
    ] + [{"choices.strategy": "s", "a": 2, "b": 2, "c": 2, "d": 3, "e": 2}]
    labels = make_labels(settings)
    assert len(set(labels)) == 3
    assert labels[2] == "a=2, b=2, c=2, ..."


def test_keys_with_one_last_part_are_written_in_full() -> None:
    settings: list[dict[str, object]] = [
        {"proxy.epochs": n, "target.epochs": n, "model._target_": f"pkg.Net{n}"} for n in (1, 2)
    ]
    assert make_labels(settings)[0] == "proxy.epochs=1, target.epochs=1, model=Net1"


def test_two_pipelines_share_no_label(tmp_path: Path) -> None:
    groups = grouped(
        write_run(tmp_path / "a", ROWS),
        write_run(tmp_path / "b", core_set_rows({100: 0.8}), pipeline="core_set"),
    )
    assert [g.label for g in groups] == ["entropy (active learning)", "entropy (core set)"]


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
def test_a_repeated_seed_counts_once_the_finished_one(
    tmp_path: Path, order: tuple[int, int]
) -> None:
    late: dict[str, Any] = {"state": "interrupted", "started": "2026-01-01T00:00:00+00:00"}
    runs = [
        write_run(tmp_path / "old", ROWS),
        write_run(tmp_path / "new", ROWS, status=late),
    ]
    (group,) = grouped(*(runs[i] for i in order))
    assert [run.path.name for run in group.runs] == ["old"]
    assert [run.path.name for run in group.repeated] == ["new"]
    assert group.seeds == 1


def test_devices_part_a_group(tmp_path: Path) -> None:
    runs = [
        write_run(tmp_path / f"r{seed}", ROWS, seed=seed, status={"device": device})
        for seed, device in enumerate(["cpu", "gpu", "cpu"])
    ]
    (group,) = grouped(*runs)
    parts = by_device(group)
    assert [(part.label, part.seeds) for part in parts] == [
        ("entropy on cpu", 2),
        ("entropy on gpu", 1),
    ]
    assert by_device(parts[0]) == [parts[0]]


def test_runs_of_other_files_are_another_group(tmp_path: Path) -> None:
    runs = [
        write_run(tmp_path / name, ROWS, config={"data": {"path": f"{name}.npz"}}) for name in "ab"
    ]
    assert [group.label for group in grouped(*runs)] == ["path=a.npz", "path=b.npz"]
