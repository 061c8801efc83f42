"""What methods and datasets share: registration by a decorator, typed and documented fields, and errors for people.

`methods` and `datasets` each hold one `Registry`. This file knows neither of them, and imports nothing heavy.
"""

from __future__ import annotations

import dataclasses
import difflib
import functools
import importlib
import pkgutil
import typing
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any


class UsageError(ValueError):
    """A mistake of the user's: one clear sentence, exit code 2, no traceback."""


def nearest(name: str, options: Iterable[str]) -> str:
    """The end of an error sentence: the option closest to `name`, or all of them if none is close."""
    options = list(options)
    if not options:
        return "there is none"
    close = difflib.get_close_matches(name, options, n=1, cutoff=0.5)
    return f"did you mean {close[0]!r}?" if close else f"there is: {', '.join(options)}"


class lazy_module:
    """Stands for the module `name`, imported at the first use of one of its attributes: listing what there is stays fast."""

    def __init__(self, name: str):
        self._name = name

    def __getattr__(self, attribute: str) -> Any:
        return getattr(importlib.import_module(self._name), attribute)


@dataclasses.dataclass(frozen=True)
class Space:
    """Where a search looks for the value of a field: a distribution over `values`, its ends or its options."""

    kind: str  # uniform, loguniform or choice
    values: tuple

    def quantile(self, p: float) -> Any:
        """The value below which a fraction `p` in [0, 1) of the distribution lies."""
        if self.kind == "choice":
            return self.values[int(p * len(self.values))]
        low, high = self.values
        return low * (high / low) ** p if self.kind == "loguniform" else low + (high - low) * p

    def __str__(self) -> str:
        return f"{self.kind}({', '.join(map(str, self.values))})"


def uniform(low: float, high: float) -> Space:
    return Space("uniform", (low, high))


def loguniform(low: float, high: float) -> Space:
    return Space("loguniform", (low, high))


def choice(*options: Any) -> Space:
    return Space("choice", options)


def field(
    default: Any,
    *,
    help: str,
    low: float | None = None,
    high: float | None = None,
    choices: tuple[str, ...] | None = None,
    is_path: bool = False,
    tune: Space | None = None,
    neutral: Any = None,
) -> Any:
    """A dataclass field that can be set from the command line; `low` and `high` are included in its range.

    A path becomes absolute, since a trial may run elsewhere than where the command was given. `tune` is where a hyper-parameter
    search looks. `neutral` is the value at which a method's objective measures fit alone: 0 of the weight of a penalty.
    """
    metadata = {"help": help, "low": low, "high": high, "choices": choices, "is_path": is_path}
    return dataclasses.field(default=default, metadata=metadata | {"tune": tune, "neutral": neutral})


@dataclasses.dataclass(frozen=True)
class Entry:
    """A registered class with what `list` and `show` print about it."""

    name: str
    cls: type
    source: str

    @property
    def summary(self) -> str:
        return (self.cls.__doc__ or "").strip().split("\n")[0]

    @property
    def fields(self) -> dict[str, dataclasses.Field]:
        return {f.name: f for f in dataclasses.fields(self.cls)}

    @property
    def defaults(self) -> dict[str, Any]:
        return {name: f.default for name, f in self.fields.items()}

    @property
    def spaces(self) -> dict[str, Space]:
        """The search spaces of the fields that have one."""
        return {name: f.metadata["tune"] for name, f in self.fields.items() if f.metadata["tune"]}

    @property
    def neutral(self) -> dict[str, Any]:
        """The values at which the objective measures fit alone."""
        return {name: f.metadata["neutral"] for name, f in self.fields.items() if f.metadata["neutral"] is not None}

    @functools.cache  # noqa: B019 - entries live as long as the program
    def types(self) -> dict[str, Any]:
        hints = typing.get_type_hints(self.cls)
        return {name: hints[name] for name in self.fields}

    def check(self, name: str, value: Any) -> Any:
        """`value`, which may be text, as the type of field `name`. Raises UsageError where it does not fit."""
        if name not in self.fields:
            raise UsageError(f"{self.name} has no field {name!r}; {nearest(name, self.fields)}")
        meta, kind, label = self.fields[name].metadata, self.types()[name], f"{self.name}.{name}"
        value = _convert(value, kind, label)
        if value is None:
            return value
        if meta["is_path"]:
            return str(Path(value).absolute()) if value else value
        if meta["choices"] and value not in meta["choices"]:
            raise UsageError(f"{label}={value}: {nearest(str(value), meta['choices'])}")
        low, high = meta["low"], meta["high"]
        if (low is not None and value < low) or (high is not None and value > high):
            bounds = f"at least {low}" if high is None else f"at most {high}" if low is None else f"in [{low}, {high}]"
            raise UsageError(f"{label}={value} is out of range; it must be {bounds}")
        return value

    def make(self, fields: dict[str, Any]) -> Any:
        """An instance with `fields` over its defaults, each checked."""
        return self.cls(**{name: self.check(name, value) for name, value in fields.items()})


def _convert(value: Any, kind: Any, label: str) -> Any:
    options = typing.get_args(kind) or (kind,)
    if type(None) in options and (value is None or value in ("none", "None")):
        return None
    base = next(option for option in options if option is not type(None))
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
    word = {bool: "true or false", int: "a whole number", float: "a number", str: "a word"}[base]
    raise UsageError(f"{label}={value}: expected {word}")


class Registry:
    """Named classes of one kind. Every module of `package` but its `helpers` is imported once, at the first look-up."""

    def __init__(self, kind: str, package: str, helpers: tuple[str, ...] = ()):
        self.kind, self.package, self.helpers = kind, package, helpers
        self._entries: dict[str, Entry] = {}
        self._loaded = False

    def register(self, name: str, *, source: str) -> Callable[[type], type]:
        """Class decorator. `source` is the paper, or the words "this project"."""

        def decorate(cls: type) -> type:
            if "__dataclass_fields__" not in vars(cls):
                raise UsageError(f"{name}: write @dataclass(frozen=True) between @register and the class")
            for field in dataclasses.fields(cls):
                if "help" not in field.metadata:
                    raise UsageError(
                        f"{name}.{field.name}: declare it as field(default, help=...), of the registry's field"
                    )
            known = self._entries.get(name)
            # A module that is read again, in a notebook say, brings its own classes anew.
            if known and (known.cls.__module__, known.cls.__qualname__) != (cls.__module__, cls.__qualname__):
                raise UsageError(f"two {self.kind}s are called {name!r}; choose another name")
            self._entries[name] = Entry(name, cls, source)
            return cls

        return decorate

    def drop(self, module: str) -> None:
        """Forgets what `module` registered."""
        self._entries = {name: entry for name, entry in self._entries.items() if entry.cls.__module__ != module}

    def names(self) -> list[str]:
        self._load()
        return sorted(self._entries)

    def __getitem__(self, name: str) -> Entry:
        self._load()
        if name not in self._entries:
            raise UsageError(f"there is no {self.kind} {name!r}; {nearest(name, self.names())}")
        return self._entries[name]

    def __iter__(self):
        return (self[name] for name in self.names())

    def _load(self) -> None:
        if self._loaded:
            return
        self._loaded = True
        for info in pkgutil.iter_modules(importlib.import_module(self.package).__path__):
            if info.name not in self.helpers:
                importlib.import_module(f"{self.package}.{info.name}")
