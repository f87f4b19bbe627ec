"""An acquisition function that searches for one class: how likely each row is of it.

**Source:** M. K. Warmuth et al., *Active Learning with Support Vector Machines in the Drug
Discovery Process*, Journal of Chemical Information and Computer Sciences 43 (2003) 667-673;
"most-likely positive" in C. Coleman et al., *Similarity Search for Efficient Active Learning and
Search of Rare Concepts*, AAAI 2022, arXiv:2007.00077.
"""

from __future__ import annotations

from alframe.functional.arrays import ArrayT
from alframe.functional.probabilities import score_rows


def most_likely_positive(probs: ArrayT) -> ArrayT:
    """The probability of the last class, in [0, 1]: of two classes, that of the positive one.

    Args:
        probs: Class probabilities [n, classes], at least two classes.

    Returns:
        Scores [n], higher = sooner. float16 and bfloat16 are computed, and returned, in float32.

    Raises:
        ValueError: For another shape, or rows that hold NaN or values outside [0, 1].

    **Source:** Warmuth et al. 2003; Coleman et al. 2022, section 3.
    """
    return score_rows(probs, lambda chunk: chunk.values[:, -1], 2)
