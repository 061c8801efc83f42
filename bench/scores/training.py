"""What training itself measures of a trial: how well its model fits, and how far models that were started apart agree."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import numpy as np

from bench.scores import Score, declare
from bench.scores.metrics import Encoded, matched_spearman

OBJECTIVE = declare(
    Score(
        "objective",
        "The method's own loss on validation (of a GAN, the negative evidence lower bound of its generator and encoder), penalties on "
        "the decoder included, mean per sample (nats where it is a likelihood); it picks among the restarts of one trial, and compares "
        "nothing else.",
        "this project",
        axis="Validation objective",
        lower_is_better=True,
    )
)
CONSISTENCY = declare(
    Score(
        "consistency",
        "Mean over pairs of a trial's restarts that were trained to the end of mcc_spearman of the one's estimates against the other's, "
        "on validation and matched there. Needs no ground truth. Empty with fewer than two such restarts (4 restarts leave one, 8 two).",
        "this project",
        heading=("", "consistency"),
        axis="Consistency of restarts",
        bounded=True,
        non_negative=True,
    )
)
RECON_NMSE = declare(
    Score(
        "recon_nmse",
        "Squared error of the observed variables reconstructed from the posterior means, over their variance, on test.",
        "this project",
        heading=("", "NMSE"),
        axis="Reconstruction error (NMSE), test",
        lower_is_better=True,
        non_negative=True,
    )
)


def agreement(representations: Sequence[np.ndarray]) -> float:
    """MCC between representations of the same points, (n_samples, n_estimated) each, mean over pairs.

    1 if they agree up to order and a monotone map of each latent. A constant latent agrees with nothing and counts 0.
    """
    pairs = itertools.combinations(representations, 2)
    nowhere = np.zeros(len(representations[0]), dtype=int)
    both = [Encoded(one, other, nowhere) for one, other in pairs]
    return float(np.mean([matched_spearman(pair, pair) for pair in both]))


def reconstruction_error(x: np.ndarray, reconstructed: np.ndarray) -> float:
    """Mean squared error over the variance, both summed over observed variables."""
    return float(((x - reconstructed) ** 2).sum() / ((x - x.mean(axis=0)) ** 2).sum())
