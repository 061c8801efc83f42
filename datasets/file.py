"""A user's own data, from a file of arrays."""

from __future__ import annotations

import functools
import hashlib
import zipfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from datasets import Instance, Split, field, register, stream
from registry import UsageError

HELD_OUT = 0.2  # part of the points in validation, and again in test
MOST_HELD_OUT = 2000  # points of each
FEWEST = 50  # points in a file


@register("file", source="the user")
@dataclass(frozen=True)
class File:
    """Arrays of an .npz file: `x` and `domain`, and where they are known `z` and `support`.

    x (n_samples, n_observed); domain (n_samples,), integers, any labels; z (n_samples, n_latents); support (n_observed, n_latents),
    true where an observed variable depends on a latent. A data seed decides which points are held out for validation and test.
    Scores that need what is absent are empty.
    """

    path: str = field("", help="the .npz file", is_path=True)
    n_latents: int | None = field(
        None, help="number of latents to estimate; none: as many as z has", low=1, high=10_000
    )

    def __post_init__(self):
        if self.path:
            arrays = _read(self.path)
            if self.n_latents is None and "z" not in arrays:
                raise UsageError(f"{self.path} has no z; say how many latents to estimate with --set file.n_latents=N")
            if self.n_latents is not None and "z" in arrays and arrays["z"].shape[1] != self.n_latents:
                raise UsageError(f"{self.path} has {arrays['z'].shape[1]} latents in z, and n_latents={self.n_latents}")

    @property
    def _arrays(self) -> dict[str, np.ndarray]:
        if not self.path:
            raise UsageError("the data set file needs --set file.path=FILE.npz")
        return _read(self.path)

    @property
    def shape(self) -> tuple[int, int, int]:
        """(n_observed, n_latents, number of domains)."""
        arrays = self._arrays
        n_latents = self.n_latents or arrays["z"].shape[1]
        return arrays["x"].shape[1], n_latents, int(arrays["domain"].max()) + 1

    @property
    def has_truth(self) -> bool:
        """Whether the latents are known."""
        return "z" in self._arrays

    @property
    def fingerprint(self) -> str:
        """Hash of the file's content, part of a trial's identity."""
        return hashlib.sha256(b"".join(a.tobytes() for a in self._arrays.values())).hexdigest()[:16]

    def generate(self, seed: np.random.SeedSequence) -> Instance:
        """The points split at random into train, validation and test."""
        arrays = self._arrays
        n = len(arrays["x"])
        held_out = min(round(HELD_OUT * n), MOST_HELD_OUT)
        order = stream(seed, 0).permutation(n)
        z = arrays.get("z", np.zeros((n, 0), dtype=np.float32))
        train, validation, test = (
            Split(arrays["x"][rows], arrays["domain"][rows], z[rows])
            for rows in np.split(order, [n - 2 * held_out, n - held_out])
        )
        return Instance(train, validation, test, arrays.get("support"), self.shape[2], None, None)


def _read(path: str) -> dict[str, np.ndarray]:
    """Checked arrays of a file: x and z float32, domain counted from 0, support boolean. Raises UsageError."""
    try:
        changed = Path(path).stat().st_mtime_ns
    except OSError:
        raise UsageError(f"there is no file {path!r}") from None
    return _checked(path, changed)


@functools.lru_cache(maxsize=8)
def _checked(path: str, changed: int) -> dict[str, np.ndarray]:
    try:
        with np.load(path, allow_pickle=False) as file:
            arrays = {name: file[name] for name in ("x", "domain", "z", "support") if name in file}
    except (OSError, ValueError, zipfile.BadZipFile, TypeError) as error:
        raise UsageError(f"{path} is not an .npz file of plain arrays ({error})") from None
    for name in ("x", "domain"):
        if name not in arrays:
            raise UsageError(f"{path} has no array {name!r}; it needs x and domain, and may have z and support")
    x, domain, n = arrays["x"], arrays["domain"], len(arrays["x"])
    for name in {"x", "z"} & arrays.keys():
        value = arrays[name]
        if value.ndim != 2 or len(value) != n or value.shape[1] == 0 or not np.issubdtype(value.dtype, np.number):
            raise UsageError(
                f"{path}: {name} must be numbers of shape ({n}, at least 1), and is {value.dtype} {value.shape}"
            )
        if not np.isfinite(value).all():
            raise UsageError(f"{path}: {name} holds values that are not finite, the first in row {_first_bad(value)}")
        arrays[name] = value.astype(np.float32)
    if n < FEWEST:
        raise UsageError(f"{path} has {n} points; at least {FEWEST} are needed")
    if (x.std(axis=0) == 0).any():
        raise UsageError(f"{path}: column {int(np.argmax(x.std(axis=0) == 0))} of x is constant; leave it out")
    if domain.shape != (n,):
        raise UsageError(f"{path}: domain must have shape ({n},), and has {domain.shape}")
    if (
        not np.issubdtype(domain.dtype, np.number)
        or not np.isfinite(domain).all()
        or (domain != np.round(domain)).any()
    ):
        raise UsageError(f"{path}: domain must be integers, and is {domain.dtype} with values like {domain[0]}")
    arrays["domain"] = np.unique(domain, return_inverse=True)[1].astype(np.int64)
    if "support" in arrays:
        expected = (x.shape[1], arrays["z"].shape[1]) if "z" in arrays else None
        if arrays["support"].ndim != 2 or (expected and arrays["support"].shape != expected):
            raise UsageError(f"{path}: support must have shape {expected}, and has {arrays['support'].shape}")
        arrays["support"] = arrays["support"].astype(bool)
    return arrays


def _first_bad(value: np.ndarray) -> int:
    return int(np.argmax(~np.isfinite(value).all(axis=1)))
