"""Registration by a decorator, typed and documented fields, and errors for people: what methods and data sets share.

`methods` and `datasets` each hold one `Registry`. This file knows neither of them, and imports nothing heavy.
"""

from __future__ import annotations

import dataclasses
import difflib
import functools
import importlib
import os
import pkgutil
import re
import sys
import types
import typing
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any


class UsageError(ValueError):
    """The user made a mistake. The command line prints the message, one clear sentence, and exits with code 2."""


def nearest(name: str, options: Iterable[str]) -> str:
    """Ends an error sentence: with the option closest to `name`, or with all of them if none is close."""
    options = list(options)
    if not options:
        return "there is none"
    found = closest(name, options)
    return f"did you mean {found!r}?" if found else f"there is: {', '.join(options)}"


def closest(name: str, options: Iterable[str]) -> str | None:
    """Returns the option that `name` is probably a misspelling of; None if it is like none of them."""
    found = difflib.get_close_matches(name, list(options), n=1, cutoff=0.6)
    return found[0] if found else None


class lazy_module:
    """Stands for the module `name` and imports it at the first use of one of its attributes, so that listing what there is stays fast."""

    def __init__(self, name: str):
        self._name = name

    def __getattr__(self, attribute: str) -> Any:
        return getattr(importlib.import_module(self._name), attribute)


@dataclasses.dataclass(frozen=True)
class Space:
    """Where a search looks for the value of a field. `values` are the ends of the distribution, or its options."""

    kind: str  # uniform, loguniform or choice
    values: tuple

    def quantile(self, p: float) -> Any:
        """Returns the value below which a fraction `p` in [0, 1) of the distribution lies."""
        if self.kind == "choice":
            return self.values[int(p * len(self.values))]
        low, high = self.values
        return low * (high / low) ** p if self.kind == "loguniform" else low + (high - low) * p

    def __str__(self) -> str:
        return f"{self.kind}({', '.join(map(str, self.values))})"


def uniform(low: float, high: float) -> Space:
    """Searches numbers from `low` to `high`, all alike."""
    return Space("uniform", (low, high))


def loguniform(low: float, high: float) -> Space:
    """Searches numbers from `low` to `high`, both above 0, all orders of magnitude alike."""
    return Space("loguniform", (low, high))


def choice(*options: Any) -> Space:
    """Searches the options given, all alike."""
    return Space("choice", options)


def field(
    default: Any,
    *,
    help: str,
    low: float | None = None,
    high: float | None = None,
    choices: tuple[str, ...] | None = None,
    is_path: bool = False,
    holds: str = "",
    tune: Space | None = None,
    neutral: Any = None,
) -> Any:
    """Declares a field of a dataclass that can be set from the command line.

    Its type is bool, int, float or str, or one of them or None, and the same for every method and data set that has a field of this
    name. `low` and `high` are included in its range. A path, or each of several between commas, becomes absolute, since a trial may run
    elsewhere than where the command was given; a path to a folder `holds` the files of a pattern. `tune` says where a hyper-parameter search looks. `neutral` is the value at which a method's objective measures fit
    alone, as 0 for the weight of a penalty.
    """
    metadata = {"help": help, "low": low, "high": high, "choices": choices, "is_path": is_path, "holds": holds}
    return dataclasses.field(default=default, metadata=metadata | {"tune": tune, "neutral": neutral})


ROLES = ("method", "oracle", "ceiling", "floor")  # in the order of tables; only methods are ranked
CHANGES, SPARSITY = "changes", "sparsity"  # what a method may assume: sufficient changes, sparse mixing
CORNERS = {  # of a ladder of methods that differ only in what they assume
    "neither": frozenset(),
    "changes": frozenset({CHANGES}),
    "sparsity": frozenset({SPARSITY}),
    "both": frozenset({CHANGES, SPARSITY}),
}


@dataclasses.dataclass(frozen=True)
class Facts:
    """Holds what a table, a figure or a report needs to know of a method or a data set, as plain values that a file can hold."""

    summary: str
    source: str
    fields: tuple[str, ...]
    role: str = "method"
    corner: str = "neither"  # what it assumes, by its name in `CORNERS`
    ladder: str = ""  # the ladder of which it is that corner, if it is one
    family: str = ""  # the file it is in: methods of one family share their backbone
    independent: bool = True  # whether a method takes its latents to be independent


