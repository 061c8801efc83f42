"""The data set `file`: a user's own data, from files of arrays or tables."""

from __future__ import annotations

import dataclasses
import functools
import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from bench.files import changed, given, named_by
from bench.registry import UsageError
from datasets import Instance, Seed, Split, field, number_of, register
from datasets.points import Points
from datasets.roles import DEFAULTS, Roles, data_sets, listed
from datasets.tables import of_frame


@register("file", source="the user")
@dataclass(frozen=True)
class File:
    """Your own data: arrays of an .npz file by their names, or a table (.csv, .parquet) by the names of its columns.

    x are numbers, (n_samples, ...). Arrays of two axes more than one, or of three with 1, 3 or 4 channels in the first or the last of them,
    are images if both sides have at least 8 pixels. Domains are labels of any kind. u are numbers on which the latents depend beside the
    domain, or instead of one, as a time or an age. z are known latents or factors,
    no more than are estimated; an array z counts as the columns z_0, z_1, ... An array support (n_observed, number of known latents)
    is true where an observed variable depends on a latent: its shadows and twins are reported. x, z and u are centred and scaled by column,
    images by one number for all pixels.
    A data seed decides which points are held out for validation and test. Of several files, or several labels of `replicate`, which are
    independent data sets, it picks one. Scores that need what is absent are empty.
    """

    path: str = field("", help="an .npz, .csv or .parquet file; several as a.csv,b.csv or '*.csv'", is_path=True)
    n_latents: int | None = field(
        None, help="number of latents to estimate; none: as many as z has", low=1, high=10_000
    )
    x: str | None = field(
        DEFAULTS.x,
        help="the observed variables, as a,b,c*; none: the array x, or all columns of numbers that are nothing else",
    )
    domain: str | None = field(DEFAULTS.domain, help="the domain; if there is none, all points are of one")
    u: str | None = field(
        DEFAULTS.u,
        help="numbers on which the latents depend, as a time or a position, as a,b,c*; if there are none, only the domain",
    )
    z: str | None = field(DEFAULTS.z, help="the known latents, as a,b,c*")
    split: str | None = field(
        DEFAULTS.split, help="which points are train, validation and test, in these words or as 0, 1 and 2"
    )
    group: str | None = field(DEFAULTS.group, help="what is held out as a whole, as a trial or a person")
    replicate: str | None = field(DEFAULTS.replicate, help="what tells independent data sets apart")

    def __post_init__(self):
        if not self.path:
            return
        for points in self._data_sets:
            where, n_known, support = points.where, points.z.shape[1], points.support
            if self.n_latents is None and not n_known:
                raise UsageError(f"{where} has no z; say how many latents to estimate with --set file.n_latents=N")
            if self.n_latents is not None and n_known > self.n_latents:
                raise UsageError(f"{where} has {n_known} latents in z, and n_latents={self.n_latents}")
            expected = (points.x.shape[1], n_known or self.n_latents)
            if support is not None and (support.shape != expected or not ((support == 0) | (support == 1)).all()):
                raise UsageError(
                    f"{where}: support must be 0 or 1 of shape {expected}, and is {support.dtype} {support.shape}"
                )

    @property
    def _read(self) -> tuple[tuple[Points, ...], tuple[str, ...], str]:
        """The data sets, notes, and the fingerprint."""
        if not self.path:
            raise UsageError("the data set file needs --set file.path=FILE, an .npz, .csv or .parquet file")
        roles = Roles(**{each.name: getattr(self, each.name) for each in dataclasses.fields(Roles)})
        paths = tuple(named_by(self.path))
        return _read(paths, roles, tuple(map(_changed, paths)))

    @property
    def _data_sets(self) -> tuple[Points, ...]:
        return self._read[0]

    @property
    def shape(self) -> tuple[int, int, int]:
        """Gives (n_observed, n_latents, number of domains)."""
        n_latents = self.n_latents or self.n_known
        return self._data_sets[0].x.shape[1], n_latents, max(len(points.labels) for points in self._data_sets)

    @property
    def image(self) -> tuple[int, int, int] | None:
        """Gives (channels, height, width) of images, None where a point is none."""
        points = self._data_sets[0]
        return points.x_shape if points.is_image else None  # type: ignore[return-value]  # that of an image has three axes

    @property
    def n_known(self) -> int:
        """Gives the number of latents that are known."""
        return self._data_sets[0].z.shape[1]

    @property
    def n_u(self) -> int:
        """Gives the number of columns of u."""
        return _width(self._data_sets[0].u)

    @property
    def has_truth(self) -> bool:
        """Says whether any latents are known."""
        return self.n_known > 0

    @property
    def replicates(self) -> int:
        """Gives the number of independent data sets, of which a data seed picks one."""
        return len(self._data_sets)

    @property
    def resplits(self) -> bool:
        """Says whether data seeds only split one data set anew."""
        return self.replicates == 1

    @property
    def notes(self) -> tuple[str, ...]:
        """Says in sentences what was made of the files."""
        return self._read[1]

    @property
    def fingerprint(self) -> str:
        """Gives a hash of all that determines the data beside the seed, which is part of a trial's identity."""
        return self._read[2]

    def generate(self, seed: Seed) -> Instance:
        """Returns a data set, split into train, validation and test."""
        points = self._data_sets[number_of(seed) % self.replicates]
        train, validation, test = (
            Split(
                points.x[rows],
                points.domain[rows],
                points.z[rows],
                rows=points.row(rows),
                u=None if points.u is None else points.u[rows],
            )
            for rows in points.parts(seed)
        )
        support = None if points.support is None else points.support.astype(bool)
        return Instance(
            train,
            validation,
            test,
            support,
            self.shape[2],
            None,
            None,
            x_shape=points.x_shape,
            labels=points.labels,
            units=(points.units,),
            u_units=() if points.u_units is None else (points.u_units,),
            path=points.path,
            columns=points.columns,
            u_columns=points.u_columns,
        )


