"""A fit that is stopped anywhere and started again ends as an undisturbed one."""

from __future__ import annotations

import logging

import numpy as np
import pytest
import torch
from learner_parts import FIELDS, Desk, assert_same_weights, fit, learner, undated, weights

from alframe.learners.keeper import CHECKPOINT
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


def test_stopped_before_the_first_checkpoint(tmp_path):
    expected = fit(learner("dropout"), (CORRECT,))
    stopped(learner("dropout"), (CORRECT,), tmp_path, 1)
    assert not (tmp_path / CHECKPOINT).exists()
    resumed = fit(learner("dropout"), (CORRECT,), Desk(tmp_path))
    assert_same_fit(resumed, expected, learner().data.pool_rows)


def test_stopped_within_an_epoch(tmp_path, monkeypatch):
    how = learner("dropout", epochs=4, learning_rate=0.02)
    expected = fit(how, (CORRECT,))
    plain = FitModule.training_step
    steps = []

    def interrupted(module, batch, batch_idx):
        steps.append(batch_idx)
        if len(steps) == 8:  # of 3 an epoch: within the third
            raise InterruptedError
        return plain(module, batch, batch_idx)

    monkeypatch.setattr(FitModule, "training_step", interrupted)
    with pytest.raises(InterruptedError):
        fit(how, (CORRECT,), Desk(tmp_path))
    desk = Desk(tmp_path)
    resumed = fit(how, (CORRECT,), desk)
    assert list(desk.logged) == [3, 4]
    assert_same_fit(resumed, expected, how.data.pool_rows)


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
