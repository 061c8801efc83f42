"""From the contents of a file to the data sets in it: which array or column is what, and whether it can be."""

from __future__ import annotations

import dataclasses
import fnmatch
from dataclasses import dataclass

import numpy as np

from bench.registry import UsageError, nearest
from datasets import Units, images
from datasets.points import PARTS, Points, scaled
from datasets.tables import Contents, labels, numbers, read, words_among_numbers

FEWEST = 50  # points of the largest domain
FEWEST_HELD_OUT = 10  # points of validation and of test, where the user says which they are
MOST_NAMED = 12  # names in a note
WORDS = {  # what the points of a part may be called, in small letters, and its place in `PARTS`
    **dict.fromkeys(("train", "training", "0"), 0),
    **dict.fromkeys(("validation", "valid", "val", "dev", "1"), 1),
    **dict.fromkeys(("test", "testing", "2"), 2),
}
SINGLE = ("domain", "split", "group", "replicate")  # the roles that one array or column has


@dataclass(frozen=True)
class Roles:
    """Says by names, or for x, z and u by names and patterns between commas, what has which role; None for a role that nothing has.

    An `x` of None is the array x, or all columns of numbers that have no other role. Names that are `DEFAULTS` need not be there.
    """

    x: str | None = None
    domain: str | None = "domain"
    u: str | None = "u"
    z: str | None = "z_*"
    split: str | None = "split"
    group: str | None = "group"
    replicate: str | None = "dataset"

    def is_wanted(self, name: str) -> bool:
        """Says whether an array of an .npz file may have a role."""
        singles = [getattr(self, role) for role in SINGLE]
        several = (self.x or "x", self.z or "", self.u or "")
        return name in ("support", *singles) or any(_is_named(name, patterns) for patterns in several)

    def of(self, path: str, contents: Contents) -> dict[str, list[str]]:
        """Returns the names of what has each role. Raises UsageError where what the user named is not there, or has two roles."""
        what = "column" if contents.is_table else "array"
        free = [name for name in contents.names if name in contents.values]
        found: dict[str, list[str]] = {}
        if not contents.is_table and "support" in free:
            found["support"] = ["support"]
            free.remove("support")
        for role in SINGLE:
            name = getattr(self, role)
            if name is None:
                continue
            if name in free:
                found[role] = [name]
                free.remove(name)
            elif name in contents.values:
                raise UsageError(f"{path}: the {what} {name!r} cannot be {role} and something else as well")
            elif name != getattr(DEFAULTS, role):
                raise UsageError(f"{path} has no {what} {name!r} for {role}; {nearest(name, contents.names)}")
        for role in ("z", "u", "x"):
            patterns = getattr(self, role)
            if patterns is not None:
                found[role] = [name for name in free if _is_named(name, patterns)]
                for part in [] if patterns in (getattr(DEFAULTS, role), *free) else patterns.split(","):
                    if not any(_is_named(name, part) for name in found[role]):
                        raise UsageError(f"{path} has no {what} {part!r} for {role}; {nearest(part, free)}")
                free = [name for name in free if name not in found[role]]
        if self.x is None:
            numeric = [name for name in free if numbers(contents.values[name]) is not None]
            found["x"] = numeric if contents.is_table else [name for name in free if name == "x"]
        if not found["x"]:
            missing = "columns of numbers for x" if contents.is_table else "array 'x'"
            raise UsageError(
                f"{path} has no {missing}; say with --set file.x=A,B which {what}s are, of {listed(contents.names)}"
            )
        return {role: names for role, names in found.items() if names}


DEFAULTS = Roles()


def _is_named(name: str, patterns: str) -> bool:
    """Says whether a name is, or fits, one of `patterns`; so does that of an array whose first column would."""
    parts = [part.strip() for part in patterns.split(",")]
    return name in (patterns, *parts) or any(
        fnmatch.fnmatchcase(n, part) for n in (name, f"{name}_0") for part in parts
    )


def listed(names: list[str]) -> str:
    """Returns names for a sentence, the first few of many."""
    rest = len(names) - MOST_NAMED
    return (
        ", ".join(name or "(no name)" for name in names[:MOST_NAMED]) + (f" and {rest} more" if rest > 0 else "")
        or "none"
    )


