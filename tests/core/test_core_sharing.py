"""Fits that runs have in common: what tells them apart, and that each is made once."""

from __future__ import annotations

import json
import logging
import signal
import socket
import subprocess
import sys
import threading
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
from tiny_runs import environment

from alframe.errors import UserError
from alframe.protocols import Need, Scope, View
from alframe.run_dir import RunDir, take_lock
from alframe.sharing import MAKERS, Sharing, Wanted, others, signature, view_digest

VIEW = View(np.array([3, 5, 8]), np.array([0, 1, 0]))
CORRECT = Need("dynamics", fields=("correct",))
WANTED = Wanted("full_target", "target", VIEW, (0, "fit target", 0), (CORRECT,))
DECIDES = {
    "fingerprint": "abc",
    "device": "cpu: 1 threads",
    "versions": {"torch": "2.15"},
    "learners": {"target": {"epochs": 3}, "proxy": {"epochs": 1}},
}


@dataclass
class Toy:
    """What a learner of these tests gives back."""

    value: float
    seconds: float = 2.5

    def state(self):
        return {"weights": np.full(100, self.value), "curve": [], "seconds": self.seconds}


@pytest.fixture
def runs(tmp_path):
    """Two runs, as two cells of a sweep."""
    opened = [RunDir.open(tmp_path / name, {"seed": 0}) for name in ("one", "two")]
    yield opened
    for run in opened:
        run.close()


@pytest.fixture
def heard(caplog, monkeypatch):
    monkeypatch.setattr(logging.getLogger("alframe"), "propagate", True)
    caplog.set_level(logging.INFO, "alframe")

    def said(level):
        return [r.getMessage() for r in caplog.records if r.levelname == level]

    return said


@pytest.fixture
def sharing(tmp_path):
    return Sharing(str(tmp_path / "shared"), decides=DECIDES)


def entry(sharing, wanted=WANTED):
    return sharing.folder / signature(sharing.signed(wanted))


def never(folder):
    pytest.fail("a fit was trained that is there")


# --- the signature ---


def signed(wanted=WANTED, **changes):
    return signature(Sharing("shared", decides={**DECIDES, **changes}).signed(wanted))


OTHER_FITS = {
    "rows": {"view": View(np.array([3, 5, 9]), VIEW.labels)},
    "order of rows": {"view": View(VIEW.rows[[1, 0, 2]], VIEW.labels)},
    "labels": {"view": View(VIEW.rows, np.array([0, 1, 1]))},
    "weights": {"view": View(VIEW.rows, VIEW.labels, np.ones(3))},
    "learner": {"learner": "proxy"},
    "seed": {"stream": (1, "fit target", 0)},
    "purpose": {"stream": (0, "fit proxy", 0)},
    "round": {"stream": (0, "fit target", 1)},
    "nothing recorded": {"needs": ()},
    "other fields": {"needs": (Need("dynamics", fields=("margin",)),)},
    "more fields": {"needs": (CORRECT, Need("dynamics", fields=("margin",)))},
    "stops early": {"needs": (replace(CORRECT, until_epoch=2),)},
}
OTHER_RUNS = {
    "data": {"fingerprint": "xyz"},
    "device": {"device": "cpu: 2 threads"},
    "versions": {"versions": {"torch": "2.16"}},
    "recipe": {"learners": {"target": {"epochs": 4}, "proxy": {"epochs": 1}}},
    "anything new": {"loader": "workers"},
}


@pytest.mark.parametrize("case", OTHER_FITS)
def test_another_fit_has_another_signature(case):
    assert signed(replace(WANTED, **OTHER_FITS[case])) != signed()


@pytest.mark.parametrize("case", OTHER_RUNS)
def test_a_fit_of_another_kind_of_run_has_another_signature(case):
    assert signed(**OTHER_RUNS[case]) != signed()


SAME_FITS = {
    "name": {"name": "other"},
    "who reads it": {"needs": (replace(CORRECT, scope=Scope.LABELED),)},
    "and what else": {"needs": (Need("probs"), CORRECT, Need("embeddings", Scope.POOL))},
    "how many are averaged": {"needs": (replace(CORRECT, fits=3),)},
    "copies": {"view": View(VIEW.rows.copy(), VIEW.labels.copy())},
}


@pytest.mark.parametrize("case", SAME_FITS)
def test_what_does_not_matter_to_a_fit_is_not_signed(case):
    assert signed(replace(WANTED, **SAME_FITS[case])) == signed()


