import sys

import numpy as np
import pytest
from hydra.errors import HydraException
from tiny_runs import ACTIVE, CORE_SET, alframe

from alframe.cli import main, run
from alframe.cli.compose import CONFIGS
from alframe.cli.mistakes import explain
from alframe.errors import UserError

CNN = ("learner@target=small_cnn",)


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """Folders and files of which something is wrong (and one that is right: features.npz)."""
    folder = tmp_path_factory.mktemp("files")
    inputs = np.random.default_rng(0).normal(size=(60, 4)).astype(np.float32)
    labels = np.arange(60) % 3
    broken = inputs.copy()
    broken[3, 1] = np.nan
    np.savez(folder / "features.npz", inputs=inputs, labels=labels)
    np.savez(folder / "nan.npz", inputs=broken, labels=labels)
    np.savez(folder / "lengths.npz", inputs=inputs, labels=labels[:-1])
    np.savez(folder / "pickled.npz", inputs=inputs, labels=labels.astype(object))
    np.savez(folder / "one_class.npz", inputs=inputs, labels=0 * labels)
    (folder / "file").write_text("no folder")
    (folder / "empty").mkdir()
    return folder


def case(*overrides, says, base=ACTIVE):
    return pytest.param((*base, *overrides), says, id=" ".join(overrides))


ARRAY = "schedule.initial=10", "schedule.query_size=5", "schedule.budget=15", "data=array"
NO_SUBSET = "learner@target=probe", *ARRAY

KEYS = [
    case("sed=1", says=["sed", "did you mean seed?"]),
    case("strateggy=margin", says=["strateggy", "did you mean strategy?"]),
    case("schedule.budgt=3", says=["schedule.budgt", "did you mean schedule.budget?"]),
    case("target.recipe.epoks=3", says=["target.recipe.epoks", "target.recipe.epochs?"], base=CNN),
    case("learner=probe", says=["learner:", "learner@target"]),
    case("model=resnet8", says=["model:", "model@target.model"]),
    case("+schedule.budgt=3", says=["schedule.budgt", "did you mean budget?"]),
    case("+data.validaton=0.1", says=["data.validaton", "did you mean validation?"]),
    case("+target.recipe.epoks=3", says=["target.recipe.epoks", "epochs?"], base=CNN),
    case("+target.model.widht=3", says=["target.model.widht", "width?"], base=CNN),
    case("+trainer.precison=16", says=["trainer.precison", "did you mean precision?"]),
    case("+pipeline.keep_model=true", says=["pipeline.keep_model", "keep_models?"]),
    case("+logger.csv.prefx=a", says=["logger.csv.prefx", "did you mean prefix?"]),
    case("+sed=1", says=["sed", "did you mean seed?"]),
    case("target.recipe.epochs=3", says=["target.recipe"]),  # the probe has no recipe
]

OPTIONS = [
    case("strategy=margn", says=["strategy=margn", "entropy", "did you mean margin?"]),
    case("data=digit", says=["data=digit", "did you mean digits?"]),
    case(
        "strategy=entropy",
        "strategy.acquisition.path=alframe.functional.entrpy",
        says=["strategy.acquisition: ", "entrpy"],
    ),
    case("learner@target=resnet9", says=["learner=resnet9", "resnet8"]),
    case("model@target.model=resnet9", says=["model=resnet9", "resnet8"], base=CNN),
    case("experiment=digits_activ", says=["experiment=digits_activ", "digits_active?"]),
    case("debug=fdr", says=["debug=fdr", "active"]),
    case("logger=cvs", says=["logger=cvs", "did you mean csv?"]),
    case("strategy=null", says=["strategy"]),
    case("data=null", says=["data"]),
    case("=3", says=[]),
    case("strategy._target_=no.such.Thing", says=["strategy._target_", "no.such.Thing"]),
    case("strategy._target_=alframe.strategies.random.Randm", says=["strategy._target_"]),
    case("target=null", says=["target"]),
]

