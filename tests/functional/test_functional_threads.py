"""Shares of the work, one thread each, and what becomes of torch's own threads."""

from __future__ import annotations

import threading

import numpy as np
import pytest
import torch

from alframe.functional import probabilities
from alframe.functional.disagreement import bald
from alframe.functional.threads import each_in_its_thread
from alframe.functional.uncertainty import entropy, least_confidence, margin


@pytest.fixture(params=[1, 2, 3])
def threads(request):
    before = torch.get_num_threads()
    torch.set_num_threads(request.param)
    yield request.param
    torch.set_num_threads(before)


@pytest.mark.parametrize("count", [0, 1, 2, 7])
def test_every_item_is_in_one_share(threads, count):
    items = list(range(count))
    shares = each_in_its_thread(list, items)
    assert sorted(item for share in shares for item in share) == items
    assert len(shares) == max(1, min(threads, count))


def test_each_share_has_a_thread_in_which_torch_uses_no_other(threads):
    seen = each_in_its_thread(lambda _: (threading.get_ident(), torch.get_num_threads()), range(9))
    assert len({ident for ident, _ in seen}) == threads
    assert all(number == 1 for _, number in seen)


def test_torch_has_its_threads_back_also_after_a_mistake(threads):
    def work(share):
        raise KeyError(share[0])

    with pytest.raises(KeyError):
        each_in_its_thread(work, range(9))
    assert torch.get_num_threads() == threads
    later = []
    thread = threading.Thread(target=lambda: later.append(torch.get_num_threads()))
    thread.start()
    thread.join()
    assert later == [threads]


@pytest.mark.parametrize("score", [entropy, least_confidence, margin, bald])
def test_scores_are_the_same_bits_whatever_the_threads(score, threads, monkeypatch):
    shape = (101, 4, 6) if score is bald else (101, 6)
    probs = np.random.default_rng(0).dirichlet(np.ones(6), size=shape[:-1])
    expected = np.concatenate([score(probs[i : i + 1]) for i in range(len(probs))])
    monkeypatch.setattr(probabilities, "_CPU_CHUNK", 60)
    np.testing.assert_array_equal(score(probs), expected)
    with torch.inference_mode():
        np.testing.assert_array_equal(score(torch.from_numpy(probs)).numpy(), expected)
    probs[70, ..., 0] = np.nan
    with pytest.raises(ValueError, match=r"1 bad rows of 101: 70$"):
        score(probs)
