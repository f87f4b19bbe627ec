"""A fit that is stopped anywhere and started again ends as an undisturbed one."""

from __future__ import annotations

import logging
import signal

import numpy as np
import pytest
import torch
from learner_parts import FIELDS, Desk, assert_same_weights, fit, learner, undated, weights

from alframe.data.device import DeviceLoader
from alframe.errors import UserError
from alframe.learners.keeper import CHECKPOINT, Keeper
from alframe.learners.module import FitModule
from alframe.protocols import Need

DYNAMICS = Need("dynamics", fields=FIELDS)
CORRECT = Need("dynamics", fields=("correct",))

CASES = {
    "batch norm": ("cnn", {"epochs": 5, "curve_every": 2, "crop": 1, "flip": True}, ()),
    "milestones": ("cnn", {"epochs": [1, 2, 2], "learning_rate": [0.01, 0.1, 0.01]}, ()),
    "one cycle": ("mlp", {"epochs": 2, "schedule": "one_cycle", "min_steps": 15}, ()),
    "dropout": ("dropout", {"epochs": 5, "curve_every": 1}, ()),
    "early stopping": ("mlp", {"epochs": 9, "learning_rate": 1e-12, "early_stopping": 4}, ()),
    "forgetting": ("cnn", {"epochs": 5}, (CORRECT,)),
    "dynamics": ("dropout", {"epochs": 5, "curve_every": 2}, (DYNAMICS,)),
    "short": (
        "dropout",
        {"epochs": 3, "schedule": "one_cycle", "min_steps": 24, "curve_every": 2},
        (Need("dynamics", fields=FIELDS, fits=3, until_epoch=5),),
    ),
}


@pytest.fixture
def heard(caplog, monkeypatch):
    """alframe's warnings, also after a run in this process has set up its own handlers."""
    monkeypatch.setattr(logging.getLogger("alframe"), "propagate", True)

    def warnings():
        return [r.getMessage() for r in caplog.records if r.name.startswith("alframe")]

    return warnings


def stopped(how, needs, folder, epoch):
    with pytest.raises(InterruptedError):
        fit(how, needs, Desk(folder, stop_at=epoch))


def assert_same_fit(one, other, rows):
    assert_same_weights(weights(one), weights(other))
    assert undated(one.curve) == undated(other.curve)
    assert one.evaluate("test") == other.evaluate("test")
    assert (one.dynamics is None) == (other.dynamics is None)
    fields = () if one.dynamics is None else one.dynamics.fields
    for field in fields:
        need = Need("dynamics", fields=fields)
        before, after = (f.observe({need: rows}).dynamics(rows, field) for f in (one, other))
        assert before.shape == after.shape
        assert torch.equal(before, after)


@pytest.mark.parametrize("case", CASES)
def test_stopped_twice_at_the_end_of_an_epoch(tmp_path, case):
    model, recipe, needs = CASES[case]
    undisturbed = Desk()
    expected = fit(learner(model, **recipe), needs, undisturbed)
    assert len(undisturbed.logged) == 5
    stopped(learner(model, **recipe), needs, tmp_path, 3)
    stopped(learner(model, **recipe), needs, tmp_path, 5)
    last = Desk(tmp_path)
    resumed = fit(learner(model, **recipe), needs, last)
    assert list(last.logged) == [5], "it goes on after the last checkpoint"
    assert last.logged[5] == undisturbed.logged[5]
    assert_same_fit(resumed, expected, learner().data.pool_rows)


class Cut:
    """Stops a fit in front of an optimizer step, as a kill would; counts the steps."""

    def __init__(self, monkeypatch, at=None):
        self.at = at
        self.steps = 0
        plain = FitModule.train_on

        def cut(module, batch):
            if self.steps == self.at:
                raise InterruptedError
            self.steps += 1
            plain(module, batch)

        monkeypatch.setattr(FitModule, "train_on", cut)

    def fit(self, how, needs, desk, at):
        """Fits until ``at`` steps are done, or to the end; returns what was fitted, or None."""
        self.at, self.steps = at, 0
        try:
            return fit(how, needs, desk)
        except InterruptedError:
            return None


@pytest.fixture
def cut(monkeypatch):
    return Cut(monkeypatch)


