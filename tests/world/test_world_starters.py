"""Which process of how many this is, and what is refused."""

import pytest
from tiny_runs import ACTIVE, QUIET

from alframe.cli import run
from alframe.errors import UserError
from alframe.starters import Place, check_alone, check_one_run, find_place, first_host

TORCHRUN = {
    "RANK": "3",
    "WORLD_SIZE": "4",
    "LOCAL_RANK": "1",
    "MASTER_ADDR": "node1",
    "MASTER_PORT": "29500",
    "TORCHELASTIC_RUN_ID": "none",
    "TORCHELASTIC_USE_AGENT_STORE": "True",
}
SLURM = {
    "SLURM_JOB_ID": "77",
    "SLURM_STEP_ID": "0",
    "SLURM_STEP_NODELIST": "gpu[03-04]",
    "SLURM_STEP_NUM_TASKS": "8",
    "SLURM_NTASKS": "8",
    "SLURM_PROCID": "5",
    "SLURM_LOCALID": "1",
}


def test_torchrun():
    assert find_place(TORCHRUN) == Place(3, 4, 1, "node1", 29500, served=True)


def test_variables_alone():
    by_hand = {name: TORCHRUN[name] for name in ("RANK", "WORLD_SIZE", "MASTER_ADDR")}
    assert find_place({**by_hand, "MASTER_PORT": "1"}) == Place(3, 4, 3, "node1", 1)
    with pytest.raises(UserError, match="expected MASTER_PORT in the environment"):
        find_place(by_hand)
    with pytest.raises(UserError, match="RANK=4 with WORLD_SIZE=4: expected 0 to 3"):
        find_place({**TORCHRUN, "RANK": "4"})
    with pytest.raises(UserError, match="WORLD_SIZE=two: expected a whole number"):
        find_place({**TORCHRUN, "WORLD_SIZE": "two"})


def test_slurm():
    place = find_place(SLURM)
    assert (place.rank, place.size, place.local_rank, place.address) == (5, 8, 1, "gpu03")
    assert find_place({**SLURM, "SLURM_PROCID": "0"}).port == place.port > 1024
    assert find_place({**SLURM, "SLURM_STEP_ID": "1"}).port != place.port
    assert find_place({**SLURM, "MASTER_ADDR": "there"}).address == "there"


@pytest.mark.parametrize(
    ("nodes", "host"),
    [
        ("node1", "node1"),
        ("node1,node2", "node1"),
        ("gpu[01-03,07],login", "gpu01"),
        ("gpu[7,9]", "gpu7"),
        ("rack[2-3]n-ib,x", "rack2n-ib"),
    ],
)
def test_the_first_host_of_slurms_list(nodes, host):
    assert first_host(nodes) == host


def test_ddp_that_was_started_alone_says_how_to_start_it(monkeypatch, workdir):
    for name in (*TORCHRUN, *SLURM):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(UserError, match=r"use torchrun --nproc-per-node 2 -m alframe"):
        run(*ACTIVE, *QUIET, "trainer=ddp", "run_dir=x")
    monkeypatch.setenv("SLURM_NTASKS", "4")
    with pytest.raises(UserError, match=r"a Slurm job of 4 tasks: .* start it with srun"):
        run(*ACTIVE, *QUIET, "trainer=ddp", "run_dir=x")
    assert list(workdir.iterdir()) == []


def test_torchrun_without_ddp_is_refused():
    with pytest.raises(UserError, match="torchrun started 4 processes: expected trainer=ddp"):
        check_alone(TORCHRUN)
    with pytest.raises(UserError, match="start torchrun once for each cell"):
        check_one_run(TORCHRUN)
    check_alone({**TORCHRUN, "WORLD_SIZE": "1"})
    check_alone({"WORLD_SIZE": "4"})  # some clusters set it for every job
    check_one_run({})


@pytest.mark.parametrize("key", ["compile", "cuda_graphs"])
def test_what_ddp_cannot_do_is_refused(key, monkeypatch, workdir):
    monkeypatch.setenv("RANK", "0")
    monkeypatch.setenv("WORLD_SIZE", "1")
    with pytest.raises(UserError, match=rf"trainer\.{key}=true: expected auto or false"):
        run(*ACTIVE, *QUIET, "trainer=ddp", f"trainer.{key}=true", "run_dir=x")
    with pytest.raises(UserError, match=r"trainer\.parallel=dp: expected ddp or null"):
        run(*ACTIVE, *QUIET, "trainer=ddp", "trainer.parallel=dp", "run_dir=x")


def test_a_single_process_of_ddp_is_a_world_of_one(monkeypatch, workdir):
    monkeypatch.setenv("RANK", "0")
    monkeypatch.setenv("WORLD_SIZE", "1")
    result = run(*ACTIVE, *QUIET, "trainer=ddp", "run_dir=x")
    assert result.outcome.state == "done"
