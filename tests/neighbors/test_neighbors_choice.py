"""The choice of a kind, its config, and its recall."""

import logging
from pathlib import Path

import numpy as np
import pytest
import yaml
from hydra.utils import get_object, instantiate
from twins import clusters

from alframe.cli.build import check_keys
from alframe.errors import UserError
from alframe.neighbors.audit import Audit, Recall, recalls
from alframe.neighbors.exact import ExactIndex
from alframe.neighbors.factory import filled, lists_for
from alframe.neighbors.kinds import auto, faiss
from alframe.neighbors.source import ArraySource

CONFIGS = sorted((Path(__file__).parents[2] / "configs" / "index").glob("*.yaml"))
POINTS = clusters(1500, 8)
SOURCE = ArraySource(POINTS)


def config_of(file):
    node = yaml.safe_load(file.read_text())
    if node.get("factory") == "???":
        node["factory"] = "Flat"
    return node


@pytest.mark.parametrize("file", CONFIGS, ids=lambda file: file.stem)
def test_a_config_is_an_index_that_finds_and_refuses_by_its_keys(file):
    node = config_of(file)
    check_keys(node, "index")
    for key in ("metric", "drop_invalid"):
        assert key in node
    if "PQ{codes}" in node.get("factory", ""):
        return  # its training takes seconds; other tests hold the kind
    index = instantiate(node)
    index.build(SOURCE)
    own = np.arange(20)
    exact = ExactIndex(device="cpu")
    exact.build(SOURCE)
    found = recalls(exact.search(POINTS[own], 10, own)[1], index.search(POINTS[own], 10, own)[1])
    assert found.mean() >= 0.9
    with pytest.raises(UserError, match=r"index\.metric=l1"):
        get_object(node["_target_"])(**{**without_target(node), "metric": "l1"})


def without_target(node):
    return {key: value for key, value in node.items() if key != "_target_"}


def test_a_misspelt_key_is_refused():
    node = {**config_of(CONFIGS[0]), "nprobes": 3}
    with pytest.raises(UserError, match=r"index\.nprobes"):
        check_keys(node, "index")


@pytest.mark.parametrize(
    ("rows", "memory", "kind"),
    [
        (1000, 1e-6, "exact"),
        (1001, 1.0, "IVF{lists},Flat"),
        (2**20, 2.1, "IVF{lists},Flat"),
        (2**20, 1.9, "OPQ{codes}_{coded},IVF{lists},PQ{codes}"),
    ],
)
def test_the_kind_follows_from_rows_and_memory(rows, memory, kind):
    index = auto(exact_rows=1000, memory_gib=memory)
    chosen, why = index.choose(rows, 254)  # with its number, a row takes 1 KiB
    assert chosen == kind
    assert str(rows) in why


@pytest.mark.parametrize("exact_rows", [1500, 1499])
def test_what_auto_chose_is_logged_saved_and_loaded(exact_rows, tmp_path, caplog):
    index = auto(exact_rows=exact_rows)
    with caplog.at_level(logging.INFO, "alframe"):
        index.build(SOURCE)
    assert "index=auto is " + ("exact" if exact_rows == 1500 else "IVF{lists},Flat") in caplog.text
    index.save(tmp_path)
    again = auto(exact_rows=0 if exact_rows == 1500 else 9999)  # as another machine may choose
    again.load(tmp_path, SOURCE)
    assert again.describe() == index.describe()
    np.testing.assert_array_equal(again.search(POINTS[:9], 5)[1], index.search(POINTS[:9], 5)[1])
    with pytest.raises(UserError, match="got none"):
        again.load(tmp_path / "nothing", SOURCE)


def test_the_numbers_of_a_factory_string():
    assert [lists_for(rows) for rows in (1, 64, 6400, 10**6, 8_121_242)] == [1, 1, 100, 4096, 8192]
    assert filled("OPQ{codes}_{coded},IVF{lists},PQ{codes}", 10**6, 10) == "OPQ3_12,IVF4096,PQ3"
    assert filled("IVF7,Flat", 10, 3) == "IVF7,Flat"


