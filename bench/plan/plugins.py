"""Methods, data sets and scores from outside this folder: a user's file (`--plugin FILE.py`), or an installed package.

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

from bench import scores
from bench.files import read_bytes
from bench.plan.identity import code_hash
from bench.registry import UsageError, check_types
from datasets import datasets
from methods import methods

GROUP = "synergy_bench.plugins"
_texts: dict[str, bytes] = {}  # of the files that were loaded, by path
_modules: dict[str, str] = {}  # names of the modules that they became, by path


def load(paths: Iterable[str] = ()) -> list[str]:
    """Imports the installed plugins and the files at `paths`, and returns their absolute paths, each once.

    What is loaded stays loaded; a file that changed since is read again. Raises UsageError for a file or package that cannot be
    used: it is not there, it raises, it registers nothing, or a name that is taken, or a field that has another type elsewhere.
    """
    methods.names(), datasets.names()  # this project's own come first: a clash of names is the plugin's mistake
    for point in installed():
        try:
            point.load()
            check_types([*methods, *datasets])
        except (Exception, SystemExit) as error:
            raise UsageError(f"the installed plugin {point.name!r} ({point.value}): {_reason(error, None)}") from error
    files = list(dict.fromkeys(str(Path(path).absolute()) for path in paths))
    for file in files:
        _load_file(file)
    return files


def installed() -> list[EntryPoint]:
    """Returns the entry points of the installed plugins, by name."""
    return sorted(entry_points(group=GROUP), key=lambda point: point.name)


def loaded() -> list[str]:
    """Returns the absolute paths of the files that were loaded."""
    return list(_modules)


def unload(files: Iterable[str]) -> None:
    """Forgets these files, given by absolute path, and what they registered."""
    for file in files:
        _texts.pop(file, None)
        module = _modules.pop(file, "")
        if module not in _modules.values():
            _forget(module)


def _load_file(file: str) -> None:
    try:
        text = read_bytes(file)
        # The name is a hash of what executes: neither where the file lies, nor what it is called or says of itself, is part of a
        # trial's identity.
        name = f"plugin_{code_hash(text)}"
    except FileNotFoundError:
        raise UsageError(f"--plugin {file}: there is no such file") from None
    except OSError as error:
        raise UsageError(f"--plugin {file} cannot be read ({error.strerror})") from None
    except SyntaxError as error:
        raise UsageError(f"--plugin {file}: {error.msg} (line {error.lineno})") from None
    except Exception as error:
        raise UsageError(f"--plugin {file} is not a Python file ({type(error).__name__})") from None
    if _texts.get(file) == text:
        return
    unload([file])
    if text not in _texts.values():
        _forget(name)  # of a file that does the same, and says something else of itself
        _execute(text, file, name)
    _texts[file], _modules[file] = text, name


def _execute(text: bytes, file: str, name: str) -> None:
    """Runs a file as the module `name`. Raises UsageError, and forgets it again, where it cannot be used."""
    known = {*methods.names(), *datasets.names()}
    module = types.ModuleType(name)
    module.__file__ = file
    sys.modules[name] = module
    try:
        # Not by the import system: its compiled copy may be older than the text within one second.
        exec(compile(text, file, "exec"), module.__dict__)
        check_types([*methods, *datasets])
    except (Exception, SystemExit) as error:
        _forget(name)
        raise UsageError(f"--plugin {file}: {_reason(error, file)}") from error
    if known == {*methods.names(), *datasets.names()} and not scores.declared_by(name):
        _forget(name)
        raise UsageError(f"--plugin {file} registers no method, no data set and no score; see docs/add-a-method.md")


def _forget(module: str) -> None:
    sys.modules.pop(module, None)
    for registry in (methods, datasets, scores):
        registry.drop(module)


def _reason(error: BaseException, file: str | None) -> str:
    """Says in one line what was raised, and at which line of the file."""
    text = " ".join(str(error).split())
    if isinstance(error, (UsageError, SyntaxError)):  # which says its place
        return text
    lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == file]
    return f"{type(error).__name__}: {text}" + (f" (line {lines[-1]})" if lines else "")
