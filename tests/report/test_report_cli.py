import base64
import re
import subprocess
import sys
import xml.etree.ElementTree as ET
from html.parser import HTMLParser
from pathlib import Path

import pandas as pd
import pytest
from report_runs import budget_rows, core_set_rows, curve, write_run

from alframe.report.cli import main

EVIL = '<script>alert("x")</script>'
NAMESPACES = {"http://www.w3.org/2000/svg", "http://www.w3.org/1999/xlink"}


class Tags(HTMLParser):
    """Collects tags and text, and checks that every tag is closed in order."""

    VOID = frozenset({"meta", "link", "img"})

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.seen: list[str] = []
        self.attributes: list[tuple[str, str | None]] = []
        self.words: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.append(tag)
        self.attributes += attrs
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.words.append(data)


def read_page(path: Path) -> tuple[str, Tags]:
    text = path.read_text(encoding="utf-8")
    tags = Tags()
    tags.feed(text)
    assert tags.open == []
    return text, tags


def make_runs(root: Path) -> Path:
    for seed in range(3):
        for strategy, gain in (("entropy", 0.02), (f"random {EVIL}", 0.0)):
            rows = budget_rows({10: 0.5 + gain + seed / 100, 20: 0.7 + gain, 30: 0.8 + gain})
            write_run(
                root / f"al-{strategy[:6]}-{seed}", rows, seed=seed, choices={"strategy": strategy}
            )
    for seed in range(2):
        write_run(
            root / f"core-{seed}",
            core_set_rows({100: 0.7, 500: 0.9}),
            seed=seed,
            pipeline="core_set",
            choices={"proxy": "resnet8"},
            curves={
                "proxy": curve(10, 0.2),
                "size_000_target": curve(10, 0.3),
                "size_001_target": curve(50, 0.1),
                "full_target": curve(100, 0.05),
            },
        )
    return root