def test_the_other_learner_is_not_signed():
    learners = {"target": {"epochs": 3}, "proxy": {"epochs": 7}}
    assert signed(learners=learners) == signed()
    assert signed(learners={"target": {"epochs": 3}}) == signed()


@pytest.mark.parametrize(
    ("until", "expected"), [((), None), ((3,), 3), ((3, 5), 5), ((3, None), None), ((None,), None)]
)
def test_a_fit_stops_when_the_last_of_its_needs_has_seen_enough(until, expected):
    needs = tuple(replace(CORRECT, until_epoch=epochs) for epochs in until)
    found = Sharing("shared").signed(replace(WANTED, needs=needs))
    assert found["until_epoch"] == expected


def test_types_and_shapes_are_part_of_a_view():
    short = View(VIEW.rows, VIEW.labels.astype(np.int32))
    weights = np.array([1.0, 2.0, 3.0])
    digests = [
        view_digest(view)["sha"]
        for view in (
            VIEW,
            short,
            replace(VIEW, weights=weights),
            replace(VIEW, weights=weights / 2),
        )
    ]
    assert len(set(digests)) == 4
    assert view_digest(VIEW) == {"rows": 3, "weighted": False, "sha": digests[0]}


# --- the store ---


def test_a_fit_is_made_once(sharing, runs, heard):
    first = sharing.fit(WANTED, runs[0], lambda _: Toy(1.0))
    second = sharing.fit(replace(WANTED, name="other"), runs[1], never)
    assert first.keys() == second.keys()
    np.testing.assert_array_equal(second["weights"], np.full(100, 1.0))
    assert others(first[MAKERS], runs[0]) == ""
    assert others(second[MAKERS], runs[1]) == str(runs[0].path)
    assert others(sharing.fit(WANTED, runs[0], never)[MAKERS], runs[0]) == ""
    (line,) = heard("INFO")
    assert line == f"other: taken from {entry(sharing)}, as {runs[0].path} trained it"


def test_what_is_kept_tells_a_person_what_it_is(sharing, runs):
    def train(folder):
        (folder / "last.ckpt").write_bytes(b"x")
        assert json.loads((entry(sharing) / "fit.json").read_text())["state"] == "training"
        return Toy(1.0)

    sharing.fit(WANTED, runs[0], train)
    note = json.loads((entry(sharing) / "fit.json").read_text())
    assert note["what"] == "full_target: fit target on 3 rows, seed 0, round 0"
    assert (note["state"], note["seconds_fit"]) == ("done", 2.5)
    assert note["signed"] == sharing.signed(WANTED)
    assert note[MAKERS] == [{"run_id": runs[0].status["run_id"], "path": str(runs[0].path)}]
    assert {path.name for path in entry(sharing).iterdir()} == {"fitted.npz", "fit.json", "lock"}


@pytest.mark.parametrize("damage", ["truncated", "flipped", "empty"])
def test_a_corrupt_fit_is_made_again_with_one_warning(sharing, runs, heard, damage):
    sharing.fit(WANTED, runs[0], lambda _: Toy(1.0))
    path = entry(sharing) / "fitted.npz"
    raw = bytearray(path.read_bytes())
    middle = raw.find(np.full(100, 1.0).tobytes()) + 80
    raw[middle] ^= 4
    path.write_bytes({"truncated": raw[:-40], "flipped": raw, "empty": b""}[damage])
    again = sharing.fit(WANTED, runs[1], lambda _: Toy(7.0))
    assert again["weights"][0] == 7.0
    assert others(again[MAKERS], runs[1]) == ""
    (warning,) = heard("WARNING")
    assert str(path) in warning
    assert sharing.fit(WANTED, runs[0], never)["weights"][0] == 7.0


def test_a_fit_that_fails_is_not_kept_and_not_locked(sharing, runs):
    def fail(folder):
        raise InterruptedError

    with pytest.raises(InterruptedError):
        sharing.fit(WANTED, runs[0], fail)
    state = sharing.fit(WANTED, runs[1], lambda _: Toy(1.0))
    assert others(state[MAKERS], runs[1]) == ""  # nothing of the first is left to go on from


