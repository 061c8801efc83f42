"""What training itself measures of a trial: how well its model fits, and how far models that were started apart agree."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import numpy as np

from bench.scores import Score, declare
from bench.scores.metrics import Encoded, matched_spearman

TIED = 2.0  # standard errors of the difference from the best: more is worse

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
N_TIES = declare(
    Score(
        "n_ties",
        "How many of a trial's restarts that were trained to the end are ties: the best, and those whose validation objective exceeds it by "
        "at most two standard errors of the paired difference (over blocks of points, the same noise for all). Empty with one restart.",
        "this project",
        heading=("Ties", "n"),
        axis="Restarts that fit equally well",
    )
)
AGREEMENT = declare(
    Score(
        "agreement",
        "Empirical identifiability: mean over pairs of ties of mcc_spearman of the one's estimates against the other's, on validation and "
        "matched there. Needs no ground truth. Below 1, solutions that fit equally well differ. Empty with fewer than two ties.",
        "this project",
        heading=("Ties", "agreement"),
        axis="Agreement of ties",
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
HALVES = declare(
    Score(
        "halves_agreement",
        "Agreement of halves: mcc_spearman of the estimates of a model against those of one trained on the other half of the data set, on the "
        "first 500 points of the test split, which neither half has. Needs no ground truth, and proves nothing alone: a method can agree with itself "
        "and be wrong. Empty where data seeds are no halves, or without the other one.",
        "this project",
        heading=("halves", "agreement"),
        axis="Agreement of halves, test",
        tables=("terminal", "paper"),
        bounded=True,
        non_negative=True,
    )
)
HALVES_CHANCE = declare(
    Score(
        "halves_agreement_chance",
        "What halves_agreement is on average, over 20 times, if the points of one half are shuffled. Empty where halves_agreement is.",
        "this project",
        axis="Agreement of halves by chance, test",
        bounded=True,
        non_negative=True,
    )
)


def ties(objectives: np.ndarray) -> np.ndarray:
    """Which of several models fit as well as the best one, (..., n_models) of truth values, by `objectives` (..., n_models, n_blocks).

    The difference of a model from the best is the mean of those on the blocks, whose scatter gives its standard error; with a single block
    only equals are ties. The lower objective is the better; what is not finite is no tie.
    """
    means = np.nan_to_num(objectives.mean(axis=-1), nan=np.inf)
    best = means.argmin(axis=-1)[..., None, None]
    differences = objectives - np.take_along_axis(objectives, best, axis=-2)
    n_blocks = objectives.shape[-1]
    error = differences.std(axis=-1, ddof=1) / np.sqrt(n_blocks) if n_blocks > 1 else np.zeros(means.shape)
    return differences.mean(axis=-1) <= TIED * error


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
