"""What every score says of encoders whose quality is known: by it one sees which score can be trusted for what.

`table` computes the scores, `render` and `markdown` write them, by topic. The encoders need no training: each is a function of the true
latents. Scores of the support need a decoder, those of `bench.scores.factors` images with factors; they are not here.
"""

from __future__ import annotations

import math
import textwrap
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from tabulate import tabulate

from bench.scores import Score
from bench.scores.metrics import Encoded, Evaluation

N_LATENTS, N_POINTS, N_DOMAINS = 4, 1000, 4  # of each of the two splits, validation and test
DEPENDENCE = 0.9  # correlation of every two of the dependent latents
CHANGING = np.array([True, True, False, False])  # which latents are called style: a name, as nothing depends on it
EMPTY = "–"
WIDTH = 80  # of a terminal

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
        ("mcc_spearman", "mcc_pearson", "mcc_within", "mcc_style", "coverage"),
        "Trust mcc_spearman to rank encoders where latents are independent: it is 1 for a monotone function of each latent, and only then. "
        "mcc_pearson also falls for distortions that theory allows. Read neither without a floor: latents that depend and are not told apart "
        "at all, and estimates that know the domain alone, score near 1. The domain does not fool mcc_within. A rotation keeps .7. "
        "Coverage is the same without the one-to-one match, and fooled by the same.",
    ),
    Topic(
        "MCC with a sign and against chance",
        tuple(f"mcc_{kind}_{what}" for kind in ("spearman", "pearson", "within") for what in ("signed", "null", "null_95", "adjusted")),
        "Trust the signed MCC and the adjusted one near 0: both are 0 in expectation for estimates that know nothing, however few the points. "
        "Trust the null to say from which MCC on there is anything at all. None says that latents are told apart: chance is the lowest of "
        "floors, and dependent latents or the domain pass it easily.",
    ),
    Topic(
        "Probes",
        ("r2_component", "r2_block", "r2_linear", "r2_content"),
        "Trust r2_block to tell lost from mixed: it is near 1 wherever the information is there, however entangled. r2_linear is the same up "
        "to a linear map. r2_component asks of one estimate, as mcc_spearman does, and is stricter. Where latents depend, one that was not "
        "estimated is predicted from the others: then none of them says that latents are told apart.",
    ),
    Topic(
        "Classes of indeterminacy",
        ("class_permutation", "class_monotone", "class_linear", "mcc_cca"),
        "Trust them, read together, to say what an encoder is identified up to, on one scale: order and scale, a monotone map of each latent, "
        "or a linear map of all. mcc_cca is another score of the linear class, in which every direction counts the same: where latents depend "
        "it is the one of these four that sees that only their mean was found.",
    ),
    Topic(
        "DCI-ES",
        ("dci_d", "dci_c", "dci_i", "dci_e", "dci_s"),
        "Trust D and C together with I alone: D to see estimates that mix latents, C to see latents that are spread or estimated twice. They "
        "see through monotone distortions, and tell dependent latents apart. D falls for a latent that is lost, since the importances of a "
        "forest that predicts nothing count as much. E and S are 1 for constants and for noise: E says how easily what is known is read out.",
    ),
    Topic(
        "InfoMEC, MIG and SAP",
        ("info_m", "info_e", "info_c", "mig", "sap"),
        "Trust InfoM and InfoC only where InfoE is high: for noise they are high too, as they compare what noise has left. All but InfoE "
        "are wrong where latents depend: the true latents themselves score far below 1. MIG and SAP are 0 for latents that are estimated "
        "twice, and SAP falls for distortions; they are here for comparison with older papers.",
    ),
    Topic(
        "T-MEX",
        ("tmex", "tmex_own", "tmex_others"),
        f"Trust it where latents depend: the true latents have as few wrong entries as chance allows (of {N_LATENTS} latents {0.05 * N_LATENTS * (N_LATENTS - 1):.1f} on average, "
        "lower is better), and estimates that follow the wrong latents have many, whatever their MCC. Read the count with its effects, which "
        "do not grow with the number of points. Constants and noise have one wrong entry for each latent, fewer than entangled estimates: it "
        "ranks encoders that know the latents.",
    ),
)  # fmt: skip