DATA = [
    case("data=array", says=["data.path", "data.path=VALUE"], base=()),
    case("data.path={files}/none.npz", says=["data.path"], base=NO_SUBSET),
    case("data.path={files}/nan.npz", says=["data.path", "NaN", "(3)"], base=NO_SUBSET),
    case("data.path={files}/lengths.npz", says=["data.path", "59 labels"], base=NO_SUBSET),
    case("data.path={files}/pickled.npz", says=["data.path", "pickle"], base=NO_SUBSET),
    case("data.path={files}/file", says=["data.path", ".npz"], base=NO_SUBSET),
    case(
        "data.path={files}/features.npz",
        says=["learner@target", "data"],
        base=(*CNN, *ARRAY),  # a CNN on features
    ),
    *(
        case(
            f"data={name}",
            "data.download=false",
            "paths.data_dir={files}/empty",
            says=["paths.data_dir", "data.download=true", name],
            base=("learner@target=probe",),
        )
        for name in ("cifar10", "cifar100", "fashion_mnist")
    ),
    case("data.validation=1.5", says=["data.validation=1.5"]),
    case("data.subset=5000", says=["data.subset=5000", "1697"]),
]

SCHEDULE = [
    case("schedule.query_size=0", says=["schedule.query_size=0"]),
    case("schedule.query_size=-3", says=["schedule.query_size=-3"]),
    case("schedule.query_size=[]", says=["schedule.query_size=[]"]),
    case("schedule.query_size=[10,0]", says=["schedule.query_size=[10, 0]"]),
    case("schedule.query_size=1.5", says=["schedule.query_size=1.5"]),
    case("schedule.query_size=many", says=["schedule.query_size=many"]),
    case("schedule.query_size=[500]", "schedule.budget=null", says=["schedule.query_size", "200"]),
    case("schedule.initial=0", says=["schedule.initial=0"]),
    case("schedule.initial=500", "schedule.budget=null", says=["schedule.initial=500", "200"]),
    case("schedule.initial=few", says=["schedule.initial=few"]),
    case("schedule.budget=0", says=["schedule.budget=0"]),
    case("schedule.budget=-5", says=["schedule.budget=-5"]),
    case("schedule.budget=10", says=["schedule.budget=10", "schedule.initial=20"]),
    case("schedule.budget=5000", says=["schedule.budget=5000", "200"]),
    case("schedule.budget=60.5", says=["schedule.budget=60.5"]),
    case("schedule.evaluate_at=[33]", says=["schedule.evaluate_at=[33]", "20, 30, 40"]),
    case("schedule.target_accuracy=90", says=["schedule.target_accuracy=90"]),
    case("schedule.target_accuracy=0.9", "data.validation=0", says=["data.validation=0"]),
    case("schedule.initial=1", says=["schedule.initial=1", "two classes", "task.initial"]),
    case("pipeline.sizes=[]", says=["pipeline.sizes=[]"], base=CORE_SET),
    case("pipeline.sizes=[0]", says=["pipeline.sizes=[0]"], base=CORE_SET),
    case("pipeline.sizes=[1.5]", says=["pipeline.sizes=[1.5]"], base=CORE_SET),
    case("pipeline.sizes=[500]", says=["pipeline.sizes=[500]", "200"], base=CORE_SET),
    case("pipeline.sizes=[half]", says=["pipeline.sizes=", "half"], base=CORE_SET),
    case("pipeline.sizes=[0.25,50]", says=["pipeline.sizes", "different"], base=CORE_SET),
    case("seed=abc", says=["seed=abc", "whole number"]),
    case("seed=-1", says=["seed=-1"]),
    case("seed=1.5", says=["seed=1.5"]),
    case("seed=true", says=["seed=", "whole number"]),
]