@dataclasses.dataclass(frozen=True)
class Entry:
    """Knows of a registered class what commands, tables and searches ask: its facts, and its fields with their types."""

    name: str
    cls: type
    source: str

    @property
    def summary(self) -> str:
        """The first line of the class's docstring."""
        return (self.cls.__doc__ or "").strip().split("\n")[0]

    @property
    def facts(self) -> Facts:
        """What the class states about itself. Raises UsageError for an assumption or a role that is unknown here."""
        cls: Any = self.cls
        assumes, ladder = getattr(cls, "assumes", ()), vars(cls).get("ladder", "")
        if isinstance(assumes, str) or not isinstance(ladder, str) or not isinstance(self.source, str):
            raise UsageError(f"{self.name}: `assumes` is a set, as {{CHANGES}}; `ladder` and `source` are texts")
        assumed = frozenset(assumes)
        corner = next((name for name, corner in CORNERS.items() if corner == assumed), None)
        if corner is None:
            wrong = sorted(assumed - CORNERS["both"])[0]
            raise UsageError(f"{self.name} assumes {wrong!r}; {nearest(wrong, CORNERS['both'])}")
        role = getattr(cls, "role", "method")
        if role not in ROLES:
            raise UsageError(f"{self.name} has the role {role!r}; {nearest(role, ROLES)}")
        # A subclass is another method than its parent: it is no corner of the parent's ladder unless it says so.
        family, independent = cls.__module__.rpartition(".")[2], getattr(cls, "independent", True)
        return Facts(self.summary, self.source, tuple(self.fields), role, corner, ladder, family, independent)

    @property
    def in_main_job(self) -> bool:
        """Whether a run that names no methods has it."""
        return vars(self.cls).get("in_main_job", False)

    @property
    def fields(self) -> dict[str, dataclasses.Field]:
        return {f.name: f for f in dataclasses.fields(self.cls)}

    @property
    def defaults(self) -> dict[str, Any]:
        return {name: f.default for name, f in self.fields.items()}

    @property
    def spaces(self) -> dict[str, Space]:
        """The search space of each field that has one."""
        return {name: f.metadata["tune"] for name, f in self.fields.items() if f.metadata["tune"]}

    @property
    def neutral(self) -> dict[str, Any]:
        """The value of each field that has one at which the objective measures fit alone."""
        return {name: f.metadata["neutral"] for name, f in self.fields.items() if f.metadata["neutral"] is not None}

    def paths(self, values: Mapping[str, Any]) -> list[str]:
        """The fields that name files or folders in `values`."""
        return [name for name, f in self.fields.items() if f.metadata["is_path"] and values.get(name)]

    @functools.cache  # noqa: B019 - entries live as long as the program
    def types(self) -> dict[str, Any]:
        """The annotation of each field, as `int` or `int | None`."""
        hints = typing.get_type_hints(self.cls)
        return {name: hints[name] for name in self.fields}

    def check(self, name: str, value: Any) -> Any:
        """Returns `value`, which may be text, as the type of field `name`. Raises UsageError where it does not fit."""
        if name not in self.fields:
            raise UsageError(f"{self.name} has no field {name!r}; {nearest(name, self.fields)}")
        meta, kind, label = self.fields[name].metadata, self.types()[name], f"{self.name}.{name}"
        value = _convert(value, kind, label)
        if value is None:
            return value
        if meta["is_path"]:
            parts = [value] if os.path.exists(value) else value.split(",")
            return ",".join(str(Path(part.strip()).absolute()) for part in parts) if value else value
        if meta["choices"] and value not in meta["choices"]:
            raise UsageError(f"{label}={value}: {nearest(str(value), meta['choices'])}")
        low, high = meta["low"], meta["high"]
        if (low is not None and value < low) or (high is not None and value > high):
            bounds = f"at least {low}" if high is None else f"at most {high}" if low is None else f"in [{low}, {high}]"
            raise UsageError(f"{label}={value} is out of range; it must be {bounds}")
        return value

    def make(self, fields: Mapping[str, Any] | None = None, /, **others: Any) -> Any:
        """Returns an instance of the class with `fields` and `others` over its defaults. Raises UsageError for a value that does not fit."""
        return self.cls(**{name: self.check(name, value) for name, value in {**(fields or {}), **others}.items()})


WORDS = {bool: "true or false", int: "a whole number", float: "a number", str: "a word"}


def base_type(kind: Any, label: str) -> type:
    """Returns the type that values of a field have where they are not None. Raises UsageError for one that no field may have."""
    is_union = typing.get_origin(kind) in (typing.Union, types.UnionType)
    options = [option for option in (typing.get_args(kind) if is_union else (kind,)) if option is not type(None)]
    if len(options) != 1 or options[0] not in WORDS:
        raise UsageError(
            f"{label}: annotate it as bool, int, float or str, or as one of them or None, and not as {kind}"
        )
    return options[0]


