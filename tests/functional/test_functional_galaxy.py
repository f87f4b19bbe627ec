"""GALAXY against breadth-first searches on explicit graphs, and against plain loops over places."""

from __future__ import annotations

from collections import deque
from fractions import Fraction

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from alframe.functional.galaxy import galaxy_bisect


def line_of(probs, k):
    """Points from the least to the most likely of class k, by margin, confidence, position."""
    top = probs.max(axis=1)
    return sorted(range(len(probs)), key=lambda i: (probs[i, k] - top[i], top[i], i))


def edges(line, signs, order):
    """The paper's graph: up to ``order`` places apart, but not of different known signs."""
    graph = {point: set() for point in line}
    for a, point in enumerate(line):
        for other in line[a + 1 : a + 1 + order]:
            if point in signs and other in signs and signs[point] != signs[other]:
                continue
            graph[point].add(other)
            graph[other].add(point)
    return graph


def hops(graph, sources):
    """Edges from the nearest source to each point that can be reached."""
    found = dict.fromkeys(sources, 0)
    queue = deque(sources)
    while queue:
        point = queue.popleft()
        for other in graph[point] - found.keys():
            found[other] = found[point] + 1
            queue.append(other)
    return found


def check_one(probs, signs, k, pick):
    """A first pick is the middle of the shortest shortest path of the smallest order with one."""
    line = line_of(probs, k)
    free = [point for point in line if point not in signs]
    assert pick in free
    if not any(signs.values()):
        assert pick == free[-1]
    elif all(signs.values()):
        assert pick == free[0]
    else:
        yes, no = ([p for p in signs if signs[p] == value] for value in (True, False))
        for order in range(1, len(line)):
            graph = edges(line, signs, order)
            plus, minus = hops(graph, yes), hops(graph, no)
            lengths = [plus[point] for point in no if point in plus]
            if lengths:
                break
        assert plus[pick] + minus[pick] == min(lengths)
        assert abs(plus[pick] - minus[pick]) <= 1


def problem(n, classes, seed, ties=False):
    rng = np.random.default_rng(seed)
    probs = rng.dirichlet(np.ones(classes), n)
    if ties:
        probs = np.round(probs * 2) / 2
    labels = np.where(rng.random(n) < 0.3, rng.integers(classes, size=n), probs.argmax(axis=1))
    return probs, labels, rng.permutation(n)


@settings(deadline=None, max_examples=100)
@given(st.data(), st.integers(1, 30), st.integers(1, 4), st.integers(0, 2**32), st.booleans())
def test_one_by_one_it_is_s2_on_the_graphs_of_the_paper(data, n, classes, seed, ties):
    probs, labels, order = problem(n, classes, seed, ties)
    known = order[: data.draw(st.integers(0, n))].tolist()
    while len(known) < n:
        (pick,) = galaxy_bisect(probs, np.array(known, int), labels[known], 1)
        k = len(known) % classes
        check_one(probs, {point: labels[point] == k for point in known}, k, pick)
        known.append(int(pick))


