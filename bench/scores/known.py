"""What every score says of encoders whose quality is known: by it one sees which score can be trusted for what.

`table` computes the scores, `render` and `markdown` write them, by topic. The encoders need no training: each is a function of the true
latents. Scores of the support need a decoder, those of `bench.scores.factors` images with factors; they are not here.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from bench.scores import SCORES, Score
from bench.scores.metrics import Encoded, Evaluation

N_LATENTS, N_POINTS, N_DOMAINS = 4, 1000, 4  # of each of the two splits, validation and test
DEPENDENCE = 0.9  # correlation of every two of the dependent latents
CHANGING = np.array([True, True, False, False])  # which latents are called style: a name, as nothing depends on it
EMPTY = "–"

Arrays = tuple[np.ndarray, np.ndarray]  # true and estimated latents, (n_samples, .) each


@dataclass(frozen=True)
class Known:
    """An encoder whose quality is known, and how to draw true and estimated latents of points in the given domains."""

    name: str
    description: str
    draw: Callable[[np.random.Generator, np.ndarray], Arrays]


@dataclass(frozen=True)
class Topic:
    """Scores that are read together, by name, and what they can be trusted for."""

    title: str
    scores: tuple[str, ...]
    trust: str


# --- the encoders


def _of(encode: Callable[[np.ndarray, np.random.Generator], np.ndarray]) -> Callable[..., Arrays]:
    """Draws independent standard normal latents, the same in every domain, and their estimates."""

    def draw(rng: np.random.Generator, domains: np.ndarray) -> Arrays:
        z = rng.normal(size=(len(domains), N_LATENTS))
        return z, encode(z, rng)

    return draw


def _distorted(z: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    return np.stack([np.exp(z[:, 3]), -(z[:, 2] ** 3), np.tanh(z[:, 1]), -np.cbrt(z[:, 0])], axis=1)


def _turned(z: np.ndarray, angle: float | np.ndarray) -> np.ndarray:
    """The first two latents turned in their plane by an angle (radians, one or (n_samples, 1)), and the last two in theirs."""
    first, second = z[:, 0::2], z[:, 1::2]
    turned = np.cos(angle) * first - np.sin(angle) * second, np.sin(angle) * first + np.cos(angle) * second
    return np.stack(turned, axis=2).reshape(z.shape)


def _entangled(z: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Every estimate depends on all latents: turned by an angle that grows with the radius, which loses nothing, then mixed by a rotation."""
    signs = np.array([[1, 1, 1, 1], [1, -1, 1, -1], [1, 1, -1, -1], [1, -1, -1, 1]]) / 2
    return _turned(z, 0.8 * np.linalg.norm(z, axis=1, keepdims=True)) @ signs


def _dependent(rng: np.random.Generator, domains: np.ndarray) -> np.ndarray:
    shared, own = rng.normal(size=(len(domains), 1)), rng.normal(size=(len(domains), N_LATENTS))
    return np.sqrt(DEPENDENCE) * shared + np.sqrt(1 - DEPENDENCE) * own


def _draw_dependent(rng: np.random.Generator, domains: np.ndarray) -> Arrays:
    z = _dependent(rng, domains)
    return z, z


def _draw_mean(rng: np.random.Generator, domains: np.ndarray) -> Arrays:
    z = _dependent(rng, domains)
    return z, z.mean(axis=1, keepdims=True) + 0.1 * rng.normal(size=z.shape)


def _draw_domains(rng: np.random.Generator, domains: np.ndarray) -> Arrays:
    """Means of the domains are orthogonal in the first three latents and make nine tenths of their variance; the fourth is as the first."""
    signs = np.array([[1, 1, 1, 1], [1, -1, -1, 1], [-1, 1, -1, -1], [-1, -1, 1, -1]])
    means = np.sqrt(0.9) * signs[domains]
    return means + np.sqrt(0.1) * rng.normal(size=means.shape), means