# --- the table


def table(records: Mapping[str, Score]) -> dict[str, dict[str, Any]]:
    """Every score of `records` of every encoder, by the encoder's name and the score's."""
    return {known.name: evaluation(known).scores(records)[0] for known in ENCODERS}


def evaluation(known: Known) -> Evaluation:
    """The evaluation of an encoder on its two splits, the same whenever asked."""
    rng, domains = np.random.default_rng(0), np.arange(N_POINTS) % N_DOMAINS
    validation, test = (Encoded(*known.draw(rng, domains), domains) for _ in range(2))
    return Evaluation.of(validation, test, CHANGING)


def render(found: Mapping[str, Mapping[str, Any]], records: Mapping[str, Score]) -> str:
    """The table for a terminal of `WIDTH` columns, a part for each topic, with what its scores can be trusted for."""
    parts = []
    for topic, own in _topics(records):
        grids = [_grid(found, columns, "simple", "\n") for columns in _in_lines(own)]
        parts += [topic.title, *grids, textwrap.fill(topic.trust, WIDTH)]
    return "\n\n".join(parts)


def markdown(found: Mapping[str, Mapping[str, Any]], records: Mapping[str, Score]) -> str:
    """The same in Markdown, with what the encoders are and the definition of every score."""
    lines = [f"| {known.name} | {known.description} |" for known in ENCODERS]
    parts = [
        "## Known encoders",
        f"Two splits of {N_POINTS:,} points, {N_LATENTS} latents. Unless it is said otherwise these are independent, standard normal, and the "
        "same in every domain.",
        "\n".join(["| encoder | its estimates are |", "|---|---|", *lines]),
        "## What every score says of them",
    ]
    for topic, own in _topics(records):
        defined = [f"- **{heading(r, ' ')}** (`{r.name}`): {r.definition} Source: {r.source}." for r in own]
        parts += [f"### {topic.title}", topic.trust, _grid(found, own, "pipe", " "), "\n".join(defined)]
    return "\n\n".join(parts) + "\n"


def _topics(records: Mapping[str, Score]) -> Iterator[tuple[Topic, list[Score]]]:
    """Topics with those of their scores that are in `records`, where there are any."""
    for topic in TOPICS:
        own = [records[name] for name in topic.scores if name in records]
        if own:
            yield topic, own


def _in_lines(records: list[Score]) -> list[list[Score]]:
    """The scores in as few groups, of like sizes, as fit beside the encoders' names in `WIDTH` columns."""
    room = WIDTH - max(len(known.name) for known in ENCODERS)

    def width(record: Score) -> int:
        # tabulate leaves two columns beside a heading, and two between columns
        return max(map(len, heading(record, "\n").split("\n"))) + 4

    for n_groups in range(1, len(records)):
        size = math.ceil(len(records) / n_groups)
        groups = [records[start : start + size] for start in range(0, len(records), size)]
        if all(sum(map(width, group)) <= room for group in groups):
            return groups
    return [[record] for record in records]


def _grid(found: Mapping[str, Mapping[str, Any]], records: list[Score], style: str, space: str) -> str:
    headings = ["encoder", *(heading(record, space) for record in records)]
    body = [[encoder, *(_text(scores[record.name]) for record in records)] for encoder, scores in found.items()]
    align = ("left", *["right"] * len(records))
    return tabulate(body, headers=headings, tablefmt=style, disable_numparse=True, colalign=align)


def heading(record: Score, space: str) -> str:
    """The heading of a score's column, `space` between its parts."""
    return space.join(filter(None, record.heading or (record.name,)))


def _text(value: float | None) -> str:
    return EMPTY if value is None else f"{value:.2f}".replace("-0.00", "0.00")
