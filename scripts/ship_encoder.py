r"""Makes the encoder that comes with alframe from a finished run.

    alframe name=encoder pipeline=core_set data=cifar10 data.validation=0 learner@target=resnet20 \
        recipe@target.recipe=one_cycle_cpu strategy=random pipeline.sizes=[1.0] pipeline.full=false
    python scripts/ship_encoder.py RUN

Writes alframe/encoders/shipped/resnet20_cifar10.safetensors (weights in float16), and beside it, in
README.md, where it is from and its test accuracy, measured with the rounded weights.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from safetensors.torch import save_file

from alframe.cli.build import build_parts
from alframe.learners.evaluate import evaluate
from alframe.learners.lightning import LightningFitted
from alframe.run_dir import read_config

SHIPPED = Path(__file__).parents[1] / "alframe" / "encoders" / "shipped"
NAME = "resnet20_cifar10"
FIT = "size_000_target"


def main() -> None:
    """Reads the command line, writes both files."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("run", type=Path, help="a finished run of the command above")
    run = parser.parse_args().run
    fitted = restored(run)
    weights = {
        name: value.half().contiguous() if value.is_floating_point() else value
        for name, value in fitted.model.state_dict().items()
    }
    SHIPPED.mkdir(exist_ok=True)
    save_file(weights, SHIPPED / f"{NAME}.safetensors")
    before = fitted.metrics["test"]["accuracy"]
    fitted.model.load_state_dict({name: value.float() for name, value in weights.items()})
    of = fitted.learner
    after = evaluate(fitted.model, of.data, "test", of.task, of.hardware.device)["accuracy"]
    (SHIPPED / "README.md").write_text(page(run, fitted.seconds, before, after))
    print(f"{NAME}: test accuracy {after:.4f}, {before:.4f} before rounding")


def restored(run: Path) -> LightningFitted:
    """Returns the run's fit on all rows."""
    from alframe.files import decode_state

    parts, _ = build_parts(read_config(run))
    fitted = parts.target.restore(decode_state(run / "fits" / FIT / "fitted.npz"))
    assert isinstance(fitted, LightningFitted)
    return fitted


def page(run: Path, seconds: float, before: float, after: float) -> str:
    """Returns where the weights are from."""
    status = json.loads((run / "status.json").read_text())
    config = read_config(run)
    recipe = config["target"]["recipe"]
    versions = ", ".join(
        f"{k} {v}" for k, v in status["versions"].items() if k in ("alframe", "torch")
    )
    size = (SHIPPED / f"{NAME}.safetensors").stat().st_size
    lines = (__doc__ or "").splitlines()
    command = "\n".join(line.strip() for line in lines[2:5])
    return f"""# Weights that come with alframe

Written by `scripts/ship_encoder.py`.

`{NAME}.safetensors` ({size:,} bytes): the pre-activation ResNet-20 of `model=resnet20`, trained on
all 50,000 training images of CIFAR-10 with their ten classes, {recipe["epochs"]} epochs of the
recipe `one_cycle_cpu`, seed {config["seed"]}; weights rounded to float16. Test accuracy
{100 * after:.2f} % ({100 * before:.2f} % before rounding). `encoder=resnet20_cifar10` gives the 64
values that enter its last layer. It was trained in {seconds:,.0f} s beside other work
({status["device"]}; {versions}; git {status["git"]["revision"][:12]}; {status["started"][:10]}) by

```
{command}
```
"""


if __name__ == "__main__":
    main()
