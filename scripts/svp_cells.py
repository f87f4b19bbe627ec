"""The runs of `reproduce_svp.py`, in their order, and the figures that were published."""

from dataclasses import dataclass

STRATEGIES = ("forgetting", "entropy", "facility_location", "kcenter")
PROXIES = {"181": (), "50": ("recipe@proxy.recipe=svp_short",)}
"""Epochs of the proxy, and what chooses them."""
TINY = "recipe={schedule: one_cycle, epochs: 1, learning_rate: 0.01, min_steps: 2, batch_size: 32}"
SMALL = ("data=digits", "data.subset=300", "trainer=cpu")
SMALL_CORE_SET = ("debug=svp", *SMALL)
SMALL_ACTIVE = ("debug=active", "model@proxy.model=resnet8", f"proxy.{TINY}", *SMALL)
LECTURE = "DCAI lecture, figure lec6.005"
PUBLISHED = {
    ("core_set", "all rows", "", ""): f"about 5.1 %, 3 h 49 min on a P100 ({LECTURE})",
    ("core_set", "forgetting", "181", "0.5"): (
        f"about 5.3 %, 1.6 x, 2 h 23 min on a P100 ({LECTURE}, which names no strategy)"
    ),
    ("active", "least_confidence", "181", ""): "5.3 +/- 0.1 %, selection 7.2 x (SVP README)",
    ("active", "least_confidence", "50", ""): "5.9 +/- 0.3 %, selection 24.6 x (SVP README)",
    ("active", "least_confidence", "itself", ""): "5.4 +/- 0.4 % (SVP README)",
}
"""Top-1 errors of ResNet-164, by form, strategy, epochs of the proxy, and share of the rows."""


@dataclass(frozen=True)
class Cell:
    """One run.

    Attributes:
        form: ``core_set`` or ``active``.
        strategy: Its config option.
        proxy: Epochs of the proxy; ``itself`` or empty where there is none.
        share: Of the rows that are kept, as in ``pipeline.sizes``; empty in the active form.
        seed: Of the run.
        more: What sets this run apart beside these.
    """

    form: str
    strategy: str
    proxy: str
    share: str
    seed: int
    more: tuple[str, ...] = ()

    @property
    def kind(self) -> tuple[str, str, str, str]:
        """What its seeds have in common."""
        return self.form, self.strategy, self.proxy, self.share

    @property
    def name(self) -> str:
        """The name of its run directory."""
        compared = ("compared",) if "pipeline.full=true" in self.more else ()
        return "-".join(filter(None, (*self.kind, *compared, f"seed{self.seed}")))

    def overrides(self, small: bool) -> list[str]:
        """Returns its command line, without where it runs."""
        if self.form == "active":
            words = ["experiment=svp_cifar10_active", *(SMALL_ACTIVE if small else ())]
        else:
            words = ["experiment=svp_cifar10", *(SMALL_CORE_SET if small else ())]
            words.append(f"pipeline.sizes=[{self.share}]")
        words += [f"strategy={self.strategy}", f"seed={self.seed}", *PROXIES.get(self.proxy, ())]
        return [*words, *(["proxy=null"] if self.proxy == "itself" else []), *self.more]


def core_set(seeds: list[int]) -> list[Cell]:
    """Returns the runs of core-set selection, the headline first.

    The target is trained on all rows in the headline's runs alone: once for each seed.
    """
    part, whole = ("pipeline.full=false",), ("pipeline.fidelity=true",)

    def cells(strategy: str, proxy: str, share: str, more: tuple[str, ...] = part) -> list[Cell]:
        return [Cell("core_set", strategy, proxy, share, seed, more) for seed in seeds]

    found = [*cells("forgetting", "181", "0.5", whole), *cells("random", "", "0.5")]
    found += cells("forgetting", "50", "0.5")
    for proxy in PROXIES:
        for share in ("0.5", "0.3"):
            for strategy in STRATEGIES:
                found += cells(strategy, proxy, share)
    found += cells("random", "", "0.3")
    headline = {cell.kind for cell in found[: len(seeds)]}
    return list(dict.fromkeys(c for c in found if c.more == whole or c.kind not in headline))


def compared(seeds: list[int]) -> list[Cell]:
    """Returns runs that also compare proxy and target; all fits are there, if none was removed."""
    more = ("pipeline.full=true", "pipeline.fidelity=true")
    return [
        Cell("core_set", strategy, "181", share, seed, more)
        for share in ("0.5", "0.3")
        for strategy in STRATEGIES
        for seed in seeds
        if (strategy, share) != (STRATEGIES[0], "0.5")
    ]


def active(seeds: list[int]) -> list[Cell]:
    """Returns the runs of the active-learning form."""
    return [
        Cell("active", strategy, proxy, "", seed)
        for strategy in ("least_confidence", "kcenter")
        for proxy in (*PROXIES, "itself")
        for seed in seeds
    ]
