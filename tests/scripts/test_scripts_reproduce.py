"""The reproduction of Selection via Proxy: its runs, its table, and the whole way, small."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from tiny_runs import environment

from alframe.cli.compose import compose

ROOT = Path(__file__).parents[2]
SCRIPTS = ROOT / "scripts"
sys.path += [str(SCRIPTS), str(ROOT / "tests" / "report")]

import carry_runs  # noqa: E402
import svp_cells  # noqa: E402
import svp_table  # noqa: E402
from report_runs import budget_rows, core_set_rows, row, write_fidelity, write_run  # noqa: E402

SEEDS = [0, 1, 2]
HEADLINE = ("core_set", "forgetting", "181", "0.5")
ALL_CELLS = [
    *svp_cells.core_set(SEEDS), *svp_cells.compared(SEEDS), *svp_cells.active(SEEDS),
]  # fmt: skip


def reproduce(folder, *words):
    done = subprocess.run(
        [SCRIPTS / "reproduce_svp_cifar10.sh", folder, "--small", *words],
        env=environment(PYTHON=sys.executable, OMP_NUM_THREADS="1"),
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


def test_all_that_the_issue_asks_for_is_there_and_the_headline_is_first():
    cells = svp_cells.core_set(SEEDS)
    assert [cell.kind for cell in cells[:3]] == [HEADLINE] * 3
    assert [cell.seed for cell in cells[:3]] == SEEDS
    chosen = ("forgetting", "entropy", "facility_location", "kcenter")
    wanted = {("core_set", s, p, k) for s in chosen for p in ("181", "50") for k in ("0.5", "0.3")}
    wanted |= {("core_set", "random", "", share) for share in ("0.5", "0.3")}
    assert {cell.kind for cell in cells} == wanted
    assert len(cells) == 3 * len(wanted), "nothing twice"
    assert len({cell.name for cell in ALL_CELLS}) == len(ALL_CELLS)


def test_the_target_is_trained_on_all_rows_once_for_each_seed():
    full = [c for c in svp_cells.core_set(SEEDS) if "pipeline.full=false" not in c.more]
    assert [(c.kind, c.seed) for c in full] == [(HEADLINE, seed) for seed in SEEDS]


@pytest.mark.parametrize("small", [False, True])
def test_every_run_composes_and_is_what_its_name_says(small):
    for cell in (cell for cell in ALL_CELLS if cell.seed == 2):
        config = compose([*cell.overrides(small), "run_dir=x", "share.dir=y"])
        epochs = None if config.proxy is None else config.proxy.recipe.epochs
        assert config.seed == 2
        if cell.share:
            assert config.pipeline.sizes == [float(cell.share)]
        if cell.proxy == "itself":
            assert epochs is None
        elif cell.proxy and not small:
            assert sum(epochs) == int(cell.proxy)
            assert (config.proxy.model.depth, config.target.model.depth) == (20, 164)
        if small:
            assert config.data.subset <= 300
            assert config.target.model.depth == 8


def write_cells(folder):
    """Two seeds of the headline with its full run, one of random and of the short proxy."""
    runs = folder / "runs"
    for seed in (0, 1):
        path = write_run(
            runs / svp_cells.Cell(*HEADLINE, seed).name,
            core_set_rows({500: 0.94 - seed / 100}, proxy_seconds=10, full_seconds=100 + 20 * seed),
            seed=seed, pipeline="core_set", choices={"proxy": "p"},
        )  # fmt: skip
        agreement = {
            "round_id": 0, "train_rows": 500, "candidates": 1000, "overlap": 0.6 + seed / 10,
            "chance": 0.5, "spearman": 0.5, "kendall": 0.4, "seconds_observe": 1,
            "seconds_select": 1,
        }  # fmt: skip
        write_fidelity(path, [agreement])
    rest = {"full": None, "full_seconds": 100.0}
    write_run(
        runs / "core_set-random-0.5-seed0", core_set_rows({500: 0.9}, proxy_seconds=None, **rest),
        pipeline="core_set", status={"observes": []},
    )  # fmt: skip
    write_run(
        runs / "core_set-forgetting-50-0.5-seed0",
        core_set_rows({500: 0.93}, proxy_seconds=5, **rest),
        pipeline="core_set", choices={"proxy": "p"}, status={"device": "another"},
    )  # fmt: skip
    write_run(
        runs / "core_set-entropy-181-0.5-seed0", core_set_rows({500: 0.9}, full=None),
        pipeline="core_set", status={"state": "interrupted"},
    )  # fmt: skip


def test_the_table_of_a_part_by_hand(tmp_path):
    write_cells(tmp_path)
    cells = svp_cells.core_set(SEEDS)
    kept = svp_table.reproduction(tmp_path, cells, small=False)
    whole, headline, random, short = kept["table"]
    assert whole["strategy"] == "all rows"
    assert (whole["seeds"], whole["error"]["mean"]) == ([0, 1], 0.05)
    assert headline["error"]["mean"] == pytest.approx(0.065)
    assert headline["error_above_baseline"]["mean"] == pytest.approx(0.015)
    # proxy 10 s, observing and selecting 3 s, target half of the full run's 100 and 120 s
    assert headline["seconds"] == pytest.approx((63 + 73) / 2)
    assert headline["speed_up"]["mean"] == pytest.approx((100 / 63 + 120 / 73) / 2, abs=1e-6)
    assert headline["break_even"] == pytest.approx((1 - 13 / 100 + 1 - 13 / 120) / 2, abs=1e-6)
    assert headline["overlap"] == pytest.approx(0.65)
    assert "5.3 %" in headline["published"]
    assert random["speed_up"]["mean"] == pytest.approx(100 / 53, abs=1e-6)
    assert short["speed_up"]["mean"] is None, "it ran on another device"
    assert short["error_above_baseline"]["mean"] == pytest.approx(0.02)
    assert len(kept["missing"]) == len(cells) - 4
    assert "core_set-entropy-181-0.5-seed0" in kept["missing"]
    lines = svp_table.table(kept).splitlines()
    assert "| forgetting, 181-epoch proxy | 2 | 6.50 % |" in lines[3]
    assert "about 5.3 %" in lines[3]
    assert f"4 of {len(cells)} runs done" in lines[-1]
    json.dumps(kept, allow_nan=False)


def test_a_small_table_has_no_published_figures(tmp_path):
    write_cells(tmp_path)
    kept = svp_table.reproduction(tmp_path, svp_cells.core_set(SEEDS), small=True)
    assert {line["published"] for line in kept["table"]} == {None}
    assert "ResNet-164" not in svp_table.table(kept)


def test_the_active_form_is_compared_with_the_target_itself(tmp_path):
    kinds = {"itself": None, "181": "p"}
    for name, proxy in kinds.items():
        rows = budget_rows({10: 0.5, 20: 0.7, 30: 0.8}, seconds=10)
        if proxy:
            rows = [each | {"model": "proxy", "seconds_fit": 1.0} for each in rows]
            rows = [each | {"fit": each["fit"].replace("target", "proxy")} for each in rows]
            rows.append(row("round_002_target", 30, 0.79, round_id=2, seconds=(30.0, 0, 0)))
        path = tmp_path / "runs" / f"active-least_confidence-{name}-seed0"
        write_run(path, rows, choices={"proxy": proxy})
    kept = svp_table.reproduction(tmp_path, svp_cells.active([0]), small=False)
    with_proxy, itself = kept["table"]
    assert (with_proxy["proxy"], itself["proxy"]) == ("181", "itself")
    # rounds 0 and 1 take 10 + 20 s by the target, 2 s by the proxy; choosing takes 1.5 s for both
    assert with_proxy["selection_speed_up"]["mean"] == pytest.approx(31.5 / 3.5)
    assert with_proxy["speed_up"]["mean"] == pytest.approx((31.5 + 30) / (3.5 + 30), abs=1e-6)
    assert with_proxy["error_above_baseline"]["mean"] == pytest.approx(0.01)


def test_what_is_carried_comes_back_without_the_models_of_finished_runs(tmp_path, capsys):
    source, target = tmp_path / "here", tmp_path / "there"
    for name, state in (("done", "done"), ("begun", "interrupted")):
        path = write_run(source / "runs" / name, core_set_rows({5: 0.5}), status={"state": state})
        (path / "fits" / "proxy").mkdir(parents=True)
        (path / "fits" / "proxy" / "fitted.npz").write_bytes(name.encode())
        (path / "lock").touch()
    big = source / "shared" / "0123" / "fitted.npz"
    big.parent.mkdir(parents=True)
    big.write_bytes(b"".join(i.to_bytes(4, "big") for i in range(2**16)))
    shared = {
        "0123": ("full_target: fit target", "done"),
        "4567": ("size_000_target: fit", "begun"),
        "89ab": ("size_000_target: fit", "done"),
    }
    for name, (what, maker) in shared.items():
        note = source / "shared" / name / "fit.json"
        note.parent.mkdir(exist_ok=True)
        note.write_text(json.dumps({"what": what, "made_by": [{"path": f"/else/{maker}"}]}))
        if name != "0123":
            (note.parent / "fitted.npz").write_bytes(b"small, but of less use")
    (source / "runs/begun/fits/proxy/scratch").mkdir()
    (source / "runs/begun/fits/proxy/scratch/last.ckpt").write_bytes(b"to go on from")
    for place in ("report_core_set/index.html", "compiled/graphs/one"):
        (source / place).parent.mkdir(parents=True)
        (source / place).write_text(place)
    order = [str(path.relative_to(source)) for rank, path in carry_runs.wanted(source) if rank]
    assert order == [
        "runs/begun/fits/proxy/scratch/last.ckpt", "shared/0123/fitted.npz",
        "shared/4567/fitted.npz", "compiled/graphs/one",
    ]  # fmt: skip
    carry_runs.pack(source, tmp_path / "parts", limit=10_000)
    said = capsys.readouterr().out
    assert [x for x in said.splitlines() if "left" in x] == ["left behind: shared/0123/fitted.npz"]
    carry_runs.unpack(tmp_path / "parts", target)
    found = {str(path.relative_to(target)) for path in target.rglob("*") if path.is_file()}
    files = ("config.yaml", "status.json", "metrics.csv")
    records = {f"runs/{run}/{name}" for run in ("done", "begun") for name in files}
    assert found == records | {f"shared/{name}/fit.json" for name in shared} | {*order} - {
        "shared/0123/fitted.npz"
    }
    for name in found:
        assert (target / name).read_bytes() == (source / name).read_bytes()
    carry_runs.pack(source, tmp_path / "all", limit=10**7)
    carry_runs.unpack(tmp_path / "all", tmp_path / "whole")
    assert (tmp_path / "whole" / "shared" / "0123" / "fitted.npz").read_bytes() == big.read_bytes()


@pytest.mark.slow
def test_the_small_reproduction_in_pieces(tmp_path):
    folder = tmp_path / "svp"
    assert "are missing" in reproduce(folder, "--seeds", "0", "--minutes", "0.1")
    begun = {path.parent.name for path in folder.glob("runs/*/status.json")}
    assert len(begun) < len(svp_cells.core_set([0]))
    said = reproduce(folder, "--seeds", "0", "--fidelity", "--active")
    assert "0 of 31 runs are missing" in said
    kept = json.loads((folder / "results" / "svp_cifar10_core_set.json").read_text())
    assert kept["reproduction"]["missing"] == []
    assert {line["strategy"] for line in kept["reproduction"]["table"]} >= {"all rows", "random"}
    figures = {"headline_speed_up_forgetting", "headline_wall_clock_forgetting"}
    figures |= {"core_set_accuracy_rows", "active_accuracy_labels"}
    names = {f"svp_cifar10_{name}" for name in ("headline", "core_set", "active", *figures)}
    assert {path.stem for path in (folder / "results").iterdir()} == names
    assert len(kept["fidelity"]) == 8
    made = [fit["what"] for fit in kept["reproduction"]["fits"]]
    assert sum(what.startswith("full_target") for what in made) == 1, "once for all"
    proxies = [what for what in made if what.startswith("proxy: fit proxy on 300 rows")]
    assert len(proxies) == 2, "181 and 50 epochs"
    before = {path: path.stat().st_mtime_ns for path in folder.glob("runs/*/*.csv")}
    assert "0 of 18 runs are missing" in reproduce(folder, "--seeds", "0", "--list")
    assert "0 of 18 runs are missing" in reproduce(folder, "--seeds", "0")
    assert before == {path: path.stat().st_mtime_ns for path in folder.glob("runs/*/*.csv")}
