"""What a command asks for as plain values, by the names of its options: in a TOML file (`--config`), or from Python (`bench.run`).

Both become the words of a command line, which is read as if somebody had typed it: nothing is checked here that is checked there.
"""

from __future__ import annotations

import argparse
import json
import numbers
import tomllib
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from bench.cli.options import Parser
from bench.files import read_bytes
from bench.plan.grid import parse_grid, parse_settings
from bench.registry import UsageError
from datasets import datasets
from methods import methods

FILE = "config.toml"  # in the folder of a run
TABLES = {"grid": "grid", "set": "settings"}  # options with a key of their own, and where their words are
FEWEST_IN_RANGE = 3  # values that are written as 2..4
# What a command has, whether it was named or not.
RESOLVED = ("dataset", "methods", "profile", "seeds", "root_seed", "name")
START = "start"  # an option that names an axis of the grid


def read(path: str) -> dict[str, Any]:
    """The options in a TOML file. Raises UsageError where it cannot be read."""
    try:
        return tomllib.loads(read_bytes(path).decode())
    except FileNotFoundError:
        raise UsageError(f"--config {path}: there is no such file") from None
    except OSError as error:
        raise UsageError(f"--config {path} cannot be read ({error.strerror})") from None
    except (ValueError, RecursionError) as error:  # of the letters, or of TOML
        raise UsageError(f"--config {path} is no TOML file: {error}") from None


def words_of(config: Mapping[str, Any], typed: argparse.Namespace | None = None) -> list[str]:
    """The options of `config` as the words of a command line, without those that the command `typed` names itself.

    Keys are names of options without the dashes in front, with - or _ inside; `grid` and `set` are tables of their own. A value is a text as
    one would type it, a number, true or false, or a list of these. Raises UsageError for anything else, and for a plug-in that
    `typed` does not name: what a file names is not executed.
    """
    words: list[str] = []
    prefixes = tuple(f"{name}." for name in {getattr(typed, "dataset", None), config.get("dataset")} if name)

    def field_of(key: str) -> str:
        """A field of the data set is the same with and without its name."""
        return next((key.removeprefix(prefix) for prefix in prefixes if key.startswith(prefix)), key)

    taken = {
        name: {field_of(text.split("=")[0].strip()) for text in getattr(typed, dest, ())}
        for name, dest in TABLES.items()
    }
    for key, value in config.items():
        name = key.replace("_", "-")
        if name in TABLES:
            for field, values in _flat(value, name).items():
                if field_of(field) not in taken[name]:
                    words += _option(name, f"{field}={_text(values, f'{name}.{field}', name == 'grid')}")
        elif name == "plugin":
            if typed is not None:
                _check_plugins(value, typed)
            else:
                words += [word for path in value for word in _option(name, str(path))]
        elif name == "config":
            raise UsageError("a configuration names no other one: leave out the key 'config'")
        elif isinstance(value, bool):
            words += [f"--{name}"] if value else []
        elif value is not None and not (name == START and START in taken["grid"]):
            words += _option(name, _text(value, name))
    return words


def _option(name: str, value: str) -> list[str]:
    """An option with its value, which is no option itself even if it begins like one."""
    return [f"--{name}={value}"] if value.startswith("-") else [f"--{name}", value]


def _flat(value: Any, name: str) -> dict[str, Any]:
    """The entries of a table, those of tables in it as "NAME.FIELD"."""
    if not isinstance(value, Mapping):
        raise UsageError(f"{name} is a table of names and values, as domains = [2, 3], and not {value!r}")
    found: dict[str, Any] = {}
    for key, inner in value.items():
        entries: dict[Any, Any] = _flat(inner, name) if isinstance(inner, Mapping) else {None: inner}
        found |= {key if field is None else f"{key}.{field}": each for field, each in entries.items()}
    return found


