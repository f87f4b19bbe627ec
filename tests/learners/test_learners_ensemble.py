"""An ensemble is its members, trained one by one and averaged."""

from __future__ import annotations

import logging
import random
from functools import partial

import numpy as np
import pytest
import torch
import torch.nn.functional as F  # noqa: N812
from learner_parts import (
    MODELS,
    Desk,
    assert_same_weights,
    features,
    images,
    undated,
    weights,
    whole,
)

from alframe.errors import UserError
from alframe.files import decode_state, encode_state
from alframe.learners import evaluate
from alframe.learners.ensemble import EnsembleLearner
from alframe.learners.hardware import Hardware
from alframe.learners.lightning import LightningLearner
from alframe.learners.probe import ProbeLearner
from alframe.learners.recipe import Recipe
from alframe.protocols import Need
from alframe.tasks.classification import Classification

DRAWS, PROBS = Need("mc_probs", draws=3), Need("probs")
EMBEDDINGS = Need("embeddings")


def ensemble(model="mlp", members=3, data=None, **recipe):
    data = features() if data is None else data
    defaults = {"epochs": 3, "learning_rate": 0.05, "batch_size": 16, "checkpoint_seconds": 0}
    member = partial(LightningLearner, model=MODELS[model], recipe=Recipe(**{**defaults, **recipe}))
    return EnsembleLearner(member, members, data, Classification(data), Hardware("cpu", "32-true"))


def fit(how, desk=None, seed=5):
    return how.fit(whole(how.member.data), np.random.default_rng(seed), (), desk or Desk())


def rows_of(fitted):
    return fitted.learner.member.data.pool_rows


def mc_probs(fitted, need=DRAWS):
    return fitted.observe({need: rows_of(fitted)}).mc_probs(rows_of(fitted))


def assert_same_ensemble(one, other):
    for before, after in zip(one.members, other.members, strict=True):
        assert_same_weights(weights(before), weights(after))
    assert torch.equal(mc_probs(one), mc_probs(other))
    assert one.evaluate("test") == other.evaluate("test")
    assert undated(one.curve) == undated(other.curve)


@pytest.fixture(scope="module")
def fitted():
    return fit(ensemble())


@pytest.fixture(scope="module", params=["mlp", "cnn", "dropout"])
def on_images(request):
    return fit(ensemble(request.param, members=2, data=images()))


# --- against the members by themselves ---


def test_its_members_are_fits_of_the_member_learner_from_seeds_of_their_own(fitted):
    how = ensemble()
    seeds = np.random.default_rng(5).integers(2**63, size=3)
    for seed, member in zip(seeds, fitted.members, strict=True):
        alone = how.member.fit(whole(how.member.data), np.random.default_rng(seed), (), Desk())
        assert_same_weights(weights(member), weights(alone))
    first, second = (weights(member)["head.weight"] for member in fitted.members[:2])
    assert not np.array_equal(first, second)


def test_draws_are_the_members_and_probabilities_their_mean(on_images):
    rows = rows_of(on_images)
    need = Need("mc_probs", draws=2)
    seen = on_images.observe({need: rows, PROBS: rows, EMBEDDINGS: rows[:7]})
    alone = [member.observe({PROBS: rows, EMBEDDINGS: rows}) for member in on_images.members]
    expected = torch.stack([observed.probs(rows) for observed in alone], 1)
    torch.testing.assert_close(seen.mc_probs(rows), expected)
    torch.testing.assert_close(seen.probs(rows), expected.mean(1))
    torch.testing.assert_close(seen.embeddings(rows[:7]), alone[0].embeddings(rows[:7]))
    assert expected.std(1).max() > 1e-4


@pytest.mark.parametrize("split", ["test", "validation"])
def test_metrics_are_those_of_the_averaged_probabilities(fitted, split):
    data = fitted.learner.member.data
    inputs, labels = evaluate.split_arrays(data, split)
    normal = torch.from_numpy((inputs.astype(np.float32) - data.mean) / data.std)
    models = [member.model.eval() for member in fitted.members]
    with torch.no_grad():
        probs = sum(model(normal.float()).softmax(1) for model in models) / 3
    metrics, labels = fitted.evaluate(split), torch.from_numpy(labels)
    assert metrics["accuracy"] == pytest.approx(float((probs.argmax(1) == labels).float().mean()))
    assert metrics["loss"] == pytest.approx(float(F.nll_loss(probs.log(), labels)), rel=1e-4)
    assert metrics["loss"] < np.mean([m.evaluate(split)["loss"] for m in fitted.members])


def test_the_loss_stays_finite_where_all_members_are_sure_and_wrong():
    sure = fit(ensemble())
    for member in sure.members:
        member.model.head.weight.data.zero_()
        member.model.head.bias.data = torch.tensor([1e4, -1e4, -1e4])
    sure.metrics.clear()
    loss = sure.evaluate("test")["loss"]
    assert 100 < loss < np.inf


def test_fewer_draws_are_the_first_members_and_more_are_refused(fitted):
    two = mc_probs(fitted, Need("mc_probs", draws=2))
    assert torch.equal(two, mc_probs(fitted)[:, :2])
    many = Need("mc_probs", draws=4)
    message = r"members=3: .* \(strategy.draws=4\); set strategy.draws=3 or raise members"
    for refused in (lambda: fitted.learner.bytes_per_row(many), lambda: mc_probs(fitted, many)):
        with pytest.raises(UserError, match=message):
            refused()


def test_batches_change_nothing(fitted, monkeypatch):
    expected = mc_probs(fitted)
    monkeypatch.setattr(evaluate, "CPU_BATCH", 5)
    np.testing.assert_allclose(mc_probs(fitted), expected, rtol=1e-5, atol=1e-7)


