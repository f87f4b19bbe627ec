"""One class against the rest."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from alframe.data.digits import digits
from alframe.data.one_against_rest import one_against_rest
from alframe.errors import UserError


@pytest.mark.parametrize("concept", ["0", "3", "9"])
def test_labels_are_one_for_the_concept_alone(concept):
    data = digits()
    found = one_against_rest(data, concept)
    rows = np.arange(data.num_rows)
    np.testing.assert_array_equal(found.reveal(rows), data.reveal(rows) == int(concept))
    np.testing.assert_array_equal(found.test_labels, data.test_labels == int(concept))
    assert found.classes == ("rest", concept)
    np.testing.assert_array_equal(found.pool_rows, data.pool_rows)
    assert found.inputs is data.inputs


def test_every_concept_has_a_fingerprint_of_its_own():
    data = digits()
    prints = {one_against_rest(data, name).fingerprint for name in data.classes}
    assert len(prints | {data.fingerprint}) == 11


def test_a_concept_that_does_not_exist_is_refused_with_the_nearest_name():
    with pytest.raises(UserError, match=r"concept=33: expected one of the 10 classes of data=dig"):
        one_against_rest(digits(), "33")
    named = replace(digits(), classes=("icebreaker", "ferry", *map(str, range(8))))
    with pytest.raises(UserError, match=r"concept=icebraker: .* \(did you mean icebreaker\?\)"):
        one_against_rest(named, "icebraker")
    named = replace(digits(), classes=("fire_truck", "fire_trucks", "ferry", *map(str, range(7))))
    with pytest.raises(UserError, match=r"\(did you mean fire_truck or fire_trucks\?\)"):
        one_against_rest(named, "fire_trick")
