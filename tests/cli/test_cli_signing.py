"""What of the code and the config is signed of every fit."""

import pytest

from alframe.cli.compose import compose
from alframe.cli.signing import OWN, decisive, own_code, strange_code

SOURCE = '''"""A module."""

# why
def double(x):
    """Returns twice x."""
    return 2 * x
'''


@pytest.fixture
def package(tmp_path):
    """A folder that is laid out as alframe is."""
    for name in OWN:
        path = tmp_path / "alframe" / name
        path = path if path.suffix else path / "part.py"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(SOURCE)
    return tmp_path / "alframe"


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("# why", "# another reason"),
        ("twice x", "x two times"),
        ('"""A module."""', ""),
        ("2 * x", "(2 *\n    x)"),
        ('    """Returns twice x."""\n', ""),
    ],
)
@pytest.mark.parametrize("file", ["learners/part.py", "schedule.py"])
def test_words_in_alframes_own_code_may_change(package, file, before, after):
    expected = own_code(package)
    changed = SOURCE.replace(before, after)
    assert changed != SOURCE
    (package / file).write_text(changed)
    assert own_code(package) == expected


@pytest.mark.parametrize("file", ["learners/part.py", "data/part.py", "schedule.py"])
def test_what_alframes_own_code_does_may_not(package, file):
    expected = own_code(package)
    (package / file).write_text(SOURCE.replace("2 * x", "3 * x"))
    assert own_code(package) != expected


def test_files_elsewhere_do_not_matter(package):
    expected = own_code(package)
    (package / "report").mkdir()
    (package / "report" / "html.py").write_text(SOURCE)
    assert own_code(package) == expected
    (package / "models" / "new.py").write_text("")
    assert own_code(package) != expected


def test_the_real_code_is_signed():
    assert own_code() == own_code()
    assert len(own_code()) == 64


def test_the_code_of_strangers_is_signed_wherever_it_is_named(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path)
    folder = tmp_path / "their_package"
    folder.mkdir()
    (folder / "__init__.py").write_text("")
    (folder / "net.py").write_text(SOURCE)
    (tmp_path / "their_module.py").write_text(SOURCE)
    node = {
        "_target_": "alframe.learners.lightning.LightningLearner",
        "model": {"_target_": "their_package.net.double", "_partial_": True},
        "parts": [{"_target_": "their_module.double"}, 3, {"_target_": "torch.nn.ReLU"}],
    }
    before = strange_code(node)
    assert sorted(before) == ["their_module", "their_package"]
    (folder / "helper.py").write_text("x = 1")  # the target may import it
    between = strange_code(node)
    assert between["their_package"] != before["their_package"]
    assert between["their_module"] == before["their_module"]
    (tmp_path / "their_module.py").write_text(SOURCE.replace("2", "3"))
    assert strange_code(node)["their_module"] != before["their_module"]


def test_what_decides_a_run():
    def found(*overrides):
        config = compose([*overrides, "run_dir=x"])
        return decisive({key: config[key] for key in config if key != "hydra"}, "abc", "cpu")

    plain = found()
    assert plain["fingerprint"] == "abc"
    assert plain["device"] == "cpu"
    assert {"torch", "pytorch-lightning", "numpy"} <= set(plain["versions"])
    assert "proxy" not in plain["learners"]
    assert found("strategy=margin", "oracle=noisy", "schedule.initial=30", "seed=3") == plain
    assert found("limits.memory=0.5", "pipeline=core_set", "logger=[]") == plain
    for other in ("target.model.width=8", "target.recipe.epochs=3", "trainer.precision=32-true",
                  "data.subset=300", "learner@target=mlp"):  # fmt: skip
        assert found(other) != plain
    assert set(found("learner@proxy=mlp")["learners"]) == {"proxy", "target"}
