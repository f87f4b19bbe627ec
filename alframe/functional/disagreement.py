"""Acquisition functions on several draws: how much the members of a committee disagree.

Every function takes class probabilities [n, draws, classes], of Monte-Carlo dropout or of an
ensemble, and returns scores [n], higher = sooner. Numpy in means numpy out; torch in means torch on
the same device. Scores are float32, or float64 where the input is; float16 and bfloat16 are
computed in float32 or better. Time O(n * draws * classes); memory beyond input and output is a few
chunks, of some MB on a CPU.
"""

from __future__ import annotations

import torch
from torch import Tensor

from alframe.functional.arrays import ArrayT
from alframe.functional.probabilities import Chunk, likeliest, p_log_p, score_rows


def bald(probs_nkc: ArrayT) -> ArrayT:
    """Mutual information of label and model: entropy of the mean minus mean entropy, in nats.

    High where the draws are sure and contradict each other; near zero where they agree, however
    unsure they are. In [0, log min(draws, classes)].

    Args:
        probs_nkc: Class probabilities [n, draws, classes].

    Returns:
        Scores [n].

    Raises:
        ValueError: For another shape, or rows that hold NaN or values outside [0, 1].

    **Source:** N. Houlsby et al., *Bayesian Active Learning for Classification and Preference
    Learning*, 2011, equation 2, arXiv:1112.5745; Y. Gal, R. Islam & Z. Ghahramani, *Deep Bayesian
    Active Learning with Image Data*, 2017, section 4, arXiv:1703.02910. **Deviations:** computed in
    float64, as the two entropies may be nearly equal; rounding below zero becomes zero.
    """
    return score_rows(probs_nkc, _bald, 1, 1, dtype=torch.float64)


def mean_std(probs_nkc: ArrayT) -> ArrayT:
    """Mean over the classes of the standard deviation over the draws, in [0, 1 / 2].

    Args:
        probs_nkc: Class probabilities [n, draws, classes].

    Returns:
        Scores [n]; zero where there is a single draw.

    Raises:
        ValueError: For another shape, or rows that hold NaN or values outside [0, 1].

    **Source:** M. Kampffmeyer, A.-B. Salberg & R. Jenssen, *Semantic Segmentation of Small Objects
    and Modeling of Uncertainty in Urban Remote Sensing Images Using Deep Convolutional Neural
    Networks*, 2016; A. Kendall, V. Badrinarayanan & R. Cipolla, *Bayesian SegNet*, 2015,
    arXiv:1511.02680; as in Gal, Islam & Ghahramani 2017, section 4 (the standard deviation of the
    draws themselves, divided by their number), arXiv:1703.02910.
    """
    return score_rows(probs_nkc, _mean_std, 1, 1)


def variation_ratio(probs_nkc: ArrayT) -> ArrayT:
    """Share of the draws whose likeliest class is not the commonest one, in [0, 1 - 1 / draws].

    A draw with several likeliest classes votes for the lowest of them.

    Args:
        probs_nkc: Class probabilities [n, draws, classes].

    Returns:
        Scores [n]; multiples of 1 / draws, so ties are common.

    Raises:
        ValueError: For another shape, or rows that hold NaN or values outside [0, 1].

    **Source:** L. C. Freeman, *Elementary Applied Statistics*, 1965; W. H. Beluch et al., *The
    Power of Ensembles for Active Learning in Image Classification*, CVPR 2018. **Deviations:** Gal,
    Islam & Ghahramani 2017 (arXiv:1703.02910) write 1 - max of the mean probability instead: that
    is `least_confidence` of the mean over the draws.
    """
    return score_rows(probs_nkc, _variation_ratio, 1, 1)


def _bald(chunk: Chunk) -> Tensor:
    mean_entropy = -chunk.sums_of_p_log_p().mean(dim=1)
    entropy_of_mean = -p_log_p(chunk.values.mean(dim=1)).sum(dim=1)
    return (entropy_of_mean - mean_entropy).clamp_min_(0)


def _mean_std(chunk: Chunk) -> Tensor:
    mean_b1c = chunk.values.mean(dim=1, keepdim=True)
    # From the differences, as mean square minus squared mean would cancel.
    variance_bc = torch.sub(chunk.values, mean_b1c, out=chunk.spare).square_().mean(dim=1)
    return variance_bc.sqrt_().mean(dim=1)


def _variation_ratio(chunk: Chunk) -> Tensor:
    votes_bk = likeliest(chunk.values)
    labels_c = torch.arange(chunk.values.shape[2], device=votes_bk.device)
    counts_bc = (votes_bk.unsqueeze(2) == labels_c).sum(dim=1)
    return 1 - counts_bc.amax(dim=1).to(chunk.values.dtype) / votes_bk.shape[1]
