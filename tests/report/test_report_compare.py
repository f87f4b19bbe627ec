"""What the report shows of strategies against each other, and what its options change."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from matplotlib.axes import Axes
from report_runs import budget_rows, core_set_rows, write_run
from scipy import stats

from alframe.report import comparison_figures, curves, style
from alframe.report.bootstrap import percentile_interval
from alframe.report.build import Report, build
from alframe.report.cli import main
from alframe.report.options import Options
from alframe.report.runs import find, load
from alframe.report.words import DASH

GAINS = {"badge": 0.06, "entropy": 0.03, "random": 0.0}


def write(folder: Path, seeds: int, data: tuple[str, ...] = ("digits",)) -> Path:
    rng = np.random.default_rng(0)
    for name in data:
        for seed in range(seeds):
            for strategy, gain in GAINS.items():
                rows = budget_rows({
                    at: 0.5 + at / 200 + gain + 0.004 * rng.standard_normal()
                    for at in (10, 20, 30, 50)
                })  # fmt: skip
                choices = {"strategy": strategy, "data": name}
                place = folder / name / f"{strategy}{seed}"
                write_run(place, rows, seed=seed, choices=choices, config={"data": name})
    return folder


def report_of(folder: Path, options: Options | None = None) -> Report:
    return build([load(path) for path in find([folder])], options)


def table(report: Report, name: str, folder: Path) -> pd.DataFrame:
    (folder / "t.csv").write_bytes(report.files[f"{name}.csv"])
    return pd.read_csv(folder / "t.csv")


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> dict[str, Axes]:
    """The axes of every rendered figure by its name."""
    seen: dict[str, Axes] = {}

    def render(name: str, title: str, axes: Axes) -> style.Picture:
        seen[name] = axes
        return style.render(name, title, axes)

    for module in (comparison_figures, curves):
        monkeypatch.setattr(module, "render", render)
    return seen


def texts(axes: Axes) -> str:
    return " ".join("\n".join(text.get_text() for text in axes.texts).split())


def test_a_sweep_has_penalties_pairs_and_profiles(tmp_path: Path) -> None:
    report = report_of(write(tmp_path, 5))
    for name in ("penalty", "profile"):
        assert report.files[f"{name}.png"].startswith(b"\x89PNG")
        assert report.files[f"{name}.svg"].startswith(b"<svg")
    penalty = table(report, "penalty", tmp_path)
    assert penalty.set_index(["winner", "loser"])["penalty"]["badge", "random"] == 1
    assert len(table(report, "pairs", tmp_path)) == 3
    assert set(table(report, "profile", tmp_path)["profile"]) == {"score"}
    text, page = report.files["results.md"].decode(), report.files["index.html"].decode()
    for title in ("Pairwise penalties", "Pairs of strategies"):
        assert f"# {title}\n" in text
        assert f"<h2>{title}</h2>" in page
    assert "digits (20, 30)" in text, "at 50 labels random picks have learnt all"
    assert "| badge | random |" in text
    assert not [note for note in report.notes if "seeds" in note]


def test_several_settings_give_a_performance_profile(
    tmp_path: Path, drawn: dict[str, Axes]
) -> None:
    report = report_of(write(tmp_path, 5, ("digits", "cifar10")))
    assert set(table(report, "profile", tmp_path)["profile"]) == {"ratio"}
    assert "in how many of 2 settings" in texts(drawn["profile"])
    assert "summed over 2 settings" in texts(drawn["penalty"])
    assert "Bands: 95 % bootstrap" in texts(drawn["profile"])


def test_equal_strategies_are_equal(tmp_path: Path, drawn: dict[str, Axes]) -> None:
    for data in ("digits", "cifar10"):
        for strategy in ("a", "b"):
            for seed in range(3):
                choices = {"strategy": strategy, "data": data}
                rows = budget_rows({10: 0.5, 20: 0.6 + seed / 100})
                place = tmp_path / data / f"{strategy}{seed}"
                write_run(place, rows, seed=seed, choices=choices, config={"data": data})
    report = report_of(tmp_path)
    assert set(table(report, "penalty", tmp_path)["penalty"]) == {0.0}
    (pair,) = table(report, "pairs", tmp_path).to_dict("records")
    assert (pair["difference"], pair["seeds"]) == (0, 3)
    assert math.isnan(pair["p"]), "no difference is nothing to test"
    assert set(table(report, "profile", tmp_path)["share"]) == {1.0}


def test_one_strategy_is_no_comparison(tmp_path: Path) -> None:
    write_run(tmp_path / "r", budget_rows({10: 0.5, 20: 0.6}))
    report = report_of(tmp_path)
    assert not [name for name in report.files if name.startswith(("penalty", "pairs", "profile"))]
    assert "Pairwise" not in report.files["index.html"].decode()


def test_core_sets_have_figures_of_their_own(tmp_path: Path) -> None:
    for seed in range(3):
        for strategy, gain in GAINS.items():
            rows = core_set_rows({100: 0.7 + gain + seed / 100, 500: 0.8 + gain - seed / 90})
            write_run(tmp_path / f"{strategy}{seed}", rows, seed=seed, pipeline="core_set",
                      choices={"strategy": strategy})  # fmt: skip
    files = report_of(tmp_path).files
    assert {"penalty_core_set.svg", "profile_core_set.svg"} <= set(files)


@pytest.mark.parametrize(
    ("seeds", "penalty", "accuracy"),
    [
        (2, "No two strategies have 3 seeds in common", "Fewer than 3 seeds: too few"),
        (3, "Only 3 seeds in common, fewer than 5", ""),
        (5, "", ""),
    ],
)
def test_too_few_seeds_are_said_on_the_figure(
    tmp_path: Path, drawn: dict[str, Axes], seeds: int, penalty: str, accuracy: str
) -> None:
    report = report_of(write(tmp_path, seeds))
    for name, expected in (("penalty", penalty), ("accuracy_labels", accuracy)):
        loud = [text.get_text() for text in drawn[name].texts if text.get_color() == style.WARN]
        assert len(loud) == (expected != "")
        assert not expected or expected in loud[0]
    assert (penalty != "") == any(note.startswith("Few seeds: ") for note in report.notes)
    assert ("Fewer than 3 seeds: too few for a band" in texts(drawn["profile"])) == (seeds < 3)


def test_seeds_without_a_partner_are_named(tmp_path: Path) -> None:
    write(tmp_path, 4)
    rows = budget_rows({10: 0.5, 20: 0.6, 30: 0.7, 50: 0.8})
    choices = {"strategy": "badge", "data": "digits"}
    write_run(tmp_path / "more", rows, seed=7, choices=choices, config={"data": "digits"})
    (note,) = [note for note in report_of(tmp_path).notes if note.startswith("Unpaired")]
    assert "badge: seed 7" in note


def test_cells_show_the_penalties(tmp_path: Path, drawn: dict[str, Axes]) -> None:
    report_of(write(tmp_path, 5))
    cells = {
        text.get_position(): text.get_text()
        for text in drawn["penalty"].texts
        if text.get_text().replace(".", "").isdigit()
    }
    assert len(cells) == 3 * 3 - 3 + 3
    names = [label.get_text() for label in drawn["penalty"].get_xticklabels()]
    assert names == ["badge", "entropy", "random"], "the least beaten first"
    assert cells[2.5, 0.5] == "1.00", "the first row beats the last column at all budgets"
    assert cells[0.5, 2.5] == "0.00"


def test_intervals_are_bootstrap_or_t_everywhere(tmp_path: Path) -> None:
    write(tmp_path / "runs", 2)
    for seed in range(2):
        rows = core_set_rows({100: 0.7 + seed / 100})
        write_run(tmp_path / "runs" / f"c{seed}", rows, seed=seed, pipeline="core_set",
                  choices={"proxy": "p"})  # fmt: skip
    # of two seeds there are t intervals, and no bootstrap ones
    for kind in ("bootstrap", "t"):
        report = report_of(tmp_path / "runs", Options(0.6, kind))  # type: ignore[arg-type]
        for name in ("results", "ranking", "target_accuracy"):
            low = table(report, name, tmp_path)["low"]
            assert low.isna().any() == (kind == "bootstrap"), (name, kind)
        speed = table(report, "costs", tmp_path).dropna(subset=["speed_up"])
        assert speed["low"].isna().any() == (kind == "bootstrap")
        column = report.headline.columns.index("95 % interval")
        assert (report.headline.rows[0][column] == DASH) == (kind == "bootstrap")
        said = "bootstrap intervals" if kind == "bootstrap" else "Student t intervals over"
        assert said in report.files["results.md"].decode()


def test_the_command_line_chooses_intervals_and_axis(
    tmp_path: Path, drawn: dict[str, Axes]
) -> None:
    write(tmp_path / "runs", 4)
    found = {}
    for name, extra in {"plain": [], "t": ["--interval", "t"], "log": ["--log-budget"]}.items():
        assert main([str(tmp_path / "runs"), "--out", str(tmp_path / name), *extra]) == 0
        assert drawn["accuracy_labels"].get_xscale() == ("log" if name == "log" else "linear")
        found[name] = pd.read_csv(tmp_path / name / "ranking.csv").set_index("group").loc["badge"]
    runs = [load(path) for path in find([tmp_path / "runs"])]
    badge = [run for run in runs if run.settings["choices.strategy"] == "badge"]
    curve = [
        run.metrics[run.metrics["split"] == "test"].sort_values("labeled") for run in badge
    ]  # fmt: skip
    plain = [np.trapezoid(part["accuracy"], part["labeled"]) / 40 for part in curve]
    log = [np.trapezoid(part["accuracy"], np.log(part["labeled"])) / math.log(5) for part in curve]
    assert found["plain"][["low", "high"]].tolist() == pytest.approx(
        [float(bound) for bound in percentile_interval(plain)]
    )
    assert found["t"][["low", "high"]].tolist() == pytest.approx(
        stats.t.interval(0.95, 3, np.mean(plain), stats.sem(plain))
    )
    assert found["plain"]["area"] == found["t"]["area"] == pytest.approx(np.mean(plain))
    assert found["log"]["area"] == pytest.approx(np.mean(log))


def test_another_interval_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        main([str(tmp_path), "--interval", "bca"])
    assert stopped.value.code == 2
    assert "bootstrap" in capsys.readouterr().err