ENCODERS = (
    Known("identity", "the true latents", _of(lambda z, rng: z)),
    Known(
        "permuted, distorted",
        "the true latents in another order, each through a strictly monotone function of its own (exp, cube, tanh, cube root; two fall)",
        _of(_distorted),
    ),
    Known("rotated", "two pairs of latents, each turned by 45 degrees in its plane", _of(lambda z, rng: _turned(z, np.pi / 4))),
    Known("entangled", "a smooth nonlinear bijection in which every estimate depends on all latents", _of(_entangled)),
    Known("duplicated", "every true latent twice", _of(lambda z, rng: np.hstack([z, z]))),
    Known("dropped", "the true latents without the last one", _of(lambda z, rng: z[:, :-1])),
    Known("constant", "four constants", _of(lambda z, rng: np.ones_like(z))),
    Known("noise", "four standard normal numbers that know nothing of the latents", _of(lambda z, rng: rng.normal(size=z.shape))),
    Known(
        "dependent, identity",
        f"the true latents, where every two of these correlate by {DEPENDENCE}",
        _draw_dependent,
    ),
    Known(
        "dependent, one for all",
        f"where every two latents correlate by {DEPENDENCE}: each of the four estimates is the mean of the latents, with some noise (0.1)",
        _draw_mean,
    ),
    Known(
        "domains alone",
        "the mean of each latent in the point's domain and nothing else, where these means make nine tenths of the latents' variance "
        "(the first and the last latent have the same means)",
        _draw_domains,
    ),
)  # fmt: skip

TOPICS = (
    Topic(
        "Matched correlations",
        ("mcc_spearman", "mcc_pearson", "mcc_within", "mcc_style"),
        "Trust mcc_spearman to rank encoders where latents are independent: it is 1 exactly for a monotone function of each latent. "
        "mcc_pearson also falls for distortions that theory allows. Do not read either without a floor: dependent latents that are not told apart "
        "at all, and estimates that know the domain alone, score near 1. mcc_within is not fooled by the domain. A rotation keeps .7.",
    ),
    Topic(
        "Probes",
        ("r2_component", "r2_block", "r2_linear", "r2_content"),
        "Trust r2_block to tell lost from mixed: it is near 1 wherever the information is there, however entangled. r2_linear is the same up to "
        "a linear map. r2_component asks as mcc_spearman does, of one estimate, and is stricter. Where latents depend, one that was not estimated "
        "is predicted from the others.",
    ),
)


# --- the table


def table(records: Mapping[str, Score] | None = None) -> dict[str, dict[str, Any]]:
    """Every score of `records` (by default those of every run) of every encoder, by the encoder's name and the score's."""
    return {known.name: evaluation(known).scores(SCORES if records is None else records)[0] for known in ENCODERS}


def evaluation(known: Known) -> Evaluation:
    """The evaluation of an encoder on its two splits, the same whenever asked."""
    rng, domains = np.random.default_rng(0), np.arange(N_POINTS) % N_DOMAINS
    validation, test = (Encoded(*known.draw(rng, domains), domains) for _ in range(2))
    return Evaluation.of(validation, test, CHANGING)


def render(found: Mapping[str, Mapping[str, Any]], records: Mapping[str, Score]) -> str:
    """The table for a terminal, a part for each topic, with what its scores can be trusted for."""
    import textwrap

    parts = []
    for topic in TOPICS:
        names = [name for name in topic.scores if name in records]
        if names:
            parts += [f"{topic.title}\n", _grid(found, [records[name] for name in names], "simple", "\n"), ""]
            parts += [textwrap.fill(topic.trust, 80), "\n"]
    return "\n".join(parts).rstrip("\n")


def markdown(found: Mapping[str, Mapping[str, Any]], records: Mapping[str, Score]) -> str:
    """The same in Markdown, with what the encoders are and the definition of every score."""
    lines = [f"| {known.name} | {known.description} |" for known in ENCODERS]
    parts = [
        "## Known encoders",
        f"Two splits of {N_POINTS:,} points, {N_LATENTS} latents. Unless it is said otherwise these are independent, standard normal, and the same in every "
        "domain.",
        "\n".join(["| encoder | its estimates are |", "|---|---|", *lines]),
        "## What every score says of them",
    ]
    for topic in TOPICS:
        own = [records[name] for name in topic.scores if name in records]
        if own:
            defined = [
                f"- **{' '.join(record.heading or ())}** (`{record.name}`): {record.definition} Source: {record.source}."
                for record in own
            ]
            parts += [f"### {topic.title}", topic.trust, _grid(found, own, "pipe", " "), "\n".join(defined)]
    return "\n\n".join(parts) + "\n"


def _grid(found: Mapping[str, Mapping[str, Any]], records: list[Score], style: str, space: str) -> str:
    from tabulate import tabulate

    headings = ["encoder", *(space.join(record.heading or (record.name,)) for record in records)]
    body = [[encoder, *(_text(scores[record.name]) for record in records)] for encoder, scores in found.items()]
    align = ("left", *["right"] * len(records))
    return tabulate(body, headers=headings, tablefmt=style, disable_numparse=True, colalign=align)


def _text(value: float | None) -> str:
    return EMPTY if value is None else f"{value + 0.0:.2f}".replace("-0.00", "0.00")
