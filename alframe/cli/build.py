"""Builds the parts of a run from their config nodes, after checking the nodes' keys."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, get_args, get_type_hints

from hydra.errors import InstantiationException
from hydra.utils import get_object, instantiate

from alframe.cli.signing import decisive
from alframe.data.dataset import Dataset
from alframe.data.on_embeddings import on_embeddings
from alframe.data.one_against_rest import one_against_rest
from alframe.errors import UserError, nearest, placed
from alframe.options import check_range
from alframe.parts import FirstParts, Parts
from alframe.protocols import Candidates
from alframe.sharing import Sharing

if TYPE_CHECKING:
    from alframe.limits import Limits
    from alframe.neighbors.index import NeighborIndex

Node = Mapping[str, Any]
NESTED = re.compile(r"full_key: (\S+)")
"""Where in a node Hydra failed."""


def accepted(target: Callable[..., Any]) -> tuple[set[str], bool]:
    """Returns the keyword arguments that a callable names, and whether it takes any other."""
    parameters = inspect.signature(target).parameters.values()
    names = {p.name for p in parameters if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)}
    rest = next((p for p in parameters if p.kind is p.VAR_KEYWORD), None)
    if rest is None:
        return names, False
    typed = get_args(get_type_hints(target).get(rest.name))  # Unpack[SomeTypedDict]
    return (names | set(typed[0].__annotations__), False) if typed else (names, True)


def find_target(node: Node, key: str) -> Callable[..., Any]:
    """Imports a node's ``_target_``."""
    path = node["_target_"]
    try:
        target: Callable[..., Any] = get_object(path)
    except Exception as error:
        raise UserError(
            f"{key}._target_={path}: expected something that can be imported "
            f"({' '.join(str(error).split())})"
        ) from error
    return target


def check_keys(node: Node, key: str) -> None:
    """Refuses keys that a node's ``_target_`` does not take, in nested nodes too."""
    if "_target_" in node:
        names, takes_any = accepted(find_target(node, key))
        own = [name for name in node if not (name.startswith("_") and name.endswith("_"))]
        for name in own:
            if not takes_any and name not in names:
                raise UserError(
                    f"{key}.{name}: expected one of {', '.join(sorted(names))}"
                    f"{nearest(name, names)}"
                )
    for name, child in node.items():
        if isinstance(child, Mapping):
            check_keys(child, f"{key}.{name}")


def find_node(config: Node, key: str) -> Node:
    """Returns the config of a part, whose keys are checked.

    Raises:
        UserError: For what has no target, and for keys that the target does not take.
    """
    node = config[key]
    if not isinstance(node, Mapping) or "_target_" not in node:
        raise UserError(f"{key}: expected a config with a _target_, got {node}")
    check_keys(node, key)
    return node


def build(config: Node, key: str, **context: Any) -> Any:
    """Builds the part at ``key``; of the context it is given what its target names.

    Raises:
        UserError: For keys or values that the target does not take.
    """
    node = find_node(config, key)
    names, _ = accepted(find_target(node, key))
    given = {name: value for name, value in context.items() if name in names and name not in node}
    try:
        # Partial, because Hydra would turn a dataclass among its arguments into a config.
        return instantiate(dict(node), _partial_=True, _convert_="all")(**given)
    except (InstantiationException, UserError, TypeError, ValueError) as error:
        raise _mistake(error, key) or error from error