def test_a_whole_report(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    runs, out = make_runs(tmp_path / "runs"), tmp_path / "deep" / "report"
    assert main([str(runs), "--out", str(out), "--target-accuracy", "0.8"]) == 0
    stems = {path.stem for path in out.glob("*.png")}
    assert {"accuracy_labels", "accuracy_seconds", "accuracy_rows"} < stems
    assert any(stem.startswith("speed_up_") for stem in stems)
    assert any(stem.startswith("wall_clock_") for stem in stems)
    assert {path.stem for path in out.glob("*.svg")} == stems
    for stem in stems:
        assert (out / f"{stem}.png").read_bytes().startswith(b"\x89PNG\r\n")
        ET.fromstring((out / f"{stem}.svg").read_text(encoding="utf-8"))
    results = pd.read_csv(out / "results.csv")
    entropy = results[results["group"] == "entropy (active learning)"]
    assert list(entropy["labeled"]) == [10, 20, 30]
    assert list(entropy["accuracy"]) == pytest.approx([0.53, 0.72, 0.82])
    assert list(entropy["seeds"]) == [3, 3, 3]
    assert "| Group |" in (out / "results.md").read_text()
    assert len(pd.read_csv(out / "runs.csv")) == 8
    assert not pd.read_csv(out / "costs.csv").empty
    printed = capsys.readouterr().out
    assert "82.00 %" in printed
    assert str(out / "index.html") in printed


def test_the_page_is_self_contained_and_escaped(tmp_path: Path) -> None:
    runs, out = make_runs(tmp_path / "runs"), tmp_path / "report"
    assert main([str(runs), "--out", str(out)]) == 0
    text, tags = read_page(out / "index.html")
    assert "script" not in tags.seen
    assert "http" not in re.sub(r"base64,[^\"]+", "", text)
    assert EVIL in "".join(tags.words), "it is shown as text"
    sources = [value for name, value in tags.attributes if name in ("src", "href")]
    assert all(source is not None and source.startswith("data:") for source in sources)
    images = re.findall(r"data:image/svg\+xml;base64,([^\"]+)", text)
    assert len(images) == len(list(out.glob("*.svg")))
    for image in images:
        svg = base64.b64decode(image).decode()
        assert set(re.findall(r"https?://[^\"\s<]+", svg)) <= NAMESPACES
        assert "<script" not in svg
        ET.fromstring(svg)
    for expected in ("cpu: 2 threads of a test", "torch 2.9.0", "0123456789ab", "2025-01-01T10:00"):
        assert expected in text


def test_unfinished_and_failed_runs_are_named(tmp_path: Path) -> None:
    rows = budget_rows({10: 0.5, 20: 0.7})
    write_run(tmp_path / "runs" / "whole", rows)
    write_run(
        tmp_path / "runs" / "part",
        rows[:2],
        seed=1,
        status={"state": "interrupted", "reason": None},
    )
    write_run(
        tmp_path / "runs" / "bad", [], seed=2, status={"state": "failed", "reason": "loss <NaN>"}
    )
    assert main([str(tmp_path / "runs"), "--out", str(tmp_path / "out")]) == 0
    words = "".join(read_page(tmp_path / "out" / "index.html")[1].words)
    assert f"Unfinished (interrupted): {tmp_path / 'runs' / 'part'}" in words
    assert f"Failed: {tmp_path / 'runs' / 'bad'} (entropy, seed 2): loss <NaN>" in words
    assert list(pd.read_csv(tmp_path / "out" / "results.csv")["seeds"]) == [2, 1]
    assert list(pd.read_csv(tmp_path / "out" / "runs.csv")["state"]) == [
        "done",
        "interrupted",
        "failed",
    ]


def test_mixed_devices_and_few_seeds_are_named(tmp_path: Path) -> None:
    for seed, device in enumerate(("cpu", "gpu")):
        write_run(
            tmp_path / "runs" / device,
            budget_rows({10: 0.5, 20: 0.7}),
            seed=seed,
            status={"device": device},
        )
    assert main([str(tmp_path / "runs"), "--out", str(tmp_path / "out")]) == 0
    words = "".join(read_page(tmp_path / "out" / "index.html")[1].words)
    assert "Mixed devices: the seeds of entropy ran on cpu; gpu." in words
    assert "Few seeds: entropy has 2, fewer than 3." in words
    assert pd.read_csv(tmp_path / "out" / "results.csv")["seconds"].isna().all()


def test_runs_without_any_result_still_give_a_page(tmp_path: Path) -> None:
    write_run(tmp_path / "runs" / "r", [], status={"state": "running", "device": None})
    arguments = [str(tmp_path / "runs"), "--out", str(tmp_path / "out")]
    assert main([*arguments, "--target-accuracy", "0.9"]) == 0
    words = "".join(read_page(tmp_path / "out" / "index.html")[1].words)
    assert "No test accuracy yet: entropy." in words
    assert list((tmp_path / "out").glob("*.png")) == []


def test_a_core_set_run_that_has_only_its_full_fit(tmp_path: Path) -> None:
    write_run(tmp_path / "runs" / "r", core_set_rows({}), pipeline="core_set")
    assert main([str(tmp_path / "runs"), "--out", str(tmp_path / "out")]) == 0
    assert list(pd.read_csv(tmp_path / "out" / "results.csv")["trained_on"]) == ["all rows"]


def test_unknown_seconds_leave_the_accuracies(tmp_path: Path) -> None:
    rows = core_set_rows({100: 0.7})
    for each in rows:
        each["seconds_fit"] = ""
    write_run(tmp_path / "runs" / "r", rows, pipeline="core_set", choices={"proxy": "p"})
    assert main([str(tmp_path / "runs"), "--out", str(tmp_path / "out")]) == 0
    assert [path.stem for path in (tmp_path / "out").glob("*.png")] == ["accuracy_rows"]


@pytest.mark.parametrize("extra", [[], ["--target-accuracy", "95"]])
def test_a_mistake_is_one_sentence_and_writes_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], extra: list[str]
) -> None:
    place = tmp_path / ("runs" if extra else "missing")
    write_run(tmp_path / "runs" / "r", budget_rows({10: 0.5}))
    assert main([str(place), "--out", str(tmp_path / "out"), *extra]) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.startswith("alframe-report: expected ")
    assert said.err.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_a_curve_that_cannot_be_read_writes_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = write_run(
        tmp_path / "runs" / "r",
        core_set_rows({100: 0.7}),
        pipeline="core_set",
        curves={"full_target": curve(5, 0.1)},
    )
    (run / "fits" / "full_target" / "curve.csv").write_text("epoch,split\n1,test\n")
    assert main([str(run), "--out", str(tmp_path / "out")]) == 2
    assert "curve.csv" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_a_file_in_the_place_of_out_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = write_run(tmp_path / "runs" / "r", budget_rows({10: 0.5}))
    (tmp_path / "out").write_text("mine")
    assert main([str(run), "--out", str(tmp_path / "out")]) == 2
    assert "--out" in capsys.readouterr().err
    assert (tmp_path / "out").read_text() == "mine"


def test_the_report_imports_neither_torch_nor_hydra_and_help_imports_nothing_heavy(
    tmp_path: Path,
) -> None:
    run = write_run(tmp_path / "runs" / "r", budget_rows({10: 0.5, 20: 0.6}))
    script = (
        "import sys\n"
        "from alframe.report.cli import _parser, main\n"
        "_parser().format_help()\n"
        "early = {'pandas', 'matplotlib', 'numpy', 'rich', 'yaml'} & set(sys.modules)\n"
        "code = main(sys.argv[1:])\n"
        "late = {'torch', 'hydra', 'omegaconf', 'lightning', 'pytorch_lightning'}\n"
        "sys.exit(code or bool(early) or bool(late & set(sys.modules)))\n"
    )
    arguments = [str(run), "--out", str(tmp_path / "out")]
    done = subprocess.run(
        [sys.executable, "-c", script, *arguments], capture_output=True, check=False
    )
    assert done.returncode == 0, done.stderr.decode()