PAIRINGS = [
    case("strategy=forgetting", says=["strategy", "pipeline=core_set"]),
    case("strategy=forgetting", says=["strategy", "dynamics", "learner@proxy"], base=CORE_SET),
    case(
        "strategy=forgetting", says=["strategy", "dynamics", "learner@target"],
        base=("pipeline=core_set", "learner@target=probe"),
    ),
    case("candidates=random_subset", "candidates.size=5", says=["candidates.size", "10"]),
    case("candidates=random_subset", "candidates.size=0", says=["candidates.size=0"]),
    case("candidates=random_subset", "candidates.size=1.5", says=["candidates.size=1.5"]),
    case("oracle=noisy", "oracle.rate=2", says=["oracle.rate=2"]),
    case("task.initial=first", says=["task.initial=first", "balanced"]),
    case("trainer.accelerator=tpu", says=["trainer.accelerator=tpu"]),
    case("trainer.precision=7", says=["trainer.precision=7"], base=CNN),
    case("target.max_iter=abc", says=["target", "max_iter"]),
    case("target.inverse_regularization=-1", says=["target", "inverse_regularization"]),
    case(
        "target.recipe.early_stopping=3", "data.validation=0",
        says=["recipe.early_stopping=3", "data.validation"], base=CNN,
    ),
    case("target.recipe.early_stopping=0", says=["recipe.early_stopping=0"], base=CNN),
    case("target.recipe.epochs=0", says=["recipe.epochs=0"], base=CNN),
    case("target.recipe.learning_rate=big", says=["recipe.learning_rate=big"], base=CNN),
    case("target.recipe.weight_decay=-1", says=["recipe.weight_decay=-1"], base=CNN),
    case("target.recipe.momentum=much", says=["recipe.momentum=much"], base=CNN),
    case("target.recipe.label_smoothing=2", says=["recipe.label_smoothing=2"], base=CNN),
    case("target.recipe.crop=-1", says=["recipe.crop=-1"], base=CNN),
]  # fmt: skip

PLACES = [
    case("run_dir={files}/file/run", says=["run_dir=", "paths.runs_dir"]),
    case("paths.runs_dir={files}/file", says=["paths.runs_dir"]),
    case("run_dir={files}", says=["run_dir=", "holds no run"]),
    case("resume={files}/empty", says=["{files}/empty", "holds no run"], base=()),
    case("resume={files}/none", says=["{files}/none", "holds no run"], base=()),
    case("resume={files}/empty", "seed=3", says=["resume=", "seed=3"], base=()),
    case("resume={files}/empty", "strategy=margin", says=["resume=", "strategy=margin"], base=()),
]


@pytest.mark.parametrize(
    ("overrides", "says"), KEYS + OPTIONS + DATA + SCHEDULE + PAIRINGS + PLACES
)
def test_is_refused_in_one_sentence_before_anything_is_written(overrides, says, files, workdir):
    before = sorted(files.rglob("*"))

    with pytest.raises(UserError) as caught:
        run(*(word.format(files=files) for word in overrides))

    message = str(caught.value)
    assert [
        word.format(files=files) for word in says if word.format(files=files) not in message
    ] == [], message
    assert len(message.splitlines()) == 1, message
    assert list(workdir.iterdir()) == []
    assert sorted(files.rglob("*")) == before


def test_a_suggestion_is_never_the_mistake_itself(workdir):
    with pytest.raises(UserError) as caught:
        run("learner@target=probe", "target.recipe.epochs=3")
    assert "did you mean target.recipe.epochs?" not in str(caught.value)


def test_a_single_class_of_a_core_set_does_not_send_the_user_to_the_schedule(files, workdir):
    overrides = "pipeline=core_set", "learner@target=probe", "data=array"
    with pytest.raises(UserError) as caught:
        run(*overrides, f"data.path={files}/one_class.npz")
    assert "schedule.initial" not in str(caught.value)


def call_main(monkeypatch, capfd, *words):
    """Runs the command line in this process: exit code, and what it wrote on stderr."""
    monkeypatch.setenv("HYDRA_FULL_ERROR", "")  # main sets it: put back after the test
    monkeypatch.setattr(sys, "argv", ["alframe", *words])
    with pytest.raises(SystemExit) as caught:
        main()
    return caught.value.code, capfd.readouterr().err


