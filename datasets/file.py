"""The data set `file`: a user's own data, from a file of arrays."""

from __future__ import annotations

import functools
import hashlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from bench.files import NoArrays, given, read_arrays
from bench.registry import UsageError
from datasets import Instance, Seed, Split, field, register, stream
from datasets.columns import is_constant, of_order_one, rounding

HELD_OUT = 0.2  # part of the points in validation, and again in test
MOST_HELD_OUT = 2000  # points of each
FEWEST = 50  # points of the largest domain


@register("file", source="the user")
@dataclass(frozen=True)
class File:
    """Arrays of an .npz file: `x` and `domain`, and where they are known `z` and `support`.

    x (n_samples, n_observed); domain (n_samples,), integers, any labels; z (n_samples, n_latents); support (n_observed, n_latents),
    true where an observed variable depends on a latent: its shadows and twins are reported. x and z are centred and scaled by column.
    A data seed decides which points are held out for validation and test. Scores that need what is absent are empty.
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
            support, expected = arrays.get("support"), self.shape[:2]
            if support is not None and (support.shape != expected or not np.isin(support, (0, 1)).all()):
                raise UsageError(
                    f"{self.path}: support must be 0 or 1 of shape {expected}, and is {support.dtype} {support.shape}"
                )

    @property
    def _file(self) -> str:
        if not self.path:
            raise UsageError("the data set file needs --set file.path=FILE.npz")
        return self.path

    @property
    def _arrays(self) -> dict[str, np.ndarray]:
        return _read(self._file)

    @property
    def shape(self) -> tuple[int, int, int]:
        """Gives (n_observed, n_latents, number of domains)."""
        arrays = self._arrays
        n_latents = self.n_latents or arrays["z"].shape[1]
        return arrays["x"].shape[1], n_latents, int(arrays["domain"].max()) + 1

    @property
    def has_truth(self) -> bool:
        """Says whether the latents are known."""
        return "z" in self._arrays

    @property
    def fingerprint(self) -> str:
        """Gives a hash of the file's content, which is part of a trial's identity."""
        return _hash(self._file, _changed(self._file))

    def generate(self, seed: Seed) -> Instance:
        """Returns the points, split at random into train, validation and test."""
        arrays = self._arrays
        n = len(arrays["x"])
        held_out = min(round(HELD_OUT * n), MOST_HELD_OUT)
        order = stream(seed, 0).permutation(n)
        z = arrays.get("z", np.zeros((n, 0), dtype=np.float32))
        support = arrays["support"].astype(bool) if "support" in arrays else None
        train, validation, test = (
            Split(arrays["x"][rows], arrays["domain"][rows], z[rows])
            for rows in np.split(order, [n - 2 * held_out, n - held_out])
        )
        return Instance(train, validation, test, support, self.shape[2], None, None)


def _read(path: str) -> dict[str, np.ndarray]:
    """Returns the checked arrays of a file: x and z in float32, domain counted from 0, support as it is. Raises UsageError."""
    return _checked(path, _changed(path))


def _changed(path: str) -> int:
    """Says when a file was last written, in ns. Raises UsageError if it is not there."""
    if path in given:
        return 0
    try:
        return Path(path).stat().st_mtime_ns
    except (OSError, ValueError):
        raise UsageError(f"there is no file {path!r}") from None


@functools.lru_cache(maxsize=8)
def _hash(path: str, changed: int) -> str:
    arrays = sorted(_checked(path, changed).items())
    content = [f"{name} {a.dtype} {a.shape}".encode() + a.tobytes() for name, a in arrays]
    return hashlib.sha256(b"".join(content)).hexdigest()[:16]


@functools.lru_cache(maxsize=8)
def _checked(path: str, changed: int) -> dict[str, np.ndarray]:
    arrays = load(path, required=("x", "domain"), optional=("z", "support"))
    n = len(arrays["x"])
    for name in {"x", "z"} & arrays.keys():
        value = arrays[name]
        if value.ndim != 2 or len(value) != n or value.shape[1] == 0 or not _is_real(value):
            raise UsageError(
                f"{path}: {name} must be numbers of shape ({n}, at least 1), and is {value.dtype} {value.shape}"
            )
        scaled = of_order_one(value)
        if not np.isfinite(scaled).all():
            raise UsageError(f"{path}: {name} holds values that are not finite, the first in row {_first_bad(scaled)}")
        constant = is_constant(scaled, rounding(value.dtype))
        if constant.any():
            raise UsageError(f"{path}: column {int(np.argmax(constant))} of {name} is constant; leave it out")
        # Centred before they lose digits: a column may be a time in seconds.
        centred = scaled - scaled.mean(axis=0)
        arrays[name] = (centred / np.abs(centred).max(axis=0)).astype(np.float32)
    arrays["domain"] = domains_from_0(path, arrays["domain"], n)
    if np.bincount(arrays["domain"]).max() < FEWEST:
        raise UsageError(f"{path}: the largest domain has fewer than {FEWEST} points")
    return arrays


def load(path: str, required: tuple[str, ...], optional: tuple[str, ...]) -> dict[str, np.ndarray]:
    """Returns arrays of an .npz file by name. Raises UsageError where the file or a required array is not there."""
    try:
        arrays = read_arrays(path, lambda name: name in (*required, *optional))
    except OSError as error:
        raise UsageError(f"{path} is not an .npz file that can be read ({error.strerror})") from None
    except NoArrays as error:
        raise UsageError(f"{path} is not an .npz file of plain arrays: {error}") from None
    for name in required:
        if name not in arrays:
            may = f", and may have {' and '.join(optional)}" if optional else ""
            raise UsageError(f"{path} has no array {name!r}; it needs {' and '.join(required)}{may}")
    for name, value in arrays.items():
        if value.ndim == 0:
            raise UsageError(f"{path}: {name} is a single value, not an array")
        if len(value) == 0:
            raise UsageError(f"{path}: {name} has no rows")
    return arrays


def domains_from_0(path: str, domain: np.ndarray, n: int) -> np.ndarray:
    """Returns labels of `n` points' domains, which are any integers, as numbers from 0. Raises UsageError for anything else."""
    if domain.shape != (n,):
        raise UsageError(f"{path}: domain must have shape ({n},), and has {domain.shape}")
    if not _is_real(domain) or not np.isfinite(domain).all() or (domain != np.round(domain)).any():
        raise UsageError(f"{path}: domain must be integers, and is {domain.dtype} with values like {domain[0]}")
    return np.unique(domain, return_inverse=True)[1].astype(np.int64)


def _is_real(value: np.ndarray) -> bool:
    return np.issubdtype(value.dtype, np.number) and not np.issubdtype(value.dtype, np.complexfloating)


def _first_bad(value: np.ndarray) -> int:
    return int(np.argmax(~np.isfinite(value).all(axis=1)))