def test_stopped_before_the_first_checkpoint(tmp_path, cut):
    expected = fit(learner("dropout"), (CORRECT,))
    assert cut.fit(learner("dropout"), (CORRECT,), Desk(tmp_path), at=0) is None
    assert not (tmp_path / CHECKPOINT).exists()
    resumed = cut.fit(learner("dropout"), (CORRECT,), Desk(tmp_path), at=None)
    assert_same_fit(resumed, expected, learner().data.pool_rows)


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("steps", [2, 4])
def test_stopped_again_and_again_within_epochs_of_three_steps(tmp_path, cut, case, steps):
    model, recipe, needs = CASES[case]
    undisturbed = Desk()
    expected = fit(learner(model, **recipe), needs, undisturbed)
    logged, parts, resumed = {}, 0, None
    while resumed is None:
        desk = Desk(tmp_path)
        resumed = cut.fit(learner(model, **recipe), needs, desk, steps)
        logged |= desk.logged
        parts += 1
    # A part repeats none of its steps but the last one of an epoch, if it ended right there.
    assert 15 / steps < parts <= 15 / (steps - 1) + 1
    assert logged == undisturbed.logged
    assert_same_fit(resumed, expected, learner().data.pool_rows)


@pytest.mark.parametrize("case", ["batch norm", "dynamics", "dropout", "one cycle"])
def test_steps_after_the_last_checkpoint_are_done_again(tmp_path, cut, monkeypatch, case):
    model, recipe, needs = CASES[case]
    expected = fit(learner(model, **recipe), needs)
    saves = iter([False, True, *[False] * 20])  # after the second step and no other
    monkeypatch.setattr(Keeper, "_is_time_to_save", lambda _: next(saves))
    assert cut.fit(learner(model, **recipe), needs, Desk(tmp_path), at=8) is None
    monkeypatch.setattr(Keeper, "_is_time_to_save", lambda _: False)
    resumed = cut.fit(learner(model, **recipe), needs, Desk(tmp_path), at=None)
    assert cut.steps == 15 - 2
    assert_same_fit(resumed, expected, learner().data.pool_rows)


@pytest.mark.parametrize("calls", [2, 3, 7])
def test_several_steps_to_a_call_change_nothing(tmp_path, cut, calls):
    model, recipe, needs = CASES["dynamics"]
    desks = Desk(), Desk()
    expected = fit(learner(model, **recipe), needs, desks[0])
    several = {"steps_per_call": calls}
    together = fit(learner(model, hardware=several, **recipe), needs, desks[1])
    assert desks[0].logged == desks[1].logged
    assert_same_fit(together, expected, learner().data.pool_rows)
    assert cut.fit(learner(model, hardware=several, **recipe), needs, Desk(tmp_path), 8) is None
    resumed = cut.fit(learner(model, hardware=several, **recipe), needs, Desk(tmp_path), None)
    assert cut.steps == {2: 7, 3: 9, 7: 9}[calls]
    assert_same_fit(resumed, expected, learner().data.pool_rows)


def test_a_fit_that_began_with_other_calls_is_refused(tmp_path, cut):
    assert cut.fit(learner("mlp"), (), Desk(tmp_path), at=2) is None
    other = learner("mlp", hardware={"steps_per_call": 2})
    with pytest.raises(UserError, match=r"trainer\.steps_per_call=2: expected 1"):
        fit(other, (), Desk(tmp_path))


def test_a_loader_that_draws_as_it_starts_disturbs_no_dropout(tmp_path, cut, monkeypatch):
    expected = fit(learner("dropout"))
    plain = DeviceLoader.__iter__

    def draws(loader):
        torch.rand(1)
        yield from plain(loader)

    monkeypatch.setattr(DeviceLoader, "__iter__", draws)
    assert_same_fit(fit(learner("dropout")), expected, ())
    assert cut.fit(learner("dropout"), (), Desk(tmp_path), at=5) is None
    resumed = cut.fit(learner("dropout"), (), Desk(tmp_path), at=None)
    assert_same_fit(resumed, expected, ())


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGALRM])
@pytest.mark.parametrize("step", [1, 2, 3, 7, 9])
def test_ctrl_c_leaves_a_fit_after_the_step_and_saves_it(tmp_path, monkeypatch, step, number):
    """Also in the last step of an epoch (3) and of the fit (9)."""
    model, recipe, needs = CASES["dynamics"]
    recipe = {**recipe, "epochs": 3, "checkpoint_seconds": 3600}
    expected = fit(learner(model, **recipe), needs)
    plain, steps = FitModule.train_on, []

    def watched(module, batch):
        steps.append(len(batch.labels))
        if len(steps) == step:
            signal.raise_signal(number)
        plain(module, batch)

    monkeypatch.setattr(FitModule, "train_on", watched)
    before = signal.signal(number, signal.default_int_handler)
    try:
        with pytest.raises(KeyboardInterrupt):
            fit(learner(model, **recipe), needs, Desk(tmp_path))
        assert len(steps) == step
        assert signal.getsignal(number) is signal.default_int_handler
        resumed = fit(learner(model, **recipe), needs, Desk(tmp_path))
    finally:
        signal.signal(number, before)
    assert len(steps) == 9, "no step is done again"
    assert_same_fit(resumed, expected, learner().data.pool_rows)


