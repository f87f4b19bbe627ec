"""Sweeps killed at random moments: the same command again ends as an undisturbed one."""

import random
import time

import pytest
from sweep_parts import SLOW_FITS, SWEPT, Sweep, assert_same_sweep, stamps

LAUNCHERS = {
    "basic": (),
    "joblib": ("hydra/launcher=joblib", "hydra.launcher.n_jobs=2"),
    "local": ("hydra/launcher=local",),
}


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("launcher", LAUNCHERS)
def test_killed_three_times(tmp_path, launcher):
    start = time.perf_counter()
    Sweep(tmp_path / "undisturbed", *SWEPT, *SLOW_FITS, cwd=tmp_path).ended()
    seconds = time.perf_counter() - start
    words = (*SWEPT, *SLOW_FITS, *LAUNCHERS[launcher])
    draws = random.Random(4)
    done = {}
    for _ in range(3):
        sweep = Sweep(tmp_path / "killed", *words, cwd=tmp_path)
        while not list((tmp_path / "killed").glob("*/status.json")):
            time.sleep(0.05)
            assert sweep.process.poll() is None
        time.sleep(draws.uniform(0.05, 0.3) * seconds)
        sweep.kill()
        assert done.items() <= stamps(tmp_path / "killed").items(), "one was made again"
        finished = {name for name, state in sweep.states().items() if state == "done"}
        done = {p: at for p, at in stamps(tmp_path / "killed").items() if p.parent.name in finished}
    sweep = Sweep(tmp_path / "killed", *words, cwd=tmp_path)
    assert "4 cells: 4 done" in sweep.ended()
    assert done.items() <= stamps(tmp_path / "killed").items(), "one was made again"
    assert_same_sweep(tmp_path / "killed", tmp_path / "undisturbed", sweep.cells())


@pytest.mark.slow
@pytest.mark.parametrize("launcher", ["joblib", "local"])
def test_only_the_launcher_is_killed(tmp_path, launcher):
    """Its workers may go on for a while: nothing is made twice at the same time."""
    words = (*SWEPT, *SLOW_FITS, *LAUNCHERS[launcher])
    sweep = Sweep(tmp_path / "sweep", *words, cwd=tmp_path)
    while not list((tmp_path / "sweep").glob("*/stages/round_001_query.npz")):
        time.sleep(0.05)
        assert sweep.process.poll() is None
    sweep.kill(everything=False)
    assert "4 cells: 4 done" in Sweep(tmp_path / "sweep", *words, cwd=tmp_path).ended()
    Sweep(tmp_path / "undisturbed", *SWEPT, *SLOW_FITS, cwd=tmp_path).ended()
    assert_same_sweep(tmp_path / "sweep", tmp_path / "undisturbed", sweep.cells())
