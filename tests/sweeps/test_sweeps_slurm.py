"""Sweeps on a real Slurm, with the partitions of ../shared/slurm: main, low and high.

    pytest -m slurm

They need Slurm and its running controller.
"""

import json
import os
import shutil
import signal
import subprocess
import sys
import time

import pytest
from sweep_parts import SLOW_FITS, Sweep, assert_same_sweep, starts
from tiny_runs import ROOT, environment

from alframe.sweeps.folder import SweepFolder
from alframe.sweeps.queue import look_at

pytestmark = [pytest.mark.slurm, pytest.mark.timeout(1600)]
JOBS = (
    "hydra/launcher=slurm", "hydra.launcher.cpus_per_task=1", "hydra.launcher.mem_gb=2",
    "hydra.launcher.timeout_min=20", "hydra.launcher.partition=main",
)  # fmt: skip
LOW = (*JOBS[:-1], "hydra.launcher.partition=low")
SIX = ("strategy=random,margin", "seed=0,1,2")
ONE = ("strategy=margin", "seed=0")


def told(*command):
    return subprocess.run(command, capture_output=True, text=True, check=True, timeout=60).stdout


@pytest.fixture(autouse=True)
def slurm():
    """Skips where Slurm is not there, and leaves its queue empty."""
    if shutil.which("sbatch") is None:
        pytest.skip("Slurm is not installed: no sbatch on PATH")
    try:
        partitions = told("sinfo", "--noheader", "--format=%R").split()
    except (subprocess.CalledProcessError, subprocess.TimeoutExpired) as error:
        pytest.skip(f"Slurm does not answer: {error}")
    if not {"main", "low", "high"} <= set(partitions):
        pytest.skip(f"expected Slurm's partitions main, low and high, got {partitions}")
    yield
    told("scancel", "--me", "--signal=KILL", "--full")
    told("scancel", "--me")


@pytest.fixture
def undisturbed(tmp_path):
    def make(*words):
        Sweep(tmp_path / "undisturbed", *SLOW_FITS, *words, cwd=tmp_path).ended()
        return tmp_path / "undisturbed"

    return make