@pytest.fixture(scope="module")
def exact():
    index = ExactIndex(device="cpu")
    index.build(SOURCE)
    return index


def test_an_exact_index_has_recall_one(exact, caplog):
    index = faiss(factory="Flat", on_low_recall="refuse")
    index.build(SOURCE)
    found = index.audit.recall(index, SOURCE, exact)
    index.audit.judge(found)
    assert found.record() == {"recall": 1.0, "lowest": 1.0, "k": 100, "queries": 200, "seed": 0}
    assert not [each for each in caplog.records if each.levelno >= logging.WARNING]


def test_a_poor_index_is_warned_of_or_refused(exact, caplog):
    poor = faiss(factory="IVF64,Flat", nprobe=1, min_recall=0.99)
    poor.build(SOURCE)
    found = poor.audit.recall(poor, SOURCE, exact)
    poor.audit.judge(found)
    rows = np.sort(np.random.default_rng(0).choice(1500, 200, replace=False))
    true, mine = (each.search(POINTS[rows], 100, rows)[1] for each in (exact, poor))
    by_hand = [len({*a} & {*b}) / 100 for a, b in zip(true.tolist(), mine.tolist(), strict=True)]
    assert found.recall == pytest.approx(np.mean(by_hand))
    assert found.lowest == pytest.approx(min(by_hand))
    assert found.recall < 0.99
    assert "recall@100" in caplog.text
    strict = Audit(min_recall=0.99, on_low_recall="refuse")
    with pytest.raises(UserError, match=r"recall@100.*index\.min_recall=0\.99.*set index=exact"):
        strict.judge(found)


REMEDIES = {
    "Flat": "",
    "IVF{lists},Flat": "raise index.nprobe, ",
    "HNSW16,Flat": "raise index.ef_search, ",
    "RR{bits},LSHt": "raise index.refine, ",
    "IVF4,PQ4x4": "raise index.nprobe or index.refine, ",
    "PCA4,IVF4,Flat": "raise index.nprobe or index.refine, ",
}


@pytest.mark.parametrize("factory", REMEDIES)
def test_what_is_said_of_a_low_recall_names_keys_that_help(factory):
    options = {"min_recall": 0.7, "on_low_recall": "refuse", "train_rows": 300}
    index = faiss(factory=factory, refine=int("LSH" in factory), **options)
    index.build(ArraySource(POINTS[:300]))
    with pytest.raises(UserError) as refused:
        index.audit.judge(Recall(recall=0.6, lowest=0.1, k=100, queries=200, seed=0))
    assert str(refused.value) == (
        "recall@100 of the index is 0.600 on 200 rows: expected index.min_recall=0.7 or more; "
        f"{REMEDIES[factory]}set index=exact, or lower index.min_recall"
    )


def test_auto_names_the_keys_of_what_it_chose():
    index = auto(exact_rows=0, min_recall=0.7)
    assert index.audit.remedies == ()
    index.build(SOURCE)
    assert index.audit.remedies == ("index.nprobe",)
    config = config_of(next(file for file in CONFIGS if file.stem == "auto"))
    assert {"nprobe", "refine", "min_recall"} <= set(config)


def test_an_audit_of_few_rows_asks_for_fewer():
    source = ArraySource(np.concatenate([POINTS[:5], np.full((1, 8), np.nan, np.float32)]))
    indexes = [ExactIndex(drop_invalid=True, device="cpu") for _ in range(2)]
    for index in indexes:
        index.build(source)
    found = Audit().recall(indexes[0], source, indexes[1])
    assert (found.k, found.queries, found.recall) == (4, 5, 1.0)


def test_other_options_are_refused():
    for options, words in [
        ({"min_recall": 2}, r"index\.min_recall=2"),
        ({"on_low_recall": "ignore"}, r"index\.on_low_recall=ignore"),
        ({"nprobe": 0}, r"index\.nprobe=0"),
        ({"memory_gib": 0}, r"index\.memory_gib=0"),
    ]:
        with pytest.raises(UserError, match=words):
            faiss(factory="Flat", **options)
    with pytest.raises(UserError, match=r"index\.exact_rows=-1"):
        auto(exact_rows=-1)