def test_reductions_and_the_memory_estimate(fitted):
    rows, how = rows_of(fitted), fitted.learner
    spread = Need("mc_probs", draws=3, reduce=lambda probs: probs.std(1).sum(1))
    seen = fitted.observe({DRAWS: rows, spread: rows, PROBS: rows, EMBEDDINGS: rows})
    torch.testing.assert_close(seen.of([spread]).mc_probs(rows), mc_probs(fitted).std(1).sum(1))
    values = (seen.of([DRAWS]).mc_probs(rows), seen.probs(rows), seen.embeddings(rows))
    for need, tensor in zip((DRAWS, PROBS, EMBEDDINGS), values, strict=True):
        assert how.bytes_per_row(need) == tensor.element_size() * tensor[0].numel()
    assert how.bytes_per_row(spread) == 4
    assert (how.width("probs"), how.width("embeddings")) == (3, 5)


# --- its fit ---


def test_same_seed_same_ensemble_and_global_random_states_are_left_alone(fitted):
    with torch.random.fork_rng():
        torch.manual_seed(9)
        states = random.getstate(), np.random.get_state()[1].copy(), torch.get_rng_state()  # noqa: NPY002
        again = fit(ensemble())
        assert_same_ensemble(again, fitted)
        assert random.getstate() == states[0]
        np.testing.assert_array_equal(np.random.get_state()[1], states[1])  # noqa: NPY002
        assert torch.equal(torch.get_rng_state(), states[2])
    other = fit(ensemble(), seed=6)
    assert not torch.equal(mc_probs(other), mc_probs(fitted))


def test_seconds_and_the_curve_are_of_all_members(fitted):
    assert fitted.seconds == sum(member.seconds for member in fitted.members) > 0
    error = 1 - fitted.evaluate("test")["accuracy"]
    point = {"epoch": 9, "seconds": fitted.seconds, "split": "test"}
    assert fitted.curve == [{**point, "error": pytest.approx(error)}]


def test_every_epoch_is_reported_once_under_its_member():
    desk = Desk()
    fit(ensemble(), desk)
    assert list(desk.logged) == list(range(1, 10))
    names = [next(iter(values)) for values in desk.logged.values()]
    assert names == [f"member_{n}_train_loss" for n in (0, 0, 0, 1, 1, 1, 2, 2, 2)]


@pytest.fixture(scope="module")
def undisturbed():
    return fit(ensemble("dropout"))


@pytest.mark.parametrize("epoch", [1, 2, 3, 4, 6, 9])
def test_stopped_at_any_epoch_it_goes_on_with_the_member_in_work(tmp_path, undisturbed, epoch):
    desk = Desk(tmp_path, stop_at=epoch)
    with pytest.raises(InterruptedError):
        fit(ensemble("dropout"), desk)
    finished = (epoch - 1) // 3
    assert len(list(tmp_path.glob("member_*.npz"))) == finished
    last = Desk(tmp_path)
    assert_same_ensemble(fit(ensemble("dropout"), last), undisturbed)
    within = epoch - 1 - 3 * finished  # the stopped epoch itself was not saved
    assert min(last.logged) == 3 * finished + within + 1


def test_a_kill_between_two_members_trains_none_of_them_again(tmp_path, monkeypatch):
    expected, trained = fit(ensemble()), []
    plain = LightningLearner.fit

    def counted(learner, view, rng, needs, workspace):
        if len(trained) == 2:
            trained.append("killed")
            raise InterruptedError
        trained.append(workspace.number)
        return plain(learner, view, rng, needs, workspace)

    monkeypatch.setattr(LightningLearner, "fit", counted)
    with pytest.raises(InterruptedError):
        fit(ensemble(), Desk(tmp_path))
    assert_same_ensemble(fit(ensemble(), Desk(tmp_path)), expected)
    assert trained == [0, 1, "killed", 2]


def test_a_damaged_member_is_trained_again(tmp_path, caplog, monkeypatch):
    monkeypatch.setattr(logging.getLogger("alframe"), "propagate", True)
    expected = fit(ensemble(), Desk(tmp_path))
    path = tmp_path / "member_1.npz"
    raw = bytearray(path.read_bytes())
    raw[len(raw) // 2] ^= 1
    path.write_bytes(raw)
    assert_same_ensemble(fit(ensemble(), Desk(tmp_path)), expected)
    heard = [r.getMessage() for r in caplog.records if r.name.startswith("alframe")]
    assert [str(path) in message for message in heard] == [True]


def test_what_is_restored_from_disk_is_the_same(on_images, tmp_path):
    (tmp_path / "fitted.npz").write_bytes(encode_state(on_images.state()))
    again = on_images.learner.restore(decode_state(tmp_path / "fitted.npz"))
    need = Need("mc_probs", draws=2)
    assert torch.equal(mc_probs(again, need), mc_probs(on_images, need))
    assert (again.seconds, again.curve) == (on_images.seconds, on_images.curve)
    assert again.metrics == on_images.metrics
    again.metrics.clear()
    assert again.evaluate("test") == on_images.evaluate("test")


# --- what is refused ---


@pytest.mark.parametrize("members", [1, 0, -2, 2.5, True])
def test_fewer_than_two_members_are_refused(members):
    with pytest.raises(UserError, match=r"members=.*expected a whole number, 2 or more"):
        ensemble(members=members)


def test_members_whose_fits_do_not_differ_are_refused():
    data = features()
    with pytest.raises(UserError, match=r"member=ProbeLearner: expected a LightningLearner"):
        EnsembleLearner(partial(ProbeLearner), 3, data, Classification(data), Hardware("cpu"))


def test_it_records_no_dynamics():
    assert ensemble().records == {"probs", "mc_probs", "embeddings"}
