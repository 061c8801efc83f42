"""Methods and data sets from outside this folder: a user's file (`--plugin FILE.py`), or an installed package.

A package names a module in the entry-point group `synergy_bench.plugins`; importing it registers what it has. Every process that
looks a method up must have loaded the same plugins, so a pack carries the paths of its run's.
"""

from __future__ import annotations

import sys
import traceback
import types
from collections.abc import Iterable
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path

from bench.trials import digest
from datasets import datasets
from methods import methods
from registry import UsageError

GROUP = "synergy_bench.plugins"
_modules: dict[str, str] = {}  # name of the module that a file became, by its path


def load(paths: Iterable[str] = ()) -> list[str]:
    """Imports the installed plugins and the files at `paths`, and returns their absolute paths, each once.

    What is loaded stays loaded; a file that changed since is read again. Raises UsageError for a file or package that cannot be
    used: it is not there, it raises, it registers nothing, or a name that is taken.
    """
    methods.names(), datasets.names()  # this project's own come first: a clash of names is the plugin's mistake
    for point in installed():
        try:
            point.load()
        except (Exception, SystemExit) as error:
            raise UsageError(f"the installed plugin {point.name!r} ({point.value}): {_reason(error, None)}") from error
    files = list(dict.fromkeys(str(Path(path).absolute()) for path in paths))
    for file in files:
        _load_file(file)
    return files


def installed() -> list[EntryPoint]:
    return sorted(entry_points(group=GROUP), key=lambda point: point.name)


def _load_file(file: str) -> None:
    try:
        text = Path(file).read_text()
    except FileNotFoundError:
        raise UsageError(f"--plugin {file}: there is no such file") from None
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"--plugin {file} is not a Python file ({type(error).__name__})") from None
    name = f"plugin_{digest(text)}"  # by its content: neither where it lies nor what it is called is part of a trial's identity
    if _modules.get(file) == name:
        return
    _forget(_modules.pop(file, ""))
    if name not in _modules.values():
        known = {*methods.names(), *datasets.names()}
        module = types.ModuleType(name)
        module.__file__ = file
        sys.modules[name] = module
        try:
            # Not by the import system: its compiled copy may be older than the text within one second.
            exec(compile(text, file, "exec"), module.__dict__)
        except (Exception, SystemExit) as error:
            _forget(name)
            raise UsageError(f"--plugin {file}: {_reason(error, file)}") from error
        if known == {*methods.names(), *datasets.names()}:
            _forget(name)
            raise UsageError(f"--plugin {file} registers no method and no data set; see docs/add-a-method.md")
    _modules[file] = name


def _forget(module: str) -> None:
    sys.modules.pop(module, None)
    for registry in (methods, datasets):
        registry.drop(module)


def _reason(error: BaseException, file: str | None) -> str:
    """In one line, what was raised and at which line of the file."""
    text = " ".join(str(error).split())
    if isinstance(error, (UsageError, SyntaxError)):  # which says its place
        return text
    lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == file]
    return f"{type(error).__name__}: {text}" + (f" (line {lines[-1]})" if lines else "")
