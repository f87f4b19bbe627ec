"""Cells as jobs of Slurm, or of this machine in the same way, through submitit.

Hydra's own launcher for submitit waits until all jobs have ended, for ever where one was killed and
there is no accounting, and forgets them when it is killed. Here jobs are noted in the sweep's
folder, and looked up in Slurm's queue.
"""

from __future__ import annotations

import logging
import signal
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.singleton import Singleton
from hydra_plugins.hydra_submitit_launcher import submitit_launcher
from hydra_plugins.hydra_submitit_launcher.config import BaseQueueConf

from alframe import signals
from alframe.sweeps.cells import Cell
from alframe.sweeps.folder import SweepFolder
from alframe.sweeps.queue import look_at, queued

log = logging.getLogger(__name__)
POLL = 2.0  # seconds between two looks at the queue
KEY = "hydra.sweep.dir"
TAKEN = ("done", "running", "queued")
COMMON = set(BaseQueueConf.__dataclass_fields__)
"""Parameters that submitit names alike for Slurm and this machine."""


class JobLauncher(submitit_launcher.BaseSubmititLauncher):  # type: ignore[misc]
    """Starts cells as jobs; configured by ``hydra/launcher``."""

    def __call__(self, overrides: list[str], *rest: Any) -> Any:
        """Makes a cell, in its job.

        submitit's handler would requeue the job in the middle of a step. Here a signal first ends
        the cell's run where it can go on, and then the job is requeued.
        """
        requeue = signal.getsignal(_asking())
        try:
            with signals.owned():
                return super().__call__(overrides, *rest)
        except signals.Left as left:
            # TERM alone is scancel's: it is to end; where Slurm preempts by it, Slurm requeues
            if left.number == _asking() and callable(requeue):
                requeue(_asking(), None)  # ends the process
            raise SystemExit(left.exit_code) from left

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> Sequence[Any]:
        """Submits the cells, and returns when none of their jobs is left."""
        assert self.config is not None
        folder = SweepFolder(Path(self.config.hydra.sweep.dir))
        todo = list(enumerate(job_overrides, initial_job_idx))
        waiting: dict[str, Any] = {}
        while todo or waiting:
            room = self._at_a_time - len(waiting)
            begun, todo = todo[:room], todo[room:]
            with folder.alone():  # another launcher may have submitted some meanwhile
                for name, job in self._submit(_missing(folder, begun)):
                    folder.asks(name, str(job.job_id), self._EXECUTOR)
                    waiting[name] = job
            time.sleep(POLL)
            alive = self._alive(list(waiting.values()))
            for name in [name for name, job in waiting.items() if str(job.job_id) not in alive]:
                job, look = waiting.pop(name), folder.look(name)
                log.info("job %s has ended: %s is %s. %s", job.job_id, name, look.state, look.error)
        return []

    @property
    def _at_a_time(self) -> int:
        """How many jobs are given away at a time; a job array has a limit of its own."""
        return 2**30

    def _submit(self, cells: Sequence[tuple[int, Sequence[str]]]) -> Iterator[tuple[str, Any]]:
        """Submits cells, given by number and overrides; yields their names and jobs."""
        import submitit

        if not cells:
            return
        own = {"submitit_folder", "max_num_timeout"}
        starting = {"folder": self.params["submitit_folder"]}
        if "max_num_timeout" in self.params:
            starting["slurm_max_num_timeout"] = self.params["max_num_timeout"]
        executor = submitit.AutoExecutor(cluster=self._EXECUTOR, **starting)
        executor.update_parameters(
            **{
                key if key in COMMON else f"{self._EXECUTOR}_{key}": value
                for key, value in self.params.items()
                if key not in own
            }
        )
        state = Singleton.get_state()
        words = [list(overrides) for _, overrides in cells]
        numbers = [number for number, _ in cells]
        rest = [[value] * len(cells) for value in (KEY, "job", state)]
        jobs = executor.map_array(self, words, rest[0], numbers, *rest[1:])
        folder = str(executor.folder).replace("%j", "*")
        log.info("%d jobs (%s); what they print is in %s", len(jobs), _ids(jobs), folder)
        yield from zip(map(_name, words), jobs, strict=True)

    def _alive(self, jobs: Sequence[Any]) -> set[str]:
        """Returns the ids of those jobs that are queued or run."""
        return {str(job.job_id) for job in jobs if not job.done()}


class LocalLauncher(JobLauncher):
    """Starts cells as processes of this machine, ``array_parallelism`` at a time."""

    _EXECUTOR = "local"

    def __init__(self, array_parallelism: int, **params: Any) -> None:
        super().__init__(**params)
        self._parallel = array_parallelism

    @property
    def _at_a_time(self) -> int:
        return self._parallel


class SlurmLauncher(JobLauncher):
    """Starts cells as a job array of Slurm."""

    _EXECUTOR = "slurm"

    def _alive(self, jobs: Sequence[Any]) -> set[str]:
        return queued() & {str(job.job_id) for job in jobs}


def _asking() -> int:
    """Returns the signal that submitit asks for before the end of a job."""
    from submitit.core.job_environment import JobEnvironment

    return int(JobEnvironment._usr_sig())


def _missing(
    folder: SweepFolder, cells: Sequence[tuple[int, Sequence[str]]]
) -> list[tuple[int, Sequence[str]]]:
    """Returns those cells, given by number and overrides, that nobody makes or has made."""
    looks = look_at(folder, [Cell(_name(words), tuple(words)) for _, words in cells])
    return [cell for cell in cells if looks[_name(cell[1])].state not in TAKEN]


def _name(words: Sequence[str]) -> str:
    (word,) = [word for word in words if word.startswith("sweep.cell=")]
    return str(OverridesParser.create().parse_overrides([word])[0].value())


def _ids(jobs: Sequence[Any]) -> str:
    return ", ".join(dict.fromkeys(str(job.job_id).partition("_")[0] for job in jobs))