def from_frame(frame: Any, **fields: Any) -> File:
    """Returns the data set of a pandas frame, whose columns are those of a table, as `fields` of `File` say.

    Its path names no file: what the frame held is kept in this process, and goes with trials to others. Raises UsageError for a frame that
    no table can hold.
    """
    content = of_frame(frame)
    path = str(Path(f"/frame-{hashlib.sha256(content).hexdigest()[:16]}.parquet").absolute())
    given[path] = content
    return File(path, **fields)


def _width(columns: np.ndarray | None) -> int:
    return 0 if columns is None else columns.shape[1]


def _changed(path: str) -> int:
    """Says when a file was last written, in ns. Raises UsageError if it is not there."""
    try:
        return changed(path)
    except OSError:
        raise UsageError(f"there is no file {path!r}") from None


@functools.lru_cache(maxsize=8)
def _read(
    paths: tuple[str, ...], roles: Roles, changed: tuple[int, ...]
) -> tuple[tuple[Points, ...], tuple[str, ...], str]:
    """Returns the data sets in files, sentences about them, and a hash of their content. Raises UsageError."""
    found: list[Points] = []
    notes: list[str] = []
    for path in paths:
        own, said = data_sets(path, roles)
        found += own
        notes += said
    for points in found[1:]:
        for name in ("x", "z", "u"):
            widths = [_width(getattr(each, name)) for each in (found[0], points)]
            if widths[0] != widths[1]:
                raise UsageError(
                    f"{points.where}: {name} has {widths[1]} columns, and {widths[0]} in {found[0].where}; data seeds pick one of them, so "
                    "they must be alike"
                )
        if (points.x_shape, points.is_image) != (found[0].x_shape, found[0].is_image) and (
            points.is_image or found[0].is_image
        ):
            raise UsageError(
                f"{points.where}: x are of shape {points.x_shape}, and of {found[0].x_shape} in {found[0].where}; images of one run must be alike"
            )
    if len(found) > 1:
        order = listed([points.where for points in found])
        notes.append(f"data seeds 0 to {len(found) - 1} are independent data sets, in this order: {order}")
    content = hashlib.sha256()
    for points in found:
        content.update(repr((points.x_shape, points.labels)).encode())
        for name in ("x", "z", "domain", "split", "group", "support", "u"):
            value = getattr(points, name)
            if value is not None:
                content.update(f"{name} {value.dtype} {value.shape}".encode() + value.tobytes())
    return tuple(found), tuple(notes), content.hexdigest()[:16]
