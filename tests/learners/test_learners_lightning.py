"""The Lightning learner against plain loops."""

from __future__ import annotations

import random
import signal

import numpy as np
import pytest
import torch
import torch.nn.functional as F  # noqa: N812
from learner_parts import (
    FIELDS,
    MODELS,
    Desk,
    assert_same_weights,
    features,
    fit,
    images,
    learner,
    undated,
    weights,
    whole,
)

from alframe.data.device import DeviceLoader
from alframe.errors import UserError
from alframe.files import decode_state, encode_state
from alframe.learners.hardware import Hardware
from alframe.protocols import Need, Scope, View

PROBS, EMBEDDINGS = Need("probs"), Need("embeddings", Scope.POOL)
CORRECT, ALL_FIELDS = Need("dynamics", fields=("correct",)), Need("dynamics", fields=FIELDS)


@pytest.mark.parametrize("model", MODELS)
def test_two_fits_with_one_seed_are_equal_bit_for_bit(model):
    torch.manual_seed(1)
    one = fit(learner(model, crop=1, flip=True), (ALL_FIELDS,))
    torch.manual_seed(2)
    other = fit(learner(model, crop=1, flip=True), (ALL_FIELDS,))
    assert_same_weights(weights(one), weights(other))
    assert undated(one.curve) == undated(other.curve)
    assert torch.equal(one.dynamics.values, other.dynamics.values)
    third = fit(learner(model, crop=1, flip=True), seed=6)
    assert not np.array_equal(weights(third)["head.weight"], weights(one)["head.weight"])


def test_global_random_states_are_left_alone():
    states = random.getstate(), np.random.get_state()[1].copy(), torch.get_rng_state()  # noqa: NPY002
    how = learner("dropout", curve_every=1)
    fitted = fit(how)
    fitted.observe({PROBS: how.data.pool_rows})
    how.restore(fitted.state())
    how.bytes_per_row(EMBEDDINGS)
    assert random.getstate() == states[0]
    np.testing.assert_array_equal(np.random.get_state()[1], states[1])  # noqa: NPY002
    assert torch.equal(torch.get_rng_state(), states[2])


def test_recording_dynamics_changes_no_weight():
    assert_same_weights(weights(fit(learner())), weights(fit(learner(), (ALL_FIELDS,))))


def by_hand(how, view, rates, seed=5):
    """SGD with momentum and weight decay written out; returns weights and `correct` by epoch."""
    seed = int(np.random.default_rng(seed).integers(2**31))
    cpu = torch.device("cpu")
    batches = DeviceLoader(
        how.data,
        view,
        batch_size=how.recipe.batch_size,
        how=how.recipe.augmentation,
        seed=seed,
        device=cpu,
    )
    torch.manual_seed(seed)
    model = how.build().train()
    velocity = {name: torch.zeros_like(p) for name, p in model.named_parameters()}
    history = np.full((len(rates), len(view.rows)), -1)
    for epoch, rate in enumerate(rates):
        batches.set_epoch(epoch)
        for batch in batches:
            logits = model(batch.inputs)
            history[epoch, batch.positions] = (logits.argmax(1) == batch.labels).numpy()
            model.zero_grad()
            F.cross_entropy(logits, batch.labels).backward()
            with torch.no_grad():
                for name, parameter in model.named_parameters():
                    gradient = parameter.grad + how.recipe.weight_decay * parameter
                    velocity[name] = how.recipe.momentum * velocity[name] + gradient
                    parameter -= rate * velocity[name]
    return model, history


@pytest.mark.parametrize("model", ["cnn", "mlp"])
def test_a_fit_is_that_of_a_loop_written_by_hand(model):
    how = learner(model, epochs=[1, 2], learning_rate=[0.02, 0.1], crop=1, flip=True)
    view = whole(how.data)
    with torch.random.fork_rng():
        twin, history = by_hand(how, view, [0.02, 0.1, 0.1])
    fitted = fit(how, (CORRECT,), view=view)
    for name, value in twin.state_dict().items():
        np.testing.assert_allclose(weights(fitted)[name], value, rtol=1e-4, atol=1e-6)
    seen = fitted.observe({CORRECT: how.data.pool_rows}).dynamics(view.rows, "correct")
    np.testing.assert_array_equal(seen, history)


def test_all_fields_are_recorded_for_every_row_and_epoch():
    how = learner(epochs=4)
    needs = (CORRECT, Need("dynamics", fields=("margin", "error_norm")))
    fitted = fit(how, needs)
    rows = how.data.pool_rows
    seen = fitted.observe(dict.fromkeys(needs, rows))
    correct, margin, error = (seen.dynamics(rows, f) for f in ("correct", "margin", "error_norm"))
    assert correct.shape == (4, len(rows))
    assert torch.equal(correct > 0.5, margin > 0)
    assert ((error > 0) & (error < 1.42)).all()
    with pytest.raises(KeyError, match="probability"):
        seen.dynamics(rows, "probability")
    with pytest.raises(KeyError, match="not observed"):
        seen.dynamics(how.data.validation_rows, "correct")


