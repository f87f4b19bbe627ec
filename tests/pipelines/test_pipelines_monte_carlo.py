"""Runs whose strategy needs Monte-Carlo draws: from dropout, and from an ensemble."""

from __future__ import annotations

import pytest
from tiny_runs import CNN_FITS, assert_same_results, metrics, selections

from alframe.cli import run
from alframe.errors import UserError
from alframe.learners.keeper import Keeper

ROUNDS = ("schedule.initial=20", "schedule.query_size=10", "schedule.budget=40")
DROPOUT = (*CNN_FITS, *ROUNDS, "target.recipe.epochs=2", "target.model.dropout=0.2")
RECIPE = "recipe={epochs: 2, min_steps: 0, checkpoint_seconds: 0}"
ENSEMBLE = (
    *CNN_FITS[:3],
    *ROUNDS,
    "learner@target=ensemble",
    "target.members=3",
    f"target.member.{RECIPE}",
    "strategy.draws=3",
    "trainer=cpu",
    "logger=[]",
)
STRATEGIES = ("bald", "mean_std", "variation_ratio", "batch_bald")


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_with_dropout(workdir, strategy):
    options = (*DROPOUT, f"strategy={strategy}", "strategy.draws=5")
    done = run(*options, "run_dir=one")
    assert done.outcome.state == "done"
    assert selections(done.path).groupby("round_id").size().tolist() == [20, 10, 10]
    assert_same_results(run(*options, "run_dir=same").path, done.path)


@pytest.mark.parametrize("strategy", ["bald", "batch_bald"])
def test_with_an_ensemble(workdir, strategy):
    done = run(*ENSEMBLE, f"strategy={strategy}")
    assert done.outcome.state == "done"
    assert len(selections(done.path)) == 40
    assert metrics(done.path).accuracy.between(0, 1).all()
    assert (done.path / "fits" / "round_000_target" / "curve.csv").is_file()


def test_an_ensemble_of_perceptrons_as_the_proxy_of_a_core_set(workdir):
    done = run(
        *CNN_FITS,
        *("pipeline=core_set", "pipeline.sizes=[0.5]", "target.recipe.epochs=2"),
        *("learner@proxy=ensemble", "learner@proxy.member=mlp", "proxy.members=2"),
        *(f"proxy.member.{RECIPE}", "strategy=bald", "strategy.draws=2"),
    )
    assert set(metrics(done.path).model) == {"proxy", "target"}


class Killed(BaseException):
    """Stands for a SIGKILL: nothing in the program may catch it."""


@pytest.mark.parametrize("options", [DROPOUT, ENSEMBLE], ids=["dropout", "ensemble"])
def test_a_run_killed_in_any_epoch_ends_as_if_undisturbed(workdir, monkeypatch, options):
    options = (*options, "strategy=bald", "strategy.draws=3", "schedule.budget=30")
    expected = run(*options, "run_dir=undisturbed").path
    undisturbed, epochs = Keeper.on_train_epoch_start, []

    def start_epoch(self, trainer, pl_module):
        epochs.append(trainer.current_epoch)
        if len(epochs) > 3:
            raise Killed
        undisturbed(self, trainer, pl_module)

    monkeypatch.setattr(Keeper, "on_train_epoch_start", start_epoch)
    kills = 0
    while True:
        try:
            epochs.clear()
            result = run(*options, "run_dir=killed")
            break
        except Killed:
            kills += 1
    assert kills >= (1 if "target.members=3" not in options else 3)
    assert_same_results(result.path, expected)


# --- what is refused before the first epoch ---


def refused(workdir, *options):
    with pytest.raises(UserError) as mistake:
        run(*CNN_FITS, *ROUNDS, "strategy=bald", *options, "run_dir=refused")
    assert not (workdir / "refused").exists()
    return str(mistake.value)


def test_without_dropout_the_keys_that_would_help_are_named(workdir):
    text = refused(workdir)
    assert "needs mc_probs, which LightningLearner does not give" in text
    for word in ("target.model.dropout=0.2", "learner@target=ensemble"):
        assert word in text
    text = refused(workdir, "learner@proxy=probe", "target.model.dropout=0.2")
    assert "ProbeLearner does not give" in text
    assert "learner@proxy=ensemble" in text


@pytest.mark.parametrize("place", ["target", "proxy"])
def test_more_draws_than_members(workdir, place):
    options = [word for word in CNN_FITS if not word.startswith(("learner@", "target."))]
    with pytest.raises(UserError) as mistake:
        run(*options, *ROUNDS, "strategy=bald", f"learner@{place}=ensemble", "run_dir=refused")
    assert str(mistake.value).startswith(f"{place}.members=5: expected at least as many")
    assert "strategy.draws=20" in str(mistake.value)
    assert not (workdir / "refused").exists()


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ("target.model.dropout=1.5", r"target\.model\.dropout=1.5: expected .* below 1"),
        ("strategy.draws=1", r"strategy\.draws=1: expected a whole number, 2 or more"),
        ("strategy.of=logits", r"strategy\.of=logits: expected probs or mc_probs"),
    ],
)
def test_values_that_are_none(workdir, option, message):
    with pytest.raises(UserError, match=message):
        run(*DROPOUT, "strategy=bald", option, "run_dir=refused")


def test_keys_that_a_member_does_not_take(workdir):
    for option, message in (
        ("+target.member.modle=3", r"target\.member\.modle: expected one of .*model"),
        ("+target.member.model.depth=3", r"target\.member\.model\.depth: expected one of"),
        ("learner@target.member=probe", r"target\.member=ProbeLearner: expected a LightningL"),
        ("target.members=1", r"target\.members=1: expected a whole number, 2 or more"),
    ):
        words = [word for word in ENSEMBLE if not word.startswith(option.split("=")[0])]
        words = [w for w in words if "probe" not in option or ".member.recipe" not in w]
        with pytest.raises(UserError, match=message):
            run(*words, "strategy=bald", option, "run_dir=refused")