def test_patience_ends(tmp_path, runs, heard):
    sharing = Sharing(str(tmp_path / "shared"), patience=0, decides=DECIDES)
    entry(sharing).mkdir(parents=True)
    with take_lock(entry(sharing)):
        assert sharing.fit(WANTED, runs[0], never) is None
    (warning,) = heard("WARNING")
    assert "share.patience=0" in warning
    assert f"on {socket.gethostname()}" in warning


def test_a_place_that_cannot_be_written_is_refused(tmp_path, runs):
    place = tmp_path / "file"
    sharing = Sharing(str(place / "shared"))
    assert not place.exists()
    place.write_text("in the way")
    words = r"share\.dir=.*cannot be written.*change share\.dir"
    with pytest.raises(UserError, match=words):  # before the run begins
        Sharing(str(place / "shared"))
    with pytest.raises(UserError, match=words):  # and before the fit, where it came later
        sharing.fit(WANTED, runs[0], never)


def test_a_disk_that_is_full_when_a_fit_begins_is_refused(sharing, runs, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("alframe.sharing.write_json", full)
    with pytest.raises(UserError, match=r"share\.dir=.*No space left on device"):
        sharing.fit(WANTED, runs[0], never)


def test_a_disk_that_is_full_when_a_fit_is_finished_does_not_cost_the_fit(
    sharing, runs, heard, monkeypatch
):
    def full(*_):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr("alframe.sharing.write_atomic", full)
        state = sharing.fit(WANTED, runs[0], lambda _: Toy(1.0))
    assert state["weights"][0] == 1.0
    (warning,) = heard("WARNING")
    assert "No space left" in warning
    assert sharing.fit(WANTED, runs[1], lambda _: Toy(2.0))["weights"][0] == 2.0


@pytest.mark.parametrize(
    ("settings", "key"),
    [
        ({"dir": 5}, "share.dir=5"),
        ({"dir": ""}, "share.dir="),
        ({"dir": "a", "patience": -1}, "share.patience=-1"),
        ({"patience": "long"}, "share.patience=long"),
    ],
)
def test_wrong_settings_are_refused(settings, key):
    with pytest.raises(UserError, match=key):
        Sharing(**settings)


# --- several processes ---

MAKE = """
import sys
from pathlib import Path
sys.path += sys.argv[3].split(":")
from test_core_sharing import DECIDES, WANTED, Toy
from alframe.run_dir import RunDir
from alframe.sharing import Sharing

def train(folder):
    (folder / "last.ckpt").write_text("half")
    print("training", flush=True)
    sys.stdin.readline()
    return Toy(3.0)

run = RunDir.open(Path(sys.argv[2]), {"seed": 0})
Sharing(sys.argv[1], decides=DECIDES).fit(WANTED, run, train)
"""


@pytest.fixture
def maker(tmp_path, sharing):
    """Another process that is making the fit until it is told to end, or killed."""
    here = Path(__file__).parent
    words = (str(sharing.folder), str(tmp_path / "elsewhere"), f"{here}:{here.parent}")
    with subprocess.Popen(
        [sys.executable, "-c", MAKE, *words],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=environment(),
    ) as process:
        assert process.stdout.readline().strip() == "training"
        yield process
        process.kill()


def test_others_wait_for_the_process_that_makes_it(sharing, runs, maker, heard, tmp_path):
    end = threading.Timer(1.0, lambda: (maker.stdin.write("\n"), maker.stdin.flush()))
    end.start()
    state = sharing.fit(WANTED, runs[0], never)
    end.join()
    assert state["weights"][0] == 3.0
    assert others(state[MAKERS], runs[0]) == str(tmp_path / "elsewhere")
    lines = heard("INFO")
    assert lines[0] == (
        f"full_target: process {maker.pid} on {socket.gethostname()} is training it for all runs: "
        "waiting"
    )
    assert len(lines) == 2  # and where it was taken from


def test_what_a_killed_process_left_is_gone_on_with(sharing, runs, maker, tmp_path):
    maker.send_signal(signal.SIGKILL)
    maker.wait()

    def train(folder):
        assert (folder / "last.ckpt").read_text() == "half"
        return Toy(4.0)

    state = sharing.fit(WANTED, runs[0], train)
    assert state["weights"][0] == 4.0
    assert others(state[MAKERS], runs[0]) == str(tmp_path / "elsewhere")  # its seconds are in it
    assert [maker["path"] for maker in state[MAKERS]] == [
        str(tmp_path / "elsewhere"),
        str(runs[0].path),
    ]
    assert not (entry(sharing) / "scratch").exists()