@pytest.mark.parametrize(
    "words",
    [
        ("sed=1",),
        ("strategy=margn",),
        ("strategy=null",),
        ("data=array",),
        ("strategy._target_=no.such.Thing",),
        ("schedule.budget=0",),
        ("schedule.budget=60.5",),
        ("strategy=forgetting",),
        ("resume=nothing_here",),
        ("--config-dir", "nothing_here", "strategy=mine"),
        ("--no-such-flag",),
        ("seed=0,1",),
    ],
    ids=" ".join,
)
def test_the_command_ends_with_2_and_one_line(words, workdir, monkeypatch, capfd):
    code, err = call_main(monkeypatch, capfd, *words)
    assert code == 2
    lines = err.splitlines()
    assert [line[:9] for line in lines] == ["alframe: "], err
    assert list(workdir.iterdir()) == []


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ("seed=0,1 strategy=3", "alframe: strategy=3: expected one of aum, "),
        ("strategy=margin,null", "alframe: strategy=margin,null: expected one of aum, "),
        ("learner@proxy=3 seed=0,1", "alframe: learner@proxy=3: expected one of ensemble, "),
        ("seed=0,1 --cfg job", "alframe: Only one of --run, --multirun, --cfg"),
        ("hydra/launcher=slrm", "(did you mean slurm?)"),
        ("hydra/launcher=slrm", "expected one of local, slurm, basic, joblib"),
        ("hydra/sweeper=x", "hydra/sweeper=x: expected one of basic"),
        ("+experiment=null", "alframe: +experiment=null: expected one of cifar10_active, "),
        ("strategy='margin' oracle=3", "alframe: oracle=3: expected one of dataset, noisy"),
    ],
)
def test_a_sweep_names_the_word_that_is_wrong(words, says, workdir, monkeypatch, capfd):
    code, err = call_main(monkeypatch, capfd, "-m", *words.split())
    assert (code, len(err.splitlines())) == (2, 1)
    assert says in err
    assert list(workdir.iterdir()) == []


def test_a_launcher_that_is_not_installed_is_said_to_be_one():
    missing = HydraException("In 'run': Could not find 'hydra/launcher/ray'")
    assert str(explain(missing, [], [CONFIGS])).endswith('; for ray: pip install -e ".[ray]"')


@pytest.mark.parametrize("words", ["sed=1", "strategy=margn", "schedule.budgt=3", "strategy=null"])
def test_a_misspelt_sweep_writes_nothing(words, workdir, monkeypatch, capfd):
    code, err = call_main(monkeypatch, capfd, "-m", "data.subset=300,500", words)
    assert code == 2
    assert [line[:9] for line in err.splitlines()] == ["alframe: "], err
    assert list(workdir.iterdir()) == []


def test_a_bad_value_in_one_cell_of_a_sweep_leaves_the_others_alone(workdir, monkeypatch, capfd):
    words = "-m", "schedule.initial=1,20", "schedule.budget=20", "learner@target=probe"
    code, err = call_main(monkeypatch, capfd, *words)
    assert code == 2
    assert [line for line in err.splitlines() if line.startswith("alframe: ")] == [
        line for line in err.splitlines() if "schedule.initial=1," in line
    ]
    assert len(list(workdir.rglob("config.yaml"))) == 1  # that of schedule.initial=20


def test_a_sweep_of_which_no_cell_can_start_leaves_nothing(workdir, monkeypatch, capfd):
    code, err = call_main(monkeypatch, capfd, "-m", "seed=0,1", "schedule.budget=0")
    assert code == 2
    assert len(err.splitlines()) == 2
    assert list(workdir.iterdir()) == []


@pytest.mark.slow
def test_in_a_process_of_its_own(workdir):
    done = alframe("schedule.budget=0", cwd=workdir)
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr == "alframe: schedule.budget=0: expected a whole number, 1 or more.\n"
    assert list(workdir.iterdir()) == []


def test_a_misspelt_key_in_a_process_of_its_own(workdir):
    done = alframe("sed=1", cwd=workdir)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "alframe: sed: expected a known config key (did you mean seed?)\n"
    assert list(workdir.iterdir()) == []