def check_types(entries: Iterable[Entry]) -> None:
    """Raises UsageError if a field has one type in one entry and another in another: the results have one column for both."""
    owners: dict[str, tuple[type, str]] = {}
    for entry in entries:
        for name, kind in entry.types().items():
            found = base_type(kind, f"{entry.name}.{name}")
            known, owner = owners.setdefault(name, (found, entry.name))
            if found is not known:
                raise UsageError(
                    f"the field {name!r} is {WORDS[found]} in {entry.name} and {WORDS[known]} in {owner}; "
                    "rename one of them or give both one type, since they share a column of the results"
                )


def _convert(value: Any, kind: Any, label: str) -> Any:
    base = base_type(kind, label)
    if base is not kind and (value is None or value in ("none", "None")):
        return None
    try:
        if base is bool:
            words = {"true": True, "false": False, "1": True, "0": False}
            return value if isinstance(value, bool) else words[str(value).lower()]
        if base is int and float(value) == int(float(value)) and not isinstance(value, bool):
            return int(float(value))
        if base is float and not isinstance(value, bool):
            number = float(value)
            if number == number:
                return number
        if base is str and isinstance(value, str):
            return value
    except (ValueError, KeyError, TypeError, OverflowError):
        pass
    raise UsageError(f"{label}={value}: expected {WORDS[base]}")


def _is_anew(known: type, cls: type) -> bool:
    """Whether `cls` is `known` defined again: by a module that is read again, or in a notebook, whose cells are changed and run again."""
    is_notebook = known.__module__ == cls.__module__ == "__main__" and not hasattr(sys.modules["__main__"], "__file__")
    return is_notebook or (known.__module__, known.__qualname__) == (cls.__module__, cls.__qualname__)


class Registry:
    """Holds named classes of one kind. Every module of `package` but its `helpers` is imported once, at the first look-up."""

    def __init__(self, kind: str, package: str, helpers: tuple[str, ...] = ()):
        self.kind, self.package, self.helpers = kind, package, helpers
        self._entries: dict[str, Entry] = {}
        self._loaded = False

    def register(self, name: str, *, source: str) -> Callable[[type], type]:
        """Returns a class decorator. `source` is the paper, or the words "this project".

        Raises UsageError for a name that no command line could name; the decorator for a class that is no dataclass with documented
        fields, for a name that is taken, and for a second class on one corner of a ladder.
        """
        if not isinstance(name, str) or not re.fullmatch(r"\w[\w+-]*", name):
            raise UsageError(
                f"{name!r} names no {self.kind}: use letters, digits and _ + - only, a letter or a digit first"
            )

        def decorate(cls: type) -> type:
            if "__dataclass_fields__" not in vars(cls):
                raise UsageError(f"{name}: write @dataclass(frozen=True) between @register and the class")
            for field in dataclasses.fields(cls):
                if "help" not in field.metadata:
                    raise UsageError(
                        f"{name}.{field.name}: declare it as field(default, help=...), of the registry's field"
                    )
            known = self._entries.get(name)
            if known and not _is_anew(known.cls, cls):
                raise UsageError(f"two {self.kind}s are called {name!r}; choose another name")
            entry = Entry(name, cls, source)
            self._check_corner(entry)
            self._entries[name] = entry
            return cls

        return decorate

    def drop(self, module: str) -> dict[str, Entry]:
        """Forgets what `module` registered, and returns it."""
        dropped = {name: entry for name, entry in self._entries.items() if entry.cls.__module__ == module}
        self._entries = {name: entry for name, entry in self._entries.items() if name not in dropped}
        return dropped

    def put_back(self, entries: dict[str, Entry]) -> None:
        """Registers again what `drop` returned."""
        self._entries |= entries

    def names(self) -> list[str]:
        """Returns the names of all entries, sorted."""
        self._load()
        return sorted(self._entries)

    def __getitem__(self, name: str) -> Entry:
        self._load()
        if name not in self._entries:
            raise UsageError(f"there is no {self.kind} {name!r}; {nearest(name, self.names())}")
        return self._entries[name]

    def __iter__(self):
        return (self[name] for name in self.names())

    def _check_corner(self, entry: Entry) -> None:
        facts = entry.facts
        for other in self._entries.values():
            there = other.facts
            if (
                facts.ladder
                and other.name != entry.name
                and (there.ladder, there.corner) == (facts.ladder, facts.corner)
            ):
                raise UsageError(
                    f"{entry.name} and {other.name} are both the corner {facts.corner!r} of the ladder {facts.ladder!r}; "
                    "give one of them another ladder"
                )

    def _load(self) -> None:
        if self._loaded:
            return
        self._loaded = True
        for info in pkgutil.iter_modules(importlib.import_module(self.package).__path__):
            if info.name not in self.helpers:
                importlib.import_module(f"{self.package}.{info.name}")