@pytest.mark.parametrize("kind", ["mlp", "cnn"])
def test_integer_weights_act_as_copies_of_the_rows(kind):
    """On a full batch; the cnn has batch normalization, which sees copies but not weights."""
    how = learner(kind, batch_size=500, learning_rate=0.1, epochs=1 if kind == "cnn" else 3)
    rows = how.data.pool_rows
    counts = np.random.default_rng(0).integers(1, 4, len(rows))
    copies = np.repeat(rows, counts)
    labels = how.data.reveal(rows)
    weighted = weights(fit(how, view=View(rows, labels, counts.astype(np.float64))))
    scaled = weights(fit(how, view=View(rows, labels, counts * 7.0)))
    plain = weights(fit(how, view=View(rows, labels)))
    for name, value in weighted.items():
        np.testing.assert_allclose(value, scaled[name], rtol=1e-4, atol=1e-6)
    assert np.abs(weighted["head.weight"] - plain["head.weight"]).max() > 1e-5
    if kind == "mlp":
        repeated = weights(fit(how, view=View(copies, how.data.reveal(copies))))
        for name, value in weighted.items():
            np.testing.assert_allclose(value, repeated[name], rtol=1e-3, atol=1e-6)


def test_rows_of_weight_next_to_nothing_teach_nothing():
    how = learner("mlp", batch_size=500, weight_decay=0.0)
    rows = how.data.pool_rows
    ignored = np.arange(len(rows)) % 2 == 0
    scale = np.where(ignored, 1e-9, 1.0)
    right, wrong = how.data.reveal(rows), how.data.reveal(rows)
    wrong[ignored] = (wrong[ignored] + 1) % 3
    one, other = (weights(fit(how, view=View(rows, y, scale))) for y in (right, wrong))
    np.testing.assert_allclose(one["head.weight"], other["head.weight"], rtol=1e-4, atol=1e-6)


# --- what is observed ---


