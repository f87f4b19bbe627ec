"""Signals that ask a run to leave."""

import os
import signal
import subprocess
import sys
import time

import pytest
import tiny_runs
from tiny_runs import CNN_FITS, assert_same_results, environment

from alframe import signals
from alframe.learners.leaving import Leaving


def test_a_signal_ends_the_run_once():
    def asked_again_and_again():
        with signals.owned():
            try:
                signal.raise_signal(signal.SIGUSR2)
            finally:
                signal.raise_signal(signal.SIGTERM)  # while what is open is closed
                signal.raise_signal(signal.SIGUSR2)

    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(signals.Left) as left:
        asked_again_and_again()
    assert (left.value.number, left.value.exit_code) == (signal.SIGUSR2, 128 + signal.SIGUSR2)
    assert str(left.value) == "SIGUSR2"
    assert signal.getsignal(signal.SIGTERM) is before


@pytest.mark.parametrize("number", signals.ASKING)
def test_within_a_fit_it_is_noted_however_often_it_comes(number):
    leaving, steps = Leaving(), []

    def fit():
        with signals.owned(), leaving.noting():
            signal.signal(signal.SIGTERM, lambda *_: None)  # as Lightning does
            leaving.take()
            for _ in range(3):
                signal.raise_signal(number)
                signal.raise_signal(signal.SIGTERM)
                steps.append(leaving.asked)
            raise KeyboardInterrupt

    with pytest.raises(signals.Left) as left:
        fit()
    assert steps == [True] * 3
    assert left.value.number == number


def test_without_an_owner_signals_are_not_touched():
    before = [signal.getsignal(number) for number in signals.ASKING]
    with Leaving().noting():
        assert [signal.getsignal(number) for number in signals.ASKING] == before


WORDS = (
    *CNN_FITS,
    "target.model._target_=unhurried.UnhurriedCNN",
    "target.recipe.epochs=20",
    "target.recipe.checkpoint_seconds=3600",
    "schedule.initial=20",
    "schedule.query_size=20",
    "schedule.budget=40",
    "strategy=margin",
)


@pytest.mark.slow
@pytest.mark.parametrize("number", signals.ASKING)
def test_a_run_that_is_asked_to_leave_goes_on_at_that_step(tmp_path, number):
    assert tiny_runs.alframe(*WORDS, "run_dir=undisturbed", cwd=tmp_path).returncode == 0
    command = [sys.executable, "-m", "alframe", *WORDS, "run_dir=left"]
    process = subprocess.Popen(command, cwd=tmp_path, env=environment(), stderr=subprocess.PIPE)
    fit = tmp_path / "left" / "fits"
    while not list(fit.glob("*/scratch")):
        time.sleep(0.02)
        assert process.poll() is None, process.stderr.read()
    time.sleep(1)
    os.kill(process.pid, number)
    said = process.communicate(timeout=30)[1].decode()
    assert process.returncode == 128 + number
    words = f"left on {signal.Signals(number).name}: what is finished is kept, and the same command"
    assert said.count(f"{words} goes on with run_dir=left, or resume=left alone\n") == 1
    assert len(list((tmp_path / "left").rglob("last.ckpt"))) == 1, "left within a fit, and saved"
    assert '"reason": "Left: ' in (tmp_path / "left" / "status.json").read_text()
    assert tiny_runs.alframe(*WORDS, "run_dir=left", cwd=tmp_path).returncode == 0
    assert_same_results(tmp_path / "left", tmp_path / "undisturbed")
