"""Grid expressions of the command line: `KEY=VALUES` and `NAME.FIELD=VALUE`, checked against the registries."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from decimal import Decimal, InvalidOperation
from typing import Any

from bench.registry import Entry, UsageError, closest, nearest
from datasets import datasets as all_datasets
from methods import methods as all_methods

MAX_VALUES = 10_000
NAMED = 3  # owners of a field, in an error


def parse_values(text: str) -> list[str]:
    """`2..10` (step 1), `0..1:0.25` (both ends included where the step meets them) and `a,b,c`, mixed by commas, as texts."""
    values: list[str] = []
    for part in text.split(","):
        part = part.strip()
        if not part:
            raise UsageError(f"{text!r} has an empty value")
        values += _parse_range(part) if ".." in part else [part]
    return values


def _parse_range(part: str) -> list[str]:
    ends, _, step_text = part.partition(":")
    try:
        start, stop = (Decimal(end) for end in ends.split(".."))
        step = Decimal(step_text or "1")
        count = int((stop - start) / step)
    except (ValueError, InvalidOperation, ArithmeticError):
        raise UsageError(
            f"{part!r} is not a range; write START..STOP or START..STOP:STEP, as in 2..10 or 0..1:0.25"
        ) from None
    if step <= 0 or stop < start:
        raise UsageError(f"{part!r} is empty; a range goes up, with a step above 0")
    if count >= MAX_VALUES:
        raise UsageError(f"{part!r} has more than {MAX_VALUES} values")
    return [format((start + i * step).normalize(), "f") for i in range(count + 1)]


def split_assignment(text: str, form: str) -> tuple[str, str]:
    """`KEY=VALUE` as its two sides."""
    key, equals, value = text.partition("=")
    if not equals or not key.strip() or not value.strip():
        raise UsageError(f"{text!r} is not of the form {form}")
    return key.strip(), value.strip()


def parse_grid(texts: Iterable[str], dataset: Entry, methods: Sequence[Entry]) -> dict[str, dict[str, list[Any]]]:
    """Axes by owner: `{owner: {field: values}}`, the owner being the data set or each method that has the field.

    A key is a field of the data set, a field of some method (for each method that has it), or `NAME.FIELD`.
    """
    axes: dict[str, dict[str, list[Any]]] = {}
    for text in texts:
        key, values = split_assignment(text, "KEY=VALUES, as in domains=2..10")
        for owner, name in _owners(key, dataset, methods):
            fields = axes.setdefault(owner.name, {})
            if name in fields:
                raise UsageError(f"the grid names {key!r} twice")
            fields[name] = [owner.check(name, value) for value in parse_values(values)]
            if len(set(fields[name])) < len(fields[name]):
                raise UsageError(f"{values!r} names a value of {key} twice")
    return axes


def parse_settings(texts: Iterable[str], dataset: Entry, methods: Sequence[Entry]) -> dict[str, dict[str, Any]]:
    """Fixed values by owner: `{owner: {field: value}}`, from `NAME.FIELD=VALUE`."""
    settings: dict[str, dict[str, Any]] = {}
    for text in texts:
        key, value = split_assignment(text, "NAME.FIELD=VALUE, as in synergy-vae.alpha=0.1")
        if "." not in key:
            raise UsageError(f"{text!r} is not of the form NAME.FIELD=VALUE, as in synergy-vae.alpha=0.1")
        ((owner, name),) = _owners(key, dataset, methods)
        if name in settings.setdefault(owner.name, {}):
            raise UsageError(f"--set names {key!r} twice")
        settings[owner.name][name] = owner.check(name, value)
    return settings


def _owners(key: str, dataset: Entry, methods: Sequence[Entry]) -> list[tuple[Entry, str]]:
    entries = {entry.name: entry for entry in (dataset, *methods)}
    if "." in key:
        name, field = key.split(".", 1)
        if name not in entries:
            raise UsageError(f"{name!r} takes no part in this run; {nearest(name, entries)}")
        if field not in entries[name].fields:
            raise UsageError(f"{name} has no field {field!r}; {nearest(field, entries[name].fields)}")
        return [(entries[name], field)]
    owners = [(entry, key) for entry in entries.values() if key in entry.fields]
    if not owners:
        known = sorted({field for entry in entries.values() for field in entry.fields})
        elsewhere = [entry.name for entry in (*all_datasets, *all_methods) if key in entry.fields]
        more = f" and {len(elsewhere) - NAMED} more" if len(elsewhere) > NAMED else ""
        whose = f", which is one of {', '.join(elsewhere[:NAMED])}{more}" if elsewhere else ""
        hint = "" if elsewhere and not closest(key, known) else f"; {nearest(key, known)}"
        raise UsageError(f"no data set or method of this run has a field {key!r}{whose}{hint}")
    return owners
