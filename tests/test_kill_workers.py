"""A run whose batches workers make, killed by the system and gone on with at once, elsewhere."""

import pytest
from test_kill import LONG_EPOCHS, Program
from tiny_runs import assert_same_results

from alframe.cli import run

VARIED = (
    *LONG_EPOCHS,
    "target.recipe.crop=1",
    "target.recipe.flip=true",
    "target.recipe.cutout=3",
    "target.recipe.mixup=0.4",
)


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_killed_with_workers_and_resumed_without(workdir):
    expected = run(*VARIED, "run_dir=undisturbed").path
    program = Program(workdir, (*VARIED, "data.loader=workers", "data.workers=1"))
    program.wait_until_it_holds_the_run()
    while not any((workdir / "killed").rglob("last.ckpt")):
        assert not program.ended_within(0.02)
    program.process.kill()
    program.process.wait()
    resumed = run(*VARIED, "data.loader=device", "run_dir=killed").path
    assert_same_results(resumed, expected)
    program.process.communicate()  # its workers end a few seconds later