def slow(probs, known, labels, size):
    """The rules of a query, with loops over all places."""
    n, classes = probs.shape
    lines = [line_of(probs, k) for k in range(classes)]
    signs = [{int(p): y == k for p, y in zip(known, labels, strict=True)} for k in range(classes)]
    picks = []
    for turn in range(size):
        k = (len(known) + turn) % classes
        line, sign = lines[k], signs[k]
        taken = sign.keys() | set(picks)

        def end(place, step, among, line=line):
            place += step
            while 0 <= place < n and line[place] not in among:
                place += step
            return place

        free = [place for place in range(n) if line[place] not in taken]
        parts, far = [], []
        for place in free:
            a, b = end(place, -1, taken), end(place, 1, taken)
            p, q = end(place, -1, sign), end(place, 1, sign)
            if p >= 0 and q < n and sign[line[p]] != sign[line[q]]:
                parts.append((Fraction(a - b, q - p), b - a, a, (a + b) // 2))
            away = [
                min((abs(place - line.index(p)) for p in sign if sign[p] == value), default=None)
                for value in (True, False)
            ]
            far.append((away, place))
        if True not in sign.values():
            best = free[-1]
        elif False not in sign.values():
            best = free[0]
        elif parts:
            best = min(parts)[-1]
        else:
            best = min(far, key=lambda pair: max(pair[0]))[-1]
        picks.append(line[best])
    return picks


@settings(deadline=None, max_examples=100)
@given(st.data(), st.integers(1, 25), st.integers(1, 4), st.integers(0, 2**32), st.booleans())
def test_a_query_against_loops(data, n, classes, seed, ties):
    probs, labels, order = problem(n, classes, seed, ties)
    known = order[: data.draw(st.integers(0, n))]
    picks = galaxy_bisect(probs, known, labels[known], n - len(known))
    assert sorted([*picks, *known]) == list(range(n))
    assert picks.tolist() == slow(probs, known, labels[known], len(picks))


@pytest.mark.parametrize("seed", range(3))
def test_a_query_on_longer_lines_against_loops(seed):
    probs, labels, order = problem(150, 3, seed)
    known = order[:20]
    picks = galaxy_bisect(probs, known, labels[known], 90)
    assert picks.tolist() == slow(probs, known, labels[known], 90)


def threshold(cut, n=1000):
    """Two classes, with one threshold that is not where the model puts it."""
    p = (np.arange(n) + 0.5) / n
    return np.stack([1 - p, p], axis=1), (np.arange(n) >= cut).astype(int)


@pytest.mark.parametrize("cut", [1, 30, 500, 999])
def test_one_by_one_a_cut_is_found_in_logarithmic_time(cut):
    probs, labels = threshold(cut)
    known = [0, 999]
    for _ in range(11):
        known.extend(galaxy_bisect(probs, np.array(known), labels[known], 1))
    assert {cut - 1, cut} <= set(known)
    for _ in range(8):
        known.extend(galaxy_bisect(probs, np.array(known), labels[known], 1))
    assert set(range(max(cut - 4, 0), min(cut + 4, 1000))) <= set(known)


@pytest.mark.parametrize("cut", [1, 30, 500, 999])
def test_two_queries_of_40_find_a_cut_among_a_thousand_places(cut):
    probs, labels = threshold(cut)
    known = np.array([0, 999])
    picks = galaxy_bisect(probs, known, labels[known], 40)
    assert np.diff(np.sort([*known, *picks])).max() <= 40  # equal parts
    known = np.array([*known, *picks])
    known = np.array([*known, *galaxy_bisect(probs, known, labels[known], 40)])
    assert {cut - 1, cut} <= set(known.tolist())


def test_a_rare_class_gets_its_share_where_the_threshold_of_the_model_is_wrong():
    """2 % are of a class that the model predicts for 16 %: the most uncertain are of the other."""
    rng = np.random.default_rng(0)
    labels = (np.arange(2000) < 40).astype(int)
    logit = rng.normal(size=2000) + np.where(labels, 3.5, -1.0)
    probs = np.stack([1 / (1 + np.exp(logit)), 1 / (1 + np.exp(-logit))], axis=1)
    known = np.concatenate([np.arange(3), np.arange(1900, 1997)])
    rest = np.setdiff1d(np.arange(2000), known)
    uncertain = rest[np.abs(logit[rest]).argsort()[:60]]
    picks = galaxy_bisect(probs, known, labels[known], 60)
    assert labels[uncertain].mean() < 0.05
    assert labels[picks].mean() > 0.2


def test_a_class_of_which_nothing_is_known_is_looked_for_where_it_is_likeliest():
    probs = np.array([[0.8, 0.1, 0.1], [0.7, 0.1, 0.2], [0.5, 0.1, 0.4], [0.1, 0.8, 0.1]])
    picks = galaxy_bisect(probs, np.array([], int), np.array([], int), 4)
    # Class 0: 0. Class 1: 3. Class 2: of 1 and 2 the likelier. Class 0 again: what is left.
    assert picks.tolist() == [0, 3, 2, 1]


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_any_float_in_either_form(dtype):
    probs = torch.tensor([[0.25, 0.75], [0.5, 0.5], [0.75, 0.25], [1.0, 0.0]], dtype=dtype)
    labels, known = np.array([1, 0]), np.array([0, 3])
    assert galaxy_bisect(probs, known, labels, 2).tolist() == [1, 2]
    assert galaxy_bisect(probs.double().numpy(), known, labels, 2).tolist() == [1, 2]


def test_what_cannot_be_is_refused():
    probs, none = np.full((9, 2), 0.5), np.array([], int)
    with pytest.raises(ValueError, match="expected a size from 0 to 8"):
        galaxy_bisect(probs, np.array([3]), np.array([0]), 9)
    for shape in [(9,), (9, 0), (9, 2, 2)]:
        with pytest.raises(ValueError, match="expected probabilities"):
            galaxy_bisect(np.zeros(shape), none, none, 1)
    with pytest.raises(ValueError, match="expected a label for each of 1 points"):
        galaxy_bisect(probs, np.array([3]), none, 1)
    probs[[2, 5], 1] = np.nan
    with pytest.raises(ValueError, match="got 2 bad rows of 9: 2, 5"):
        galaxy_bisect(probs, none, none, 1)
