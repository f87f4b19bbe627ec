"""Joint entropies of BatchBALD: how unsure the labels of several rows are, taken together.

Axes: n rows, b rows of a part, k draws (of Monte-Carlo dropout or an ensemble, each as likely as
the others), c classes, m label configurations (one label for each row added so far).

A configuration changes the weights of the draws, and the label of one more row is then as unsure as
the mixture of its draws by these weights: a product of posteriors [m, k] and probabilities
[k, b * c]. Whether all configurations are there or a sample of them makes no other difference.

**Source:** A. Kirsch, J. van Amersfoort & Y. Gal, *BatchBALD: Efficient and Diverse Batch
Acquisition for Deep Bayesian Active Learning*, 2019, section 3.2, arXiv:1906.08158.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor

from alframe.functional.arrays import ArrayT, refuse_rows
from alframe.functional.probabilities import Chunk, as_probabilities, p_log_p, score_chunks

SAME = 1e-9  # nats: entropies that differ by less are equal; rounding alone makes up to 1e-12
_CHUNK = 2**17  # float64 values in one temporary: 1 MB, which stays in a CPU's cache


def joint_entropy_exact(probs_nkc: ArrayT) -> float:
    """Entropy in nats of the labels of all rows together, in [0, n * log classes].

    Args:
        probs_nkc: Class probabilities [n, draws, classes]; each draw is divided by its sum.

    Returns:
        The entropy, from classes ** n configurations: time and memory are that times the draws.

    Raises:
        ValueError: For another shape, NaN, values outside [0, 1], or draws that sum to zero.

    **Source:** A. Kirsch, J. van Amersfoort & Y. Gal, *BatchBALD: Efficient and Diverse Batch
    Acquisition for Deep Bayesian Active Learning*, 2019, section 3.2, arXiv:1906.08158.
    """
    rows, _ = checked_draws(probs_nkc)
    joint = ExactJointEntropy(rows.shape[1], rows.device)
    for row in range(len(rows)):
        joint.add_row(normal(rows[row]))
    return joint.entropy()


def joint_entropy_sampled(
    probs_nkc: ArrayT, rng: np.random.Generator, samples: int = 10_000
) -> float:
    """Estimates `joint_entropy_exact` from a sample of label configurations, without bias.

    Args:
        probs_nkc: Class probabilities [n, draws, classes]; each draw is divided by its sum.
        rng: Draws the configurations.
        samples: How many; rounded up to a multiple of the draws.

    Returns:
        The mean of -log p(configuration), in nats. Time O(n * samples * draws), memory
        O(samples * draws).

    Raises:
        ValueError: As `joint_entropy_exact`, or for samples below one.

    **Source:** Kirsch, van Amersfoort & Gal 2019, section 3.2, arXiv:1906.08158.
    """
    rows, _ = checked_draws(probs_nkc)
    joint = SampledJointEntropy(rows.shape[1], positive("samples", samples), rng, rows.device)
    for row in range(len(rows)):
        joint.add_row(normal(rows[row]))
    return joint.entropy()


class JointEntropy:
    """Entropy of the labels of rows taken together, over configurations of these labels.

    Args:
        log_mk: Log probability of each configuration under each draw, float64.
        log_share_m: Log of how much of the whole each configuration stands for.
    """

    def __init__(self, log_mk: Tensor, log_share_m: Tensor) -> None:
        self._set(log_mk, log_share_m)

    def __len__(self) -> int:
        """Returns the number of configurations."""
        return len(self._log_mk)

    def add_row(self, probs_kc: Tensor) -> None:
        """Adds a row: probabilities [draws, classes], float64, each draw summing to one."""
        raise NotImplementedError

    def entropy(self) -> float:
        """Returns the joint entropy of the added rows in nats, zero where there is none."""
        return -(self._share_m @ _evidence(self._log_mk)).item()

    def gains(self, probs_bkc: Tensor) -> Tensor:
        """Returns what each row [b] adds to the mutual information of labels and draw, in nats.

        Args:
            probs_bkc: Probabilities [b, draws, classes], float64, each draw summing to one.
        """
        own_bk = -p_log_p(probs_bkc).sum(dim=2)
        # The mean of the posteriors: 1 / draws, but for the noise that a sample shares with the
        # first term. So no gain is below zero, and the noise goes where the gain goes.
        return self.conditional(probs_bkc) - own_bk @ (self._share_m @ self._posterior_mk)

    def reach(self, gains: Tensor) -> Tensor:
        """Returns what later gains of rows may be at most, from their gains at any time before."""
        return gains + SAME  # the mutual information is submodular, so gains only fall

    def conditional(self, probs_bkc: Tensor) -> Tensor:
        """Returns the entropy of each row [b] in nats, given the labels of the added rows.

        Args:
            probs_bkc: Probabilities [b, draws, classes], float64, each draw summing to one.
        """
        probs_kbc = probs_bkc.transpose(0, 1).flatten(1)
        total_bc = torch.zeros_like(probs_kbc[0])
        step = max(1, _CHUNK // len(total_bc))
        for posterior_mk, share_m in zip(
            torch.split(self._posterior_mk, step), torch.split(self._share_m, step), strict=True
        ):
            total_bc -= share_m @ p_log_p(posterior_mk @ probs_kbc)
        return total_bc.view(len(probs_bkc), -1).sum(dim=1)

    def unknown(self) -> float:
        """Returns how unsure the draw stays in nats, given the labels: no row can tell more."""
        return -(self._share_m @ p_log_p(self._posterior_mk).sum(dim=1)).item()

    def _set(self, log_mk: Tensor, log_share_m: Tensor) -> None:
        self._log_mk, self._log_share_m = log_mk, log_share_m
        self._posterior_mk, self._share_m = log_mk.softmax(dim=1), log_share_m.exp()


class ExactJointEntropy(JointEntropy):
    """Over every possible configuration: as many as the classes to the power of the rows.

    Memory is O(configurations * draws).

    Args:
        draws: How many draws k there are.
        device: Where to compute.
    """

    def __init__(self, draws: int, device: torch.device | None = None) -> None:
        log_mk = torch.zeros(1, draws, dtype=torch.float64, device=device)
        super().__init__(log_mk, _evidence(log_mk))

    def add_row(self, probs_kc: Tensor) -> None:
        """See `JointEntropy.add_row`."""
        log_mk = (self._log_mk.unsqueeze(1) + probs_kc.log().T).flatten(0, 1)
        evidence_m = _evidence(log_mk)
        possible = evidence_m.exp() > 0
        self._set(log_mk[possible], evidence_m[possible])


class SampledJointEntropy(JointEntropy):
    """Over a sample of configurations, to which every draw contributes equally many.

    Memory is O(samples * draws).

    Args:
        draws: How many draws k there are.
        samples: How many configurations; rounded up to a multiple of the draws.
        rng: Draws the labels.
        device: Where to compute.
    """

    def __init__(
        self,
        draws: int,
        samples: int,
        rng: np.random.Generator,
        device: torch.device | None = None,
    ) -> None:
        self._each, self._rng = math.ceil(samples / draws), rng
        count = self._each * draws
        log_mk = torch.zeros(count, draws, dtype=torch.float64, device=device)
        super().__init__(log_mk, torch.full_like(log_mk[:, 0], -math.log(count)))

    def add_row(self, probs_kc: Tensor) -> None:
        """See `JointEntropy.add_row`; each configuration gets a label from its own draw."""
        share_kc = probs_kc.cumsum(dim=1)
        share_kc /= share_kc[:, -1:].clone()  # ends at 1, so that no label beyond is drawn
        uniform = torch.from_numpy(self._rng.random((len(probs_kc), self._each)))
        labels_m = torch.searchsorted(share_kc, uniform.to(share_kc.device), right=True).flatten()
        self._set(self._log_mk + probs_kc.log().T[labels_m], self._log_share_m)

    def reach(self, gains: Tensor) -> Tensor:
        """See `JointEntropy.reach`; wrong at most twice in a million times (Bernstein's bound)."""
        draws, samples = self._log_mk.shape[1], len(self)
        noise = 2 * math.log(draws) * math.log(1e6) / samples  # a term is in [0, log draws]
        true = ((math.sqrt(noise) + (noise + 4 * gains.clamp_min(0)).sqrt()) / 2).square()
        return true + (noise * true).sqrt() + noise / 3 + SAME


def checked_draws(probs_nkc: ArrayT) -> tuple[Tensor, Tensor]:
    """Returns the probabilities as a tensor, and the BALD score of each row in float64."""
    values = as_probabilities(probs_nkc, 1, 1)
    gains_n = score_chunks(values, _gain_of_one, torch.float64)
    refuse_rows(gains_n.isnan(), "draws whose probabilities do not all vanish")
    return values, gains_n


def _gain_of_one(chunk: Chunk) -> Tensor:
    probs_bkc = normal(chunk.values)
    own_bk = -p_log_p(probs_bkc).sum(dim=2)
    return -p_log_p(probs_bkc.mean(dim=1)).sum(dim=1) - own_bk.mean(dim=1)


def normal(probs: Tensor) -> Tensor:
    """Returns each draw in float64, divided by its sum: half precision is off by up to 1e-3."""
    values = probs.double()
    return values / values.sum(dim=-1, keepdim=True)


def _evidence(log_mk: Tensor) -> Tensor:
    """Returns the log probability of each configuration, every draw being equally likely."""
    return log_mk.logsumexp(dim=1) - math.log(log_mk.shape[1])


def positive(name: str, number: int) -> int:
    """Returns the number, refusing one below 1."""
    if number < 1:
        raise ValueError(f"expected {name} to be at least 1, got {number}")
    return number
