from pathlib import Path

import pytest
from matplotlib.axes import Axes
from report_runs import budget_rows, core_set_rows, curve, row, write_run

from alframe.report import curves, proxy_figures, style
from alframe.report.groups import Group, make_groups
from alframe.report.runs import load


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> list[Axes]:
    """The axes of every figure that is rendered."""
    seen: list[Axes] = []

    def render(name: str, title: str, axes: Axes) -> style.Picture:
        seen.append(axes)
        return style.render(name, title, axes)

    monkeypatch.setattr(curves, "render", render)
    monkeypatch.setattr(proxy_figures, "render", render)
    return seen


def budget_groups(tmp_path: Path, seeds: int, devices: tuple[str, ...] = ("cpu",)) -> list[Group]:
    paths = [
        write_run(
            tmp_path / f"{strategy}{seed}",
            budget_rows({10: 0.5 + seed / 50, 20: 0.7}),
            seed=seed,
            choices={"strategy": strategy},
            status={"device": devices[seed % len(devices)]},
        )
        for strategy in ("$entropy$", "random")
        for seed in range(seeds)
    ]
    return make_groups([load(path) for path in paths])


def core_group(tmp_path: Path, *, proxy: str | None = "p", splits: tuple[str, ...]) -> Group:
    fits = {"size_000_target": 50.0, "full_target": 100.0} | ({"proxy": 10.0} if proxy else {})
    paths = [
        write_run(
            tmp_path / f"c{seed}",
            core_set_rows({500: 0.9}, proxy_seconds=10 if proxy else None),
            seed=seed,
            pipeline="core_set",
            choices={"proxy": proxy},
            curves={fit: curve(spent, 0.1, splits=splits) for fit, spent in fits.items()},
        )
        for seed in range(2)
    ]
    (group,) = make_groups([load(path) for path in paths])
    return group


def texts(axes: Axes) -> str:
    return "\n".join(text.get_text() for text in axes.texts)


def legend(axes: Axes) -> list[str]:
    found = axes.get_legend()
    assert found is not None
    return [text.get_text().replace("\n", " ") for text in found.get_texts()]


@pytest.mark.parametrize(
    ("seeds", "note"),
    [(1, "1 seed: no interval."), (2, "2 seeds, fewer than 3"), (3, "3 seeds.")],
)
def test_the_figure_says_how_many_seeds(
    tmp_path: Path, drawn: list[Axes], seeds: int, note: str
) -> None:
    with style.look():
        picture = curves.accuracy_against_labels(budget_groups(tmp_path, seeds))
    assert note in texts(drawn[0])
    assert legend(drawn[0]) == ["$entropy$", "random"]
    assert picture.png.startswith(b"\x89PNG")
    assert picture.svg.startswith("<svg")
    line = drawn[0].lines[1]
    assert list(line.get_xdata()) == [10, 20]
    assert list(line.get_ydata()) == pytest.approx([0.5 + (seeds - 1) / 100, 0.7])


def test_seconds_stand_apart_by_device_and_the_figure_says_so(
    tmp_path: Path, drawn: list[Axes]
) -> None:
    with style.look():
        curves.accuracy_against_seconds(budget_groups(tmp_path, 3, ("cpu", "gpu")))
    assert "do not compare: cpu; gpu" in texts(drawn[0])
    assert "$entropy$; random ran on different devices" in " ".join(texts(drawn[0]).split())
    assert legend(drawn[0]) == [
        "$entropy$ on cpu", "$entropy$ on gpu", "random on cpu", "random on gpu",
    ]  # fmt: skip
    assert list(drawn[0].lines[0].get_xdata()) == pytest.approx([1, 3.75])


def test_one_device_is_named(tmp_path: Path, drawn: list[Axes]) -> None:
    with style.look():
        curves.accuracy_against_seconds(budget_groups(tmp_path, 3))
    assert "Measured on cpu." in texts(drawn[0])


def test_the_ceiling_is_a_line(tmp_path: Path, drawn: list[Axes]) -> None:
    with style.look():
        curves.accuracy_against_rows([core_group(tmp_path, splits=("test",))])
    heights = [list(line.get_ydata()) for line in drawn[0].lines]
    assert [0.95, 0.95] in heights


