"""Writes alframe/strategies/README.md, the page of all strategies, from their docstrings.

    python scripts/strategies_page.py [--check | --list PIPELINE]

With --check nothing is written: it fails where the page is not what the docstrings say. With --list
the strategies that are defined in a pipeline are printed, as a sweep wants them.
"""

import inspect
import re
import sys
from pathlib import Path
from typing import Any

from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf

from alframe.cli.build import build
from alframe.cli.compose import CONFIGS

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "alframe" / "strategies" / "README.md"
HEAD = """# Strategies

Written by `scripts/strategies_page.py` from the docstrings; a test holds that it is current.

A strategy is chosen by `strategy=NAME`, its options by `strategy.KEY=VALUE`; `alframe-select
--strategy NAME` runs the same on arrays in files. n candidates, m labeled rows, d the width of an
embedding, k picks, c classes. Memory and time of a selection are beside what was observed, and are
estimated before a run starts (`limits.memory`, `limits.seconds`). "Random" strategies draw random
numbers (one stream for each run's seed and round); the others give the same rows at every seed.
"""
FAMILIES = (
    "Baseline",
    "Uncertainty",
    "Search",
    "Representation",
    "Hybrid",
    "Training dynamics",
    "Geometry and gradients",
    "Wrapper",
)
PARTS = ("Needs", "Cost", "Source", "Deviations")


def sections(text: str) -> dict[str, str]:
    """Splits a docstring into its first line and its named parts, each on one line."""
    text = re.sub(r"\*\*(\w+:)\*\*", r"\n\1", inspect.cleandoc(text))
    found = {"First": text.split("\n\n")[0]}
    pattern = rf"^({'|'.join(PARTS)}):\s*(.*?)(?=^(?:{'|'.join(PARTS)}|Args|Raises|Returns):|\Z)"
    for match in re.finditer(pattern, text, re.MULTILINE | re.DOTALL):
        found[match[1]] = match[2]
    return {name: " ".join(part.split()) for name, part in found.items()}


def entry(name: str) -> dict[str, Any]:
    """Returns what the page says of one strategy."""
    file = CONFIGS / "strategy" / f"{name}.yaml"
    with initialize_config_dir(str(CONFIGS), version_base="1.3"):
        node = OmegaConf.to_container(compose(f"strategy/{name}").strategy, resolve=True)
    strategy = build({"strategy": node}, "strategy")
    said = sections(type(strategy).__doc__ or "")
    # One class for many scores: what is particular stands with the function, and with the YAML.
    score = {"TopScore": "acquisition", "TopHistory": "difficulty"}.get(type(strategy).__name__)
    plain = score is not None
    if score is not None:
        module, _, function = node[score]["path"].rpartition(".")
        own = sections(getattr(sys.modules[module], function).__doc__ or "")
        said |= {part: own[part] for part in ("Source", "Deviations") if part in own}
    comment = re.match(r"(?:# .*\n)+", file.read_text())
    words = " ".join(line.lstrip("# ") for line in (comment[0] if comment else "").splitlines())
    family, _, what = words.partition(": ")
    return {
        "name": name,
        "family": family,
        "what": what if plain else said["First"],
        "pipelines": ", ".join(sorted(strategy.pipelines)),
        "random": "yes" if strategy.stochastic else "no",
        "file": Path(inspect.getfile(type(strategy))).name,
        **said,
    }


def every() -> list[dict[str, Any]]:
    """Returns the entries of all strategies."""
    return [entry(path.stem) for path in sorted((CONFIGS / "strategy").glob("*.yaml"))]


def page() -> str:
    """Returns the page."""
    entries = every()
    families = [name for name in FAMILIES if any(e["family"] == name for e in entries)]
    unknown = {e["family"] for e in entries} - set(FAMILIES)
    if unknown:
        sys.exit(f"the first words of a YAML are no family: {', '.join(sorted(unknown))}")
    lines = [HEAD, "| strategy | family | pipelines | random | file |", "|---|---|---|---|---|"]
    for family in families:
        lines += [
            f"| [`{e['name']}`](#{e['name']}) | {family} | {e['pipelines']} | {e['random']} | "
            f"[{e['file']}]({e['file']}) |"
            for e in entries
            if e["family"] == family
        ]
    for e in sorted(entries, key=lambda e: families.index(e["family"])):
        lines += [f"\n## {e['name']}\n", e["what"], ""]
        lines += [f"- **{part}**: {e[part]}" for part in PARTS if e.get(part)]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    if "--list" in sys.argv:
        print(",".join(e["name"] for e in every() if sys.argv[-1] in e["pipelines"]))
    elif "--check" not in sys.argv:
        PAGE.write_text(page())
    elif not PAGE.is_file() or PAGE.read_text() != page():
        sys.exit(f"{PAGE} is not current: run python scripts/strategies_page.py")