def data_sets(path: str, roles: Roles) -> tuple[list[Points], list[str]]:
    """Returns the data sets in a file, in the order of their labels, and sentences about what was made of it. Raises UsageError."""
    contents = read(path, roles.is_wanted)
    names = roles.of(path, contents)
    x = _numbers(path, "x", names["x"], contents)
    z = _numbers(path, "z", names["z"], contents) if "z" in names else None
    if z is not None and (len(z) != len(x) or z.ndim != 2):
        raise UsageError(f"{path}: z must be numbers of shape ({len(x)}, at least 1), and is {z.dtype} {z.shape}")
    u = _numbers(path, "u", names["u"], contents) if "u" in names else None
    if u is not None and (len(u) != len(x) or u.ndim != 2):
        raise UsageError(f"{path}: u must be numbers of shape ({len(x)}, at least 1), and is {u.dtype} {u.shape}")
    coded = {role: _labels(path, names[role][0], contents, len(x)) for role in SINGLE if role in names}
    support = contents.values["support"] if "support" in names else None
    which, replicates = coded.pop("replicate", (np.zeros(len(x), dtype=int), [""]))
    notes = _notes_of_roles(path, names, contents)
    found = []
    for place, label in enumerate(replicates):
        rows = slice(None) if len(replicates) == 1 else which == place
        where = path if len(replicates) == 1 else f"{path}, {names['replicate'][0]} {label}"
        own = {role: _recounted(codes[rows], known) for role, (codes, known) in coded.items()}
        own_z, own_u = (None if value is None else value[rows] for value in (z, u))
        points, more = _checked(where, x[rows], own_z, own_u, own, support, names, contents.is_table)
        columns, u_columns = (tuple(names.get(role, ())) if contents.is_table else () for role in ("x", "u"))
        places = None if len(replicates) == 1 else np.flatnonzero(which == place)
        found.append(dataclasses.replace(points, path=path, columns=columns, u_columns=u_columns, rows=places))
        notes += more
    return found, notes


def _numbers(path: str, role: str, names: list[str], contents: Contents) -> np.ndarray:
    """Returns an array of numbers as it is, (n_samples, ...), or several arrays or columns side by side. Raises UsageError."""
    found = []
    for name in names:
        value = contents.values[name]
        shape = value.shape if isinstance(value, np.ndarray) else (len(value),)
        if shape == ():
            raise UsageError(f"{path}: {name} is a single value, not an array")
        if shape[0] == 0:
            raise UsageError(f"{path}: {name} has no rows")
        own = numbers(value)
        is_column = len(names) > 1 or contents.is_table or role == "u"  # a time has one number
        if own is None or 0 in shape or (own.ndim < 2 and not is_column):
            kind = value.dtype if isinstance(value, np.ndarray) else value.type
            raise UsageError(f"{path}: {name} must be numbers of shape ({shape[0]}, at least 1), and is {kind} {shape}")
        found.append(own)
    if len(found) == 1 and found[0].ndim > 1:
        return found[0]
    if len({len(own) for own in found}) > 1:
        raise UsageError(f"{path}: the arrays of {role} have {' and '.join(str(len(own)) for own in found)} rows")
    return np.concatenate([own.reshape(len(own), -1) for own in found], axis=1)


def _labels(path: str, name: str, contents: Contents, n: int) -> tuple[np.ndarray, list[str]]:
    """Returns the numbers (n,) of the labels of all points, and the labels. Raises UsageError where a point has none."""
    value = contents.values[name]
    shape = value.shape if isinstance(value, np.ndarray) else (len(value),)
    if shape != (n,):
        raise UsageError(f"{path}: {name} must have shape ({n},), and has {shape}")
    codes, known = labels(value)
    if (codes < 0).any():
        raise UsageError(f"{path}: {name} is missing in row {int(np.argmax(codes < 0))}")
    return codes, known


def _recounted(codes: np.ndarray, known: list[str]) -> tuple[np.ndarray, list[str]]:
    """The same without labels that do not occur."""
    used, counted = np.unique(codes, return_inverse=True)
    return counted.reshape(-1), [known[place] for place in used]


