"""Identities and seeds: hashes of what determines a result, the code that executes included, and random streams below a root seed."""

from __future__ import annotations

import ast
import functools
import hashlib
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.registry import lazy_module

if TYPE_CHECKING:
    import numpy as np
else:
    np = lazy_module("numpy")

ENGINE_VERSION = 8  # raise it when a change to training or scoring moves numbers: finished trials then run again

# Independent random streams below a root seed.
DATA, INIT, NOISE, TUNING, CHART = range(5)
ROOT_SEEDS = 2**63  # root seeds of runs are below: those above belong to hyper-parameter searches

# Fields of a syntax tree that say nothing about what executes, or nothing that the rest of the tree does not say.
UNHEARD = {"ctx", "kind", "type_comment", "type_ignores"}


def stream_seed(root_seed: int, *key: int) -> int:
    """A seed in [0, 2^63) of the stream `key` below `root_seed`."""
    return int(np.random.SeedSequence(root_seed, spawn_key=key).generate_state(1, np.uint64)[0] >> 1)


def data_seed(root_seed: int, seed: int) -> np.random.SeedSequence:
    """The seed of a data set. It is the same for every method and cell, so that comparisons are paired."""
    return np.random.SeedSequence(root_seed, spawn_key=(DATA, seed))


def tuning_root(root_seed: int) -> int:
    """The root seed of all data, initialisations and noise of a hyper-parameter search: one that no run takes."""
    return ROOT_SEEDS + stream_seed(root_seed, TUNING)


def tuning_quantile(root_seed: int, number: int, name: str) -> float:
    """Where in the search space of field `name` configuration `number` lies: uniform in [0, 1)."""
    key = (TUNING, number, int(digest(name), 16))
    return np.random.default_rng(np.random.SeedSequence(root_seed, spawn_key=key)).random()


def digest(value: Any) -> str:
    """Hash of anything that JSON can hold, 16 hexadecimal digits."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:16]


@functools.cache
def source_hash(cls: type) -> str:
    """Hash of the code that defines `cls` and its bases, and of the modules of their packages that these import."""
    from bench.files import read_bytes  # only here, since hashes of code are taken where no library is installed

    todo = {base.__module__ for base in cls.__mro__} - {"builtins", "typing"}
    packages = {name.split(".")[0] for name in todo}
    hashes: dict[str, str] = {}
    while todo:
        name = todo.pop()
        file = _source_file(name)
        source = read_bytes(file)  # of a plug-in, what came with a task: on its machine there may be no such file
        hashes[name] = code_hash(source)
        package = name if file.name == "__init__.py" else name.rpartition(".")[0]
        named = {found for found in _names(source, package) if found.split(".")[0] in packages}
        # Importing a module runs the packages that hold it.
        named |= {found.rsplit(".", up)[0] for found in named for up in range(1, found.count(".") + 1)}
        todo |= {found for found in named if found not in hashes and _source_file(found).is_file()}
    return digest(sorted(hashes.items()))


def code_hash(source: str | bytes) -> str:
    """Hash of what executes of a Python source: its syntax tree without docstrings, comments and positions.

    It is the same in every version of Python that can read the source. Raises SyntaxError.
    """
    return digest(list(_words(ast.parse(source))))


def _words(tree: ast.AST) -> Iterator[str]:
    """A syntax tree as words. `ast.dump` would change with the version of Python, which adds fields and leaves out empty ones."""
    todo: list[ast.AST | str] = [
        tree
    ]  # trees, and words that are ready; a stack, since code that a program wrote can be deep
    while todo:
        part = todo.pop()
        if isinstance(part, str):
            yield part
            continue
        inside: list[ast.AST | str] = [f"({type(part).__name__}"]
        for name, value in ast.iter_fields(part):
            items = value if isinstance(value, list) else [] if value is None else [value]
            items = [item for item in items if not _is_idle(item, part)]
            if items and name not in UNHEARD:
                inside += [name, *(item if isinstance(item, ast.AST) else _word(item) for item in items)]
        todo += [")", *reversed(inside)]


def _is_idle(item: Any, parent: ast.AST) -> bool:
    """Says whether a part of a syntax tree does nothing: `pass`, a text that stands alone, as docstrings do, an empty text in an f-string."""
    if isinstance(item, ast.Expr):
        return isinstance(item.value, ast.Constant)
    is_empty = isinstance(item, ast.Constant) and item.value == ""
    return isinstance(item, ast.Pass) or (is_empty and isinstance(parent, ast.JoinedStr))


def _word(value: Any) -> str:
    # `repr` would write a letter, or its number, as the version of Unicode has it.
    return f"{type(value).__name__} {ascii(value)}"


def _names(source: bytes, package: str) -> set[str]:
    """What a source in `package` may import: names in import statements, and texts, since `lazy_module` takes one."""
    names = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.ImportFrom):
            parents = [package.rsplit(".", node.level - 1)[0]] if node.level else []
            module = ".".join([*parents, *filter(None, [node.module])])
            names |= {module} | {f"{module}.{alias.name}" for alias in node.names}
        elif isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            names.add(node.value)
    return names


def _source_file(module: str) -> Path:
    # From the name alone: a lazy module may not have been imported yet.
    top, *rest = module.split(".")
    file = Path(str(sys.modules[top].__file__))
    if not rest:
        return file
    path = file.parent.joinpath(*rest)
    return path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