def test_bars_stack_to_the_end_to_end_seconds(tmp_path: Path, drawn: list[Axes]) -> None:
    with style.look():
        proxy_figures.bars(core_group(tmp_path, splits=("test",)), "bars")
    ends = [bar.get_x() + bar.get_width() for bar in drawn[0].patches]
    assert ends == pytest.approx([10, 13, 63, 100])
    assert f"{100 / 63:.2f}x speed-up\ntest error 10.0 ± 0.0 %" in texts(drawn[0])
    assert legend(drawn[0]) == ["proxy", "observe and select", "target", "target on all rows"]
    assert [label.get_text() for label in drawn[0].get_yticklabels()] == [
        "500 rows\n(50 %)",
        "all 1,000 rows",
    ]


def test_short_fits_are_named_where_the_target_stands_in_for_itself(
    tmp_path: Path, drawn: list[Axes]
) -> None:
    short = [
        row(f"short_{i:02d}_proxy", 1000, 0.6, model="proxy", round_id=-1, seconds=(4.0, 0, 0))
        for i in range(3)
    ]
    path = write_run(
        tmp_path / "r",
        [*short, *core_set_rows({500: 0.9}, proxy_seconds=None)],
        pipeline="core_set",
        status={"observes": ["short fits"]},
        curves={"size_000_target": curve(50.0, 0.1), "full_target": curve(100.0, 0.1)},
    )
    (group,) = make_groups([load(path)])
    with style.look():
        proxy_figures.bars(group, "bars")
        proxy_figures.wall_clock(group, "w")
    ends = [bar.get_x() + bar.get_width() for bar in drawn[0].patches]
    assert ends == pytest.approx([12, 15, 65, 100])
    assert legend(drawn[0])[0] == "short fits"
    lines = {line.get_label(): line for line in drawn[1].lines}
    assert list(lines["target on 500 selected rows"].get_xdata()) == [25, 35, 45, 55, 65]
    assert "target on all rows" in lines  # and not: the selector


def test_the_targets_curve_starts_after_proxy_and_choice(tmp_path: Path, drawn: list[Axes]) -> None:
    with style.look():
        picture = proxy_figures.wall_clock(core_group(tmp_path, splits=("test",)), "w")
    assert picture is not None
    assert picture.title.startswith("Test error against wall-clock")
    means = {line.get_label(): line for line in drawn[0].lines}
    # 10 s proxy, 3 s observe and select, then epochs of 10 s
    selected = means["target on 500 selected rows"]
    assert list(selected.get_xdata()) == pytest.approx([23, 33, 43, 53, 63])
    assert list(means["target on all rows"].get_xdata()) == pytest.approx([20, 40, 60, 80, 100])
    assert list(means["proxy on all rows"].get_xdata()) == pytest.approx([2, 4, 6, 8, 10])
    assert selected.get_ydata()[-1] == pytest.approx(0.1)


def test_without_a_proxy_the_full_run_comes_first(tmp_path: Path, drawn: list[Axes]) -> None:
    with style.look():
        proxy_figures.wall_clock(core_group(tmp_path, proxy=None, splits=("test",)), "w")
    means = {line.get_label(): line for line in drawn[0].lines}
    assert "target on all rows, the selector" in means
    selected = means["target on 500 selected rows"].get_xdata()
    assert list(selected) == pytest.approx([113, 123, 133, 143, 153])


def test_validation_curves_serve_where_there_is_no_test_curve(
    tmp_path: Path, drawn: list[Axes]
) -> None:
    with style.look():
        group = core_group(tmp_path, splits=("validation",))
        picture = proxy_figures.wall_clock(group, "w")
    assert picture is not None
    assert picture.title.startswith("Validation error")
    assert drawn[0].get_ylabel() == "validation error"


def test_curves_without_seconds_give_no_figure(tmp_path: Path) -> None:
    bare = {"full_target": [(1, "", "test", 0.4), (2, "", "test", 0.2)]}
    rows = core_set_rows({500: 0.9}, proxy_seconds=None)
    run = load(write_run(tmp_path / "r", rows, pipeline="core_set", curves=bare))
    assert proxy_figures.wall_clock(make_groups([run])[0], "w") is None


def test_many_groups_never_share_a_stroke() -> None:
    strokes = style.strokes(20)
    assert len(set(strokes)) == 20


def test_the_page_s_svg_has_no_ground_and_follows_the_colour_scheme(tmp_path: Path) -> None:
    with style.look():
        svg = curves.accuracy_against_labels(budget_groups(tmp_path, 1)).svg
    assert "#ffffff" in svg
    paged = style.for_page(svg)
    assert "#ffffff" not in paged
    assert "prefers-color-scheme:dark" in paged
    assert f"fill: {style.INK}" in svg
    assert f"fill: {style.INK}" not in paged