def _text(value: Any, name: str, is_axis: bool = False) -> str:
    """A value, or several, as one would type them."""
    if isinstance(value, str) or not isinstance(value, Iterable):
        return _one(value, name)
    values = list(value)
    texts = [_one(each, name) for each in values]
    for each, text in zip(values, texts, strict=True):
        if isinstance(each, str) and "," in text:
            raise UsageError(f"{name}: {text!r} holds a comma, which stands between two values")
    is_whole = all(isinstance(each, numbers.Integral) and not isinstance(each, bool) for each in values)
    if is_axis and is_whole and len(values) >= FEWEST_IN_RANGE and values == list(range(values[0], values[-1] + 1)):
        return f"{values[0]}..{values[-1]}"
    return ",".join(texts)


def _one(value: Any, name: str) -> str:
    if value is None:
        return "none"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, numbers.Integral):
        return str(int(value))
    if isinstance(value, numbers.Real):
        return repr(float(value))
    if isinstance(value, (str, Path)):
        return str(value)
    raise UsageError(f"{name}: {value!r} is no text, number, truth or list of these")


def _check_plugins(value: Any, typed: argparse.Namespace) -> None:
    named = {str(Path(path).absolute()) for path in [*typed.plugins, *typed.more_plugins]}
    for path in [value] if isinstance(value, str) else value if isinstance(value, list) else [str(value)]:
        if str(Path(str(path)).absolute()) not in named:
            raise UsageError(
                f"the configuration needs the plug-in {path}, whose code would run: if you trust it, add --plugin {path}"
            )


# --- the file that a run leaves


def text(
    add_options: Callable[[argparse.ArgumentParser], None], arguments: argparse.Namespace, own: Mapping[str, Any]
) -> str:
    """The TOML file that repeats a command.

    It has what `own`, the configuration in the command's manifest with the name of its folder, says of `RESOLVED` and of plug-ins; the
    values of `--grid` and `--set`; and every other option of those that `add_options` adds which `arguments` has not at its default.
    """
    parser = Parser()
    add_options(parser)
    entries = [datasets[own["dataset"]], *(methods[name] for name in own["methods"])]
    grid = {}
    for line in arguments.grid:
        key, axes = line.partition("=")[0].strip(), parse_grid([line], entries[0], entries[1:])
        grid[key] = next(iter(next(iter(axes.values())).values()))
    settings = parse_settings(arguments.settings, entries[0], entries[1:])
    found = {name.replace("_", "-"): own[name] for name in RESOLVED}
    found |= {"plugin": own["plugins"]} if own["plugins"] else {}
    found |= {"grid": grid} if grid else {}
    named = {f"{owner}.{field}": value for owner, fields in settings.items() for field, value in fields.items()}
    found |= {"set": named} if named else {}
    for action in parser._actions:
        names = [option[2:] for option in action.option_strings if option.startswith("--")]
        value = getattr(arguments, action.dest, None)
        is_own = names and names[0] not in {*found, *TABLES, START, "config", "help", "plugin", "dry-run"}
        if is_own and value is not None and value != action.default:
            found[names[0]] = value
    tables = {name: found.pop(name) for name in TABLES if name in found}
    command = " ".join(filter(None, ["python run_bench.py", arguments.command, f"--config {FILE}"]))
    lines = [f"# What was asked for here, once more: {command}"]
    lines += [f"{name} = {_toml(value)}" for name, value in found.items()]
    for name, table in tables.items():
        lines += ["", f"[{name}]", *(f"{json.dumps(field)} = {_toml(value)}" for field, value in table.items())]
    return "\n".join(lines) + "\n"


def _toml(value: Any) -> str:
    """A text, a number, a truth or a list of these in TOML; nothing at all, as the word that stands for it."""
    if isinstance(value, (list, tuple, set, frozenset)):
        return f"[{', '.join(map(_toml, value))}]"
    if isinstance(value, bool) or value is None:
        return '"none"' if value is None else str(value).lower()
    # A text of JSON is one of TOML but for one letter.
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f") if isinstance(value, str) else repr(value)