def test_a_second_ctrl_c_is_not_waited_for(tmp_path, monkeypatch):
    def stuck(module, batch):
        signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGINT)
        raise AssertionError("it went on")

    monkeypatch.setattr(FitModule, "train_on", stuck)
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # a job may begin without
    try:
        with pytest.raises(KeyboardInterrupt):
            fit(learner("mlp"), desk=Desk(tmp_path))
    finally:
        signal.signal(signal.SIGINT, before)
    assert not list(tmp_path.iterdir())


def test_a_checkpoint_of_version_0_1_0_is_gone_on_with(tmp_path, cut, monkeypatch):
    """It was made at the end of an epoch, and knew nothing of steps within one."""
    expected = fit(learner("dropout"), (CORRECT,))
    saves = iter([False, False, True] * 3)  # two steps within an epoch, and its end
    monkeypatch.setattr(Keeper, "_is_time_to_save", lambda _: next(saves))
    assert cut.fit(learner("dropout"), (CORRECT,), Desk(tmp_path), at=7) is None
    path = tmp_path / CHECKPOINT
    old = torch.load(path, weights_only=True)
    for name in ("compile_seconds", "loss_sum", "losses", "random"):
        del old["callbacks"]["Keeper"][name]
    del old["recorder"]["current"], old["loops"]["fit_loop"]["state_dict"]["combined_loader"]
    torch.save(old, path)
    resumed = cut.fit(learner("dropout"), (CORRECT,), Desk(tmp_path), at=None)
    assert cut.steps == 3
    assert_same_fit(resumed, expected, learner().data.pool_rows)


def test_seconds_are_counted_over_all_parts(tmp_path):
    how = learner("mlp", epochs=4, curve_every=1)
    stopped(how, (), tmp_path, 4)
    resumed = fit(how, (), Desk(tmp_path))
    seconds = [point["seconds"] for point in resumed.curve]
    assert len(seconds) == 4
    assert 0 < seconds[0] < seconds[1] < seconds[2] < seconds[3] == resumed.seconds


def test_checkpoints_are_as_rare_as_asked_for(tmp_path):
    fit(learner("mlp", checkpoint_seconds=1000.0), (), Desk(tmp_path))
    assert list(tmp_path.iterdir()) == []


def damages(raw):
    flipped = bytearray(raw)
    flipped[0] ^= 0xFF
    return {
        "empty": b"",
        "ten bytes": raw[:10],
        "a third": raw[: len(raw) // 3],
        "half": raw[: len(raw) // 2],
        "all but a byte": raw[:-1],
        "other content": b"not a checkpoint at all",
        "first byte": bytes(flipped),
        "zeros": bytes(len(raw)),
    }


@pytest.mark.parametrize("damage", damages(b"x"))
def test_a_broken_checkpoint_is_not_used_and_said_to_be_broken(tmp_path, heard, damage):
    how = learner("mlp")
    expected = fit(how, (CORRECT,))
    stopped(how, (CORRECT,), tmp_path, 3)
    checkpoint = tmp_path / CHECKPOINT
    checkpoint.write_bytes(damages(checkpoint.read_bytes())[damage])
    resumed = fit(how, (CORRECT,), Desk(tmp_path))
    assert_same_fit(resumed, expected, how.data.pool_rows)
    (warning,) = heard()
    assert str(checkpoint) in warning


def test_a_flipped_bit_in_a_checkpoint_is_found(tmp_path, heard):
    """Torch loads it silently, though each part of the file has a CRC-32."""
    how = learner("mlp")
    expected = fit(how)
    stopped(how, (), tmp_path, 3)
    checkpoint = tmp_path / CHECKPOINT
    raw = bytearray(checkpoint.read_bytes())
    weight = torch.load(checkpoint, weights_only=True)["state_dict"]["model.head.weight"]
    raw[raw.find(weight.numpy().tobytes()) + 3] ^= 0x80  # a sign
    checkpoint.write_bytes(raw)
    resumed = fit(how, (), Desk(tmp_path))
    assert_same_weights(weights(resumed), weights(expected))
    (warning,) = heard()
    assert str(checkpoint) in warning


def test_what_a_kill_leaves_of_a_half_written_checkpoint_does_no_harm(tmp_path):
    how = learner("mlp")
    expected = fit(how)
    stopped(how, (), tmp_path, 2)
    partial = tmp_path / f".{CHECKPOINT}.partial"
    partial.write_bytes(b"half")
    resumed = fit(how, (), Desk(tmp_path))
    assert_same_weights(weights(resumed), weights(expected))


def test_a_fit_of_another_seed_in_a_new_folder_is_another_fit(tmp_path):
    how = learner("mlp")
    one, other = fit(how, (), Desk(tmp_path), seed=1), fit(how, (), Desk(tmp_path / "b"), seed=2)
    assert not np.array_equal(weights(one)["head.weight"], weights(other)["head.weight"])