def _checked(
    where: str,
    x: np.ndarray,
    z: np.ndarray | None,
    u: np.ndarray | None,
    coded: dict[str, tuple[np.ndarray, list[str]]],
    support: np.ndarray | None,
    names: dict[str, list[str]],
    is_table: bool,
) -> tuple[Points, list[str]]:
    """Returns a data set, and sentences about it. Raises UsageError where it cannot be used."""
    notes = []
    columns = names["x"] if is_table else list(map(str, range(x[0].size)))
    x_shape, is_image = x.shape[1:], images.channel_axis(x.shape[1:]) is not None
    if is_image:
        x_shape, places = images.channels_first(x_shape)
        x, units = images.scaled_alike(where, x.reshape(len(x), -1)[:, places])
        if support is not None and len(support) == len(places):
            support = support[places]
        notes.append("{}: x are images of {} channels, {} rows and {} columns".format(where, *x_shape))
    else:
        if len(x_shape) > 1:
            notes.append(
                f"{where}: points of shape {x_shape} are no images, which have at least {images.FEWEST_PIXELS} rows and columns, and channels, "
                "if any, in the first or last axis, 1, 3 or 4 of them; their numbers are variables like any others"
            )
        x, is_still, units = scaled(where, "x", x, columns)
        if is_still.all():
            raise UsageError(f"{where}: every column of x is constant")
        if is_still.any():
            still = [name for name, each in zip(columns, is_still, strict=True) if each]
            notes.append(
                f"{where}: of the {len(columns)} columns of x, {len(still)} are constant and count as 0: {listed(still)}"
            )
    z = np.zeros((len(x), 0), dtype=np.float32) if z is None else _varying(where, "z", z, names, is_table)[0]
    u_units = None
    if u is not None:
        u, u_units = _varying(where, "u", u, names, is_table)
        notes.append(
            f"{where}: methods that take numbers on which the latents depend are given those of {listed(names['u'])}"
        )
    domain, known = coded.get("domain", (np.zeros(len(x), dtype=np.int64), ["0"]))
    if np.bincount(domain).max() < FEWEST:
        raise UsageError(f"{where}: the largest domain has fewer than {FEWEST} points")
    if known != [str(place) for place in range(len(known))]:
        notes.append(f"{where}: the domains, from 0, are {listed(known)}")
    points = Points(
        where,
        x,
        x_shape,
        z,
        domain.astype(np.int64),
        tuple(known),
        support=support,
        units=units,
        u=u,
        u_units=u_units,
        is_image=is_image,
    )
    if "split" in coded:
        points = dataclasses.replace(points, split=_split(where, names["split"][0], *coded["split"]))
        notes.append(_note_of_split(points))
    if "group" in coded:
        codes, groups = coded["group"]
        points = dataclasses.replace(points, group=codes)
        _check_groups(points, groups)
        if points.split is None:
            notes.append(f"{where}: whole groups are held out, of the {len(groups)} in {names['group'][0]!r}")
    parts = points.parts(0)
    if points.split is not None:
        unseen = set(domain) - set(domain[parts[0]])
        if unseen:
            raise UsageError(
                f"{where}: no training point is of the domain {known[min(unseen)]!r}, of which a method would know nothing; leave its points "
                "out, or all domains with --set file.domain=none"
            )
    return points, notes


def _varying(
    where: str, role: str, value: np.ndarray, names: dict[str, list[str]], is_table: bool
) -> tuple[np.ndarray, Units]:
    """Returns columns, scaled, and their units. Raises UsageError for one that is constant."""
    columns = names[role] if is_table else list(map(str, range(value.shape[1])))
    value, is_still, units = scaled(where, role, value, columns)
    if is_still.any():
        raise UsageError(f"{where}: column {columns[int(np.argmax(is_still))]} of {role} is constant; leave it out")
    return value, units


def _split(where: str, name: str, codes: np.ndarray, known: list[str]) -> np.ndarray:
    for label in known:
        if label.lower() not in WORDS:
            raise UsageError(f"{where}: {name} must be train, validation or test, or 0, 1 or 2, and is {label!r}")
    split = np.array([WORDS[label.lower()] for label in known])[codes]
    for part, fewest in ((0, 1), (1, FEWEST_HELD_OUT), (2, FEWEST_HELD_OUT)):
        n = int((split == part).sum())
        if n < fewest and not (n == 0 and part == 1):
            raise UsageError(f"{where}: by {name}, {n} points are {PARTS[part]}, and {fewest} are needed")
    return split


def _note_of_split(points: Points) -> str:
    drawn = "" if np.any(points.split == 1) else "; a fifth of train is validation, the same for every seed"
    return f"{points.where}: the split is the file's, so that data seeds change only initialisation and noise{drawn}"


def _check_groups(points: Points, groups: list[str]) -> None:
    if points.split is None or points.group is None:
        return
    pairs = np.unique(np.stack([points.group, points.split]), axis=1)
    torn = pairs[0][1:][pairs[0][1:] == pairs[0][:-1]]
    if len(torn):
        raise UsageError(f"{points.where}: the group {groups[torn[0]]!r} is on several sides of the split")


def _notes_of_roles(path: str, names: dict[str, list[str]], contents: Contents) -> list[str]:
    used = {name for own in names.values() for name in own}
    unused = [name for name in contents.names if name not in used]
    notes = [f"{path}: x is {listed(names['x'])}"] if contents.is_table else []
    if unused:
        what = "columns" if contents.is_table else "arrays"
        notes.append(f"{path}: these {what} are ignored: {listed(unused)}")
    return notes + [note for name in unused if contents.is_table for note in _note_of_words(path, name, contents)]


def _note_of_words(path: str, name: str, contents: Contents) -> list[str]:
    """A warning where a column that is ignored would be one of numbers but for a few words, as "<0.5"."""
    found = words_among_numbers(contents.values[name]) if name in contents.values else None
    if found is None:
        return []
    n_words, row, word = found
    would = f"{name} would be a column of numbers, but {n_words} of its values are words"
    return [f"{path}: {would}, the first {word[:40]!r} in row {row}"]
