"""The registry of data sets, and what a data set gives: one `Instance` per seed, its truth beside it.

There is one file per family of generators. A generator is a frozen dataclass whose fields are its dials. `shape` says (n_observed,
n_latents, number of domains) before anything is generated, and `generate(seed)` gives the instance of a seed.

A generator may say more. `default_grid(fields)`, a static method, gives the settings of further fields that the cells of a run have where the
user names none of these. `stratum`, a property, says in words where the data lie on the dials in `stratum_of`: verdicts and figures
speak of each stratum. `notes`, a property, has sentences about the data that a command prints. `resplits`, a property, says that data
seeds only split one data set anew, so that no interval or test may count them as independent; `replicates` is how many independent data
sets there are, where seeds pick one of so many; `n_known` is how many latents are known, where these are fewer than are estimated; `n_u` is how
many numbers the auxiliary variable u of a point has, 0 where there are domains alone.
`has_halves` says that the data seeds 2k and 2k + 1 train on disjoint halves and share their test points, in one order, so that the latents of
both can be compared. `observed` and `latents` are what figures call the observed variables and the latents, in a letter or two each.
`image` is (channels, height, width) where a point is a flat image, channels first, and None elsewhere: images are standardised by one mean and
one standard deviation over all pixels, and have convolutional networks.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from bench.registry import Registry, field

if TYPE_CHECKING:
    from datasets.latents import Sources
    from datasets.mixings import MixingFunction

__all__ = ["DATA_VERSION", "Instance", "Seed", "Split", "Units", "datasets", "field", "number_of", "register", "stream"]

DATA_VERSION = 2  # the data of a seed never change within a version; tests hold golden hashes of them

datasets = Registry(
    "data set",
    __name__,
    helpers=(
        "columns",
        "dials",
        "digits",
        "images",
        "latents",
        "mixings",
        "oracle",
        "points",
        "roles",
        "splits",
        "support",
        "tables",
    ),
)
register = datasets.register

Seed = int | np.random.SeedSequence  # a whole number from 0, or what numpy makes of one


@dataclass(frozen=True)
class Split:
    """Holds the points of one split: `x` (n_samples, n_observed), `domains` (n_samples,) from 0, `z` (n_samples, n_latents).

    Real data have no true latents, but may have known factors, which serve scoring alone: `content`, a class (n_samples,) from 0, and the
    values of `style` (n_samples, n_styles), which the domain decides. `rows` (n_samples,) are the points' places in a user's file; of data
    that are drawn, each split counts its own points.

    `u` (n_samples, n_u) is an auxiliary variable of numbers, as a time or a position, on which the latents depend beside the domain; None
    where there are domains alone.
    """

    x: np.ndarray
    domains: np.ndarray
    z: np.ndarray
    content: np.ndarray | None = None
    style: np.ndarray | None = None
    rows: np.ndarray | None = None
    u: np.ndarray | None = None


class Units(NamedTuple):
    """How numbers in other units were taken: minus `centre`, divided by `scale`, numbers or (n_observed,) each, in the precision of these.

    Where `scale` is infinite the variable is constant, and counts as 0.
    """

    centre: np.ndarray
    scale: np.ndarray


@dataclass(frozen=True)
class Instance:
    """Holds one data set with its truth: three splits, the support of the mixing (n_observed, n_latents), and what made them.

    In a user's own data support, sources and mixing may be None, and the splits' latents may have no columns, or fewer than are to be
    estimated. `x_shape` is the shape of one point before it was flattened, as (3, 32, 32) of an image, and `labels` are those of the
    domains, in their order; both are empty where there is nothing to say. `units` lead from the numbers as they were measured to `x`, one
    after the other, and `u_units` to `u`. Of a user's file there are also its path and, of a table, the names of the columns that are `x`
    and `u`.
    """

    train: Split
    validation: Split
    test: Split
    support: np.ndarray | None
    n_domains: int
    sources: Sources | None
    mixing: MixingFunction | None
    x_shape: tuple[int, ...] = ()
    labels: tuple[str, ...] = ()
    units: tuple[Units, ...] = ()
    u_units: tuple[Units, ...] = ()
    path: str = ""
    columns: tuple[str, ...] = ()
    u_columns: tuple[str, ...] = ()

    @property
    def changing(self) -> np.ndarray | None:
        """Says which latents have a distribution that differs between domains, (n_latents,); None where that is not known."""
        if self.sources is None:
            return None
        of_domain = np.stack([self.sources.mean, self.sources.std, self.sources.shape])
        return np.ptp(of_domain, axis=1).max(axis=0) > 0

    def arrays(self) -> dict[str, np.ndarray]:
        """Returns all points as arrays with a row each, by the names by which the data set `file` reads them from an .npz file.

        These are x (n_samples, n_observed), of images (n_samples, channels, height, width), domain (n_samples,) and split (n_samples,), which is 0
        for training, 1 for validation and 2 for test; and z, u, content and style, as in `Split`, and support, where they are known.
        """
        parts = (self.train, self.validation, self.test)
        found = {name: [getattr(part, name) for part in parts] for name in ("x", "z", "u", "content", "style")}
        known = {n: np.concatenate(own) for n, own in found.items() if own[0] is not None and own[0].shape[1:] != (0,)}
        known["x"] = known["x"].reshape(-1, *(self.x_shape or known["x"].shape[1:]))
        known["domain"] = np.concatenate([part.domains for part in parts])
        known["split"] = np.repeat(np.arange(3), [len(part.x) for part in parts])
        return known if self.support is None else known | {"support": self.support}


def number_of(seed: Seed) -> int:
    """Returns the number of a data seed, which is the last of the key below the root seed that makes a sequence of it."""
    if isinstance(seed, np.random.SeedSequence):
        return int(seed.spawn_key[-1]) if seed.spawn_key else 0
    return int(seed)


def stream(seed: Seed, *key: int) -> np.random.Generator:
    """Returns an independent random generator for each `key` below `seed`; the same seed and key give the same numbers."""
    root = seed if isinstance(seed, np.random.SeedSequence) else np.random.SeedSequence(seed)
    return np.random.default_rng(np.random.SeedSequence(root.entropy, spawn_key=(*root.spawn_key, *key)))