def wait_for(done, seconds=180):
    """Waits until there is something, and returns it."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if found := done():
            return found
        time.sleep(0.2)
    raise AssertionError(f"not within {seconds} s: {told('squeue')}")


def jobs(sweep):
    notes = sweep.folder.glob("cells/*.job.json")
    return sorted(json.loads(path.read_text())["id"] for path in notes)


def training(sweep):
    """Whether a fit of a second round is under way."""
    return list(sweep.folder.glob("*/fits/round_001_target/scratch")) or list(
        sweep.folder.glob("shared/*/scratch")
    )


def field(job, name):
    fields = dict(pair.split("=", 1) for pair in told("scontrol", "-o", "show", "job", job).split()
                  if "=" in pair)  # fmt: skip
    return fields[name]


def test_a_sweep_as_an_array(tmp_path, undisturbed):
    sweep = Sweep(tmp_path / "sweep", *SIX, *SLOW_FITS, *JOBS, cwd=tmp_path)
    assert "6 cells: 6 done" in sweep.ended()
    assert len({job.partition("_")[0] for job in jobs(sweep)}) == 1
    assert len(set(jobs(sweep))) == 6
    assert_same_sweep(tmp_path / "sweep", undisturbed(*SIX), sweep.cells())


def status(sweep, name):
    return json.loads((sweep.folder / name / "status.json").read_text())


def gone_on_with(job):
    """Starts a requeued job at once, where Slurm would let it wait for two minutes."""
    told("scontrol", "update", f"JobId={job}", "StartTime=now")


def test_preempted_cells_of_an_array_are_requeued_and_go_on(tmp_path, undisturbed):
    words = ("strategy=margin", "seed=0,1")
    sweep = Sweep(tmp_path / "sweep", *words, *SLOW_FITS, *LOW, cwd=tmp_path)
    wait_for(lambda: set(sweep.states().values()) == {"running"} and training(sweep))
    told("sbatch", "--partition=high", "--exclusive", "--mem=100", "--output=/dev/null",
         "--wrap=sleep 3")  # fmt: skip
    wait_for(lambda: not told("squeue", "--noheader", "--partition=high"))
    displaced = [job for job in jobs(sweep) if field(job, "Restarts") == "1"]
    assert displaced
    left = {name for name, state in sweep.states().items() if state == "interrupted"}
    before = {name: status(sweep, name)["run_id"] for name in left}
    assert left
    assert {status(sweep, name)["reason"] for name in left} <= {"Left: SIGUSR2", "Left: SIGTERM"}
    assert list(sweep.folder.rglob("last.ckpt"))
    for job in displaced:
        gone_on_with(job)
    assert "2 cells: 2 done" in sweep.ended()
    assert {field(job, "Restarts") for job in displaced} == {"1"}
    assert all(starts(sweep.folder)[name] == 1 for name in left)
    assert before == {name: status(sweep, name)["run_id"] for name in left}, "one run of W&B"
    assert_same_sweep(sweep.folder, undisturbed(*words), sweep.cells())


def test_a_cell_at_the_end_of_its_time_is_requeued_and_goes_on(tmp_path, undisturbed):
    words = (*ONE, "target.recipe.epochs=800")  # Slurm tells it up to a minute too early
    limits = ("hydra.launcher.timeout_min=2", "hydra.launcher.signal_delay_s=20")
    sweep = Sweep(tmp_path / "sweep", *SLOW_FITS, *JOBS, *words, *limits, cwd=tmp_path)
    wait_for(lambda: jobs(sweep))
    (job,) = jobs(sweep)
    wait_for(lambda: field(job, "Restarts") == "1", seconds=300)
    (status,) = sweep.folder.glob("*/status.json")
    assert json.loads(status.read_text())["reason"] == "Left: SIGUSR2"
    while sweep.process.poll() is None:  # a slow machine comes to the end of its time again
        if field(job, "JobState") == "PENDING":
            gone_on_with(job)
        time.sleep(1)
    assert "1 cells: 1 done" in sweep.ended()
    assert list(starts(sweep.folder).values()) == [int(field(job, "Restarts"))]
    assert_same_sweep(sweep.folder, undisturbed(*words), sweep.cells())


def test_two_launchers_submit_each_cell_once(tmp_path):
    words = ("strategy=margin", "seed=0,1,2", *SLOW_FITS, *JOBS)
    both = [Sweep(tmp_path / "sweep", *words, cwd=tmp_path) for _ in range(2)]
    assert all("3 cells: 3 done" in sweep.ended() for sweep in both)
    printed = list((tmp_path / "sweep" / "jobs").glob("*/*_0_log.out"))
    assert len(printed) == 3, "one for each job"


def test_a_cell_that_is_killed_hard_is_told_soon_and_gone_on_with(tmp_path, undisturbed):
    sweep = Sweep(tmp_path / "sweep", *ONE, *SLOW_FITS, *JOBS, cwd=tmp_path)
    wait_for(lambda: training(sweep))
    (cell,) = sweep.folder.glob("cells/*.lock")
    os.kill(int(cell.read_text().split()[1]), signal.SIGKILL)
    start = time.monotonic()
    said = sweep.ended(code=1)
    assert time.monotonic() - start < 60
    assert "1 cells: 1 killed" in said
    sweep = Sweep(tmp_path / "sweep", *ONE, *SLOW_FITS, *JOBS, cwd=tmp_path)
    assert "1 cells: 1 done" in sweep.ended()
    assert_same_sweep(sweep.folder, undisturbed(*ONE), sweep.cells())


def test_killing_the_launcher_loses_nothing(tmp_path, undisturbed):
    words = ("strategy=margin", "seed=0,1")
    sweep = Sweep(tmp_path / "sweep", *words, *SLOW_FITS, *JOBS, cwd=tmp_path)
    wait_for(lambda: training(sweep))
    before = jobs(sweep)
    sweep.kill()
    again = Sweep(tmp_path / "sweep", *words, *SLOW_FITS, *JOBS, cwd=tmp_path)
    said = again.ended()
    assert "queued" in said or "running" in said
    assert "2 cells: 2 done" in said
    assert jobs(sweep) == before, "none was submitted again"
    assert_same_sweep(sweep.folder, undisturbed(*words), sweep.cells())


def test_the_small_reproduction_as_an_array_and_its_report(tmp_path):
    folder = tmp_path / "svp"
    batch = ("--partition=main", "--cpus-per-task=1", "--mem=2G", "--time=20")
    command = (
        ROOT / "scripts" / "submit_slurm.sh",
        folder,
        "--small",
        "--seeds",
        "0",
        "--",
        *batch,
    )
    done = subprocess.run(
        command, env=environment(PYTHON=sys.executable), capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert done.stdout.startswith("18 runs as job ")
    wait_for(lambda: not told("squeue", "--noheader", "--me"), seconds=1500)
    (report,) = (folder / "jobs").glob("report_*.out")
    assert "0 of 18 runs are missing" in report.read_text()
    assert (folder / "results" / "svp_cifar10_headline.json").is_file()
    done = subprocess.run(
        command, env=environment(PYTHON=sys.executable), capture_output=True, text=True,
        check=True,
    )  # fmt: skip
    assert done.stdout.startswith("the report as job "), "no run is missing"


def test_a_job_that_ends_before_its_cell_begins_is_told(tmp_path):
    words = (*ONE, *SLOW_FITS, *JOBS, "hydra.launcher.setup=[exit 1]")
    said = Sweep(tmp_path / "sweep", *words, cwd=tmp_path).ended(code=1)
    assert "1 cells: 1 killed" in said
    folder = SweepFolder(tmp_path / "sweep")
    (look,) = look_at(folder, folder.known()).values()
    assert "its job ended before it began" in look.error


def test_scancel_ends_a_cell_which_goes_on_later(tmp_path, undisturbed):
    sweep = Sweep(tmp_path / "sweep", *ONE, *SLOW_FITS, *JOBS, cwd=tmp_path)
    wait_for(lambda: training(sweep))
    told("scancel", *jobs(sweep))
    assert "1 cells: 1 interrupted" in sweep.ended(code=1)
    assert len(list(sweep.folder.rglob("last.ckpt"))) == 1
    sweep = Sweep(tmp_path / "sweep", *ONE, *SLOW_FITS, *JOBS, cwd=tmp_path)
    assert "1 cells: 1 done" in sweep.ended()
    assert_same_sweep(sweep.folder, undisturbed(*ONE), sweep.cells())