def test_observations_are_unaugmented_and_in_evaluation_mode():
    how = learner(crop=2, flip=True)
    fitted = fit(how)
    fitted.model.train()
    before = weights(fitted)
    rows = how.data.pool_rows
    seen = fitted.observe({PROBS: rows, EMBEDDINGS: rows})
    assert_same_weights(weights(fitted), before)
    assert fitted.model.training
    normal = (how.data.inputs[rows].astype(np.float32) - how.data.mean) / how.data.std
    fitted.model.eval()
    with torch.no_grad():
        embedding = fitted.model.embed(torch.from_numpy(normal).permute(0, 3, 1, 2))
        probs = fitted.model.head(embedding).softmax(1)
    np.testing.assert_allclose(seen.probs(rows), probs, rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(seen.embeddings(rows), embedding, rtol=1e-4, atol=1e-6)


def test_a_row_looks_the_same_whoever_is_looked_at_with_it():
    how = learner("dropout", data=features())
    fitted = fit(how)
    every = fitted.observe({PROBS: how.data.pool_rows})
    for row in how.data.pool_rows[::9]:
        alone = fitted.observe({PROBS: np.array([row])})
        np.testing.assert_allclose(
            alone.probs(np.array([row])), every.probs(np.array([row])), rtol=1e-5
        )
    with pytest.raises(KeyError, match="embeddings is not among"):
        every.embeddings(how.data.pool_rows)
    with pytest.raises(KeyError, match="not observed"):
        every.probs(how.data.validation_rows)


def test_each_need_is_seen_for_its_own_rows_and_reduced():
    how = learner()
    rows = how.data.pool_rows
    few, reduced = rows[3:9], Need("probs", reduce=lambda probs: probs.amax(1))
    fitted = fit(how)
    seen = fitted.observe({reduced: few, EMBEDDINGS: rows[5:30]})
    expected = fitted.observe({PROBS: rows}).probs(few).amax(1)
    np.testing.assert_allclose(seen.probs(few), expected, rtol=1e-5)
    with pytest.raises(KeyError):
        seen.probs(rows[9:10])
    with pytest.raises(KeyError):
        seen.embeddings(few)


def test_evaluation_is_that_of_the_final_model_and_is_made_once(tmp_path):
    how = learner(curve_every=1, epochs=4)
    fitted = fit(how)
    assert [point["epoch"] for point in fitted.curve] == [1, 2, 3, 4]
    seconds = [point["seconds"] for point in fitted.curve]
    assert seconds == sorted(seconds)
    assert seconds[-1] == fitted.seconds
    metrics = fitted.evaluate("test")
    assert fitted.curve[-1]["error"] == pytest.approx(1 - metrics["accuracy"])
    fitted.model.eval()
    normal = (how.data.test_inputs.astype(np.float32) - how.data.mean) / how.data.std
    with torch.no_grad():
        logits = fitted.model(torch.from_numpy(normal).permute(0, 3, 1, 2))
    labels = torch.from_numpy(how.data.test_labels)
    assert metrics["accuracy"] == pytest.approx(float((logits.argmax(1) == labels).float().mean()))
    assert metrics["loss"] == pytest.approx(float(F.cross_entropy(logits, labels)), rel=1e-4)


@pytest.mark.parametrize("model", MODELS)
def test_what_is_restored_from_disk_is_the_same(tmp_path, model):
    how = learner(model)
    fitted = fit(how, (CORRECT,))
    metrics = {split: fitted.evaluate(split) for split in ("validation", "test")}
    (tmp_path / "fitted.npz").write_bytes(encode_state(fitted.state()))
    again = learner(model).restore(decode_state(tmp_path / "fitted.npz"))
    rows = how.data.pool_rows
    requests = {PROBS: rows, EMBEDDINGS: rows, CORRECT: rows}
    one, other = fitted.observe(requests), again.observe(requests)
    assert torch.equal(one.probs(rows), other.probs(rows))
    assert torch.equal(one.embeddings(rows), other.embeddings(rows))
    assert torch.equal(one.dynamics(rows, "correct"), other.dynamics(rows, "correct"))
    assert (again.seconds, again.curve) == (fitted.seconds, fitted.curve)
    assert {split: again.evaluate(split) for split in metrics} == metrics
    again.metrics.clear()
    assert {split: again.evaluate(split) for split in metrics} == metrics


@pytest.mark.parametrize("model", MODELS)
def test_the_memory_estimate_is_what_is_kept(model):
    how = learner(model, epochs=4)
    rows = how.data.pool_rows
    fitted = fit(how, (ALL_FIELDS,))
    seen = fitted.observe({PROBS: rows, EMBEDDINGS: rows})
    for need, values in ((PROBS, seen.probs(rows)), (EMBEDDINGS, seen.embeddings(rows))):
        assert how.bytes_per_row(need) == values.element_size() * values.shape[1]
        assert how.width(need.what) == values.shape[1]
    history = fitted.dynamics.values
    assert how.bytes_per_row(ALL_FIELDS) == history.element_size() * history[:, 0].numel()
    assert how.bytes_per_row(CORRECT) == 4


# --- stopping ---


def test_early_stopping_ends_the_fit_and_its_curve_where_it_stopped():
    """With no learning to speak of the loss never falls again: 1 epoch, then 3 without a gain."""
    how = learner("mlp", epochs=20, learning_rate=1e-12, early_stopping=3)
    desk = Desk()
    fitted = fit(how, desk=desk)
    assert list(desk.logged) == [1, 2, 3, 4]
    assert fitted.curve[-1]["epoch"] == 4


def test_early_stopping_needs_validation_rows():
    with pytest.raises(UserError, match=r"recipe.early_stopping=2 .* data.validation"):
        learner(data=images(validation=0), early_stopping=2)


def test_a_loss_that_is_not_finite_ends_the_fit_and_names_the_key():
    with pytest.raises(Exception, match=r"training loss is (nan|inf).*recipe.learning_rate"):
        fit(learner("mlp", learning_rate=1e30))


def test_ctrl_c_within_a_fit_is_a_keyboard_interrupt():
    """Lightning turns it into SystemExit(1), and leaves the process deaf to a second Ctrl-C."""
    before = signal.getsignal(signal.SIGINT)
    try:
        with pytest.raises(KeyboardInterrupt):
            fit(learner(), desk=Desk(stop_at=1, error=KeyboardInterrupt))
        assert signal.getsignal(signal.SIGINT) is before
    finally:
        signal.signal(signal.SIGINT, before)


# --- precision ---


@pytest.mark.parametrize("precision", ["32-true", "bf16-mixed", "bf16-true", "64-true"])
def test_a_precision_is_refused_at_once_or_gives_a_model_that_can_be_used(precision):
    try:
        how = learner("mlp", precision=precision)
    except UserError as error:
        assert "trainer.precision=" in str(error)  # noqa: PT017
        assert precision.endswith("true")
        return
    fitted = fit(how)
    rows = how.data.pool_rows
    again = how.restore(fitted.state())
    probs = again.observe({PROBS: rows}).probs(rows)
    np.testing.assert_allclose(probs, fitted.observe({PROBS: rows}).probs(rows), rtol=1e-5)


def test_promise_5_an_unknown_precision_is_refused_before_the_fit():
    with pytest.raises(UserError, match=r"trainer\.precision=half"):
        Hardware("cpu", "half")


def test_an_unknown_accelerator_is_refused():
    with pytest.raises(UserError, match=r"trainer\.accelerator=tpu"):
        Hardware("tpu")