def _mistake(error: Exception, key: str) -> UserError | None:
    """Returns the user's mistake behind a failed instantiation, if that is what it was."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, UserError):
            inner = NESTED.search(str(error))
            if key == "strategy" and inner:  # it does not know that it stands inside another
                return UserError(str(cause).replace("strategy.", f"strategy.{inner[1]}."))
            return placed(cause, key) if key in ("target", "proxy") else cause
        if isinstance(cause, ImportError):
            inner = NESTED.search(str(error))
            place = f"{key}.{inner[1]}" if inner else key
            reason = str(cause).split("\n")[0].rstrip(":")
            return UserError(f"{place}: expected the dotted name of something there is ({reason})")
        if isinstance(cause, TypeError | ValueError):
            return UserError(f"{key} cannot be built from these values: {cause}")
        cause = cause.__cause__
    return None


def build_parts(config: Node) -> tuple[Parts, Any]:
    """Returns the parts of a run, and the hardware it runs on."""
    from alframe.cli.embedded import run_stores

    hardware = build(config, "trainer")
    inputs = data = build(config, "data")
    if config.get("concept") is not None:
        data = one_against_rest(data, str(config["concept"]))
    early = _build_early(config, data, hardware)
    stores = run_stores(config, inputs, hardware, early.index is not None)
    stored = config.get("embeddings") or {}
    if stored.get("learn"):
        data = on_embeddings(data, *stores, stored.get("keep_gib"))
    task = build(config, "task", data=data)
    context = {"data": data, "task": task, "hardware": hardware, "seed": config["seed"]}
    proxy = build(config, "proxy", **context) if config.get("proxy") else None
    parts = Parts(
        data=data,
        task=task,
        target=build(config, "target", **context),
        proxy=proxy,
        strategy=early.first.strategy,
        candidates=_build_candidates(config, inputs, stores.train, early.index),
        oracle=build(config, "oracle", **context),
        schedule=early.first.schedule,
        limits=early.limits,
        sharing=_build_sharing(config, data.fingerprint, hardware),
    )
    return parts, hardware


@dataclass(frozen=True)
class Early:
    """Parts that are built before there are embeddings; ``index`` is None where none is asked."""

    first: FirstParts
    limits: Limits
    index: NeighborIndex | None


def _build_early(config: Node, data: Dataset, hardware: Any) -> Early:
    """Builds and checks what needs no embeddings: to make these may take hours."""
    for key in ("pipeline", "target", "proxy", "oracle", "share"):
        if config.get(key) is not None:
            find_node(config, key)
    if (keep := (config.get("embeddings") or {}).get("keep_gib")) is not None:
        check_range("embeddings.keep_gib", keep, 0, 2**20)
    strategy = build(config, "strategy")  # like the candidates it may not see hidden labels
    task, seed = build(config, "task", data=data), config["seed"]
    schedule = build(config, "schedule", data=data, task=task, hardware=hardware, seed=seed)
    first = FirstParts(data, task, schedule, strategy)
    limits = build(config, "limits", device=str(hardware.device))
    pipeline = find_target(config["pipeline"], "pipeline")
    if (check := getattr(pipeline, "check_start", None)) is not None:
        check(first, seed)
    index = None
    if "neighbors" in accepted(find_target(find_node(config, "candidates"), "candidates"))[0]:
        index = build(config, "index")
        with suppress(UnbuiltError):
            build(config, "candidates", neighbors=_Unbuilt(data.num_rows))
    return Early(first, limits, index)


class UnbuiltError(Exception):
    """A candidate rule wants more of a neighborhood than there is before it is built."""


class _Unbuilt:
    """Stands for a neighborhood while the options of a candidate rule are checked."""

    def __init__(self, num_rows: int) -> None:
        self.num_rows = num_rows

    def __getattr__(self, name: str) -> Any:
        raise UnbuiltError(name)


def _build_candidates(
    config: Node, data: Dataset, store: str | None, index: NeighborIndex | None
) -> Candidates:
    """Builds the candidate rule, and before it the neighborhood where it asks for one."""
    context: dict[str, Any] = {}
    if index is not None:
        from alframe.cli.neighbors import neighborhood

        context["neighbors"] = neighborhood(data, index, config["index"], store)
    rule: Candidates = build(config, "candidates", **context)
    return rule


def _build_sharing(config: Node, fingerprint: str, hardware: Any) -> Sharing | None:
    """Returns where fits are shared, or None; a run of version 0.1.0 knows no such key."""
    node = config.get("share")
    if node is None:
        return None
    shares = isinstance(node, Mapping) and node.get("dir") is not None
    decides = decisive(config, fingerprint, hardware.describe()) if shares else {}
    sharing: Sharing = build(config, "share", decides=decides)
    return sharing if shares else None
