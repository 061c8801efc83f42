"""Methods, data sets and scores that are written where no other process can import them: in cells of a notebook, or in the script that runs.

Such code becomes a plug-in like any other. Of all that was typed, the statements that define it are taken, with those that these need, and
what trains is this plug-in: so that its identity is that of what executes, whatever else the notebook or the script says.
"""

from __future__ import annotations

import ast
import itertools
import re
import symtable
import sys
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from bench import scores
from bench.files import given, read_bytes
from bench.plan import plugins
from bench.plan.identity import code_hash
from bench.registry import UsageError
from datasets import datasets
from methods import methods

MAIN = "__main__"
REGISTERS = ("register", "register_transformer", "score")
LINE = re.compile(r"\r\n|\r|\n")  # between two lines of Python
DEFINES = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)


@contextmanager
def as_plugins(names: Collection[str], folder: Path) -> Iterator[list[str]]:
    """While inside, those of the methods and data sets `names` that are of a notebook or a script, and all its scores, are of plug-ins.

    Gives the paths of these, one for each, so that a change to one is none to another. They are files in `folder` that need not be written,
    since their contents are in `bench.files.given`. Raises UsageError where a source cannot be had, or does not work by itself.
    """
    own = [e.name for registry in (methods, datasets) for e in registry if e.cls.__module__ == MAIN and e.name in names]
    own += scores.declared_by(MAIN)
    if not own:
        yield []
        return
    typed = sources(own)
    programs = {name: program(typed, name) for name in own}
    paths = {name: str((folder / _file_name(name, text)).absolute()) for name, text in programs.items()}
    dropped = [(registry, registry.drop(MAIN)) for registry in (methods, datasets, scores)]
    given.update({paths[name]: text.encode() for name, text in programs.items()})
    try:
        for name, path in paths.items():
            try:
                plugins.load([path])
            except UsageError as error:
                said = str(error).removeprefix(f"--plugin {path}: ")
                raise UsageError(f"the code that defines {name!r} does not work by itself: {said}") from None
        yield list(paths.values())
    finally:
        plugins.unload(paths.values())
        for path in paths.values():
            given.pop(path, None)
        for registry, entries in dropped:
            registry.put_back(entries)


def _file_name(name: str, text: str) -> str:
    return f"{re.sub(r'[^A-Za-z0-9_+-]', '-', name)[:60]}-{code_hash(text)}.py"


def sources(own: Sequence[str]) -> list[str]:
    """What was typed: the cells of a notebook that were run, in their order, or the text of the script. Raises UsageError where it is gone."""
    main = sys.modules[MAIN]
    cells = getattr(main, "In", None)  # IPython's, on which Jupyter is built
    if isinstance(cells, list):
        return [str(cell) for cell in cells]
    try:
        return [read_bytes(str(main.__file__)).decode()]
    except (AttributeError, OSError, ValueError):
        raise UsageError(
            f"{', '.join(own)}: the source of what is typed here cannot be had; write it to a file, and name that with plugins=['FILE.py']"
        ) from None


def program(texts: Sequence[str], own: str) -> str:
    """A Python program that registers `own` and nothing else, of the statements at the top level of `texts`, the last for each name.

    Of a single text, a script, the statements stay on their lines, where what they need is above them: so that an error is in the line
    where its author looks for it. Raises UsageError where no such statement registers it.
    """
    statements = list(itertools.chain.from_iterable(map(_statements, texts)))
    names = [_names(statement) for statement in statements]
    order: list[int] = []  # what a statement needs comes before it, whatever the order in which cells were run
    seen: set[int] = set()
    is_in_order = len(texts) == 1

    def take(place: int) -> None:
        nonlocal is_in_order
        if place in seen:
            return
        seen.add(place)
        bound, used = names[place]
        for name in used:
            # What a statement makes of a name's former value, as n = n + 1, needs that value; a function that calls itself does not.
            if name in bound and isinstance(statements[place], DEFINES):
                continue
            end = place if name in bound else len(statements)
            for other in [other for other in range(end) if name in names[other][0]][-1:]:
                is_in_order &= other <= place
                take(other)
        order.append(place)

    froms = {place: each for place, each in enumerate(statements) if isinstance(each, ast.ImportFrom)}
    futures = {place for place, each in froms.items() if each.module == "__future__"}
    for place, each in froms.items():
        if place in futures or each.names[0].name == "*":
            take(place)
    roots = [place for place, statement in enumerate(statements) if own in _registered(statement)]
    if not roots:
        raise UsageError(
            f"{own}: there is no class with @register({own!r}, ...) at the top level of what was typed; write it so, or to a file that "
            "plugins=['FILE.py'] names"
        )
    take(roots[-1])
    order = sorted(order) if is_in_order else sorted(order, key=lambda place: place not in futures)
    lines = _own_lines(texts[0], [(statements[place], place == roots[-1]) for place in order]) if is_in_order else ""
    parts = [statements[place] if place == roots[-1] else _unregistered(statements[place]) for place in order]
    program = "\n\n".join(map(ast.unparse, parts)) + "\n"
    return lines if lines and code_hash(lines) == code_hash(program) else program


def _own_lines(text: str, chosen: Sequence[tuple[ast.stmt, bool]]) -> str:
    """The lines of `text` that hold the `chosen` statements, all others empty; of a statement that is to register nothing, no such decorator.

    It is another program, or none, where statements share a line.
    """
    lines = LINE.split(text)
    kept: set[int] = set()
    for statement, registers in chosen:
        decorators = getattr(statement, "decorator_list", [])
        first = min([statement.lineno, *(each.lineno for each in decorators)])
        own = set(range(first, (statement.end_lineno or first) + 1))
        for each in [] if registers else decorators:
            own -= (
                set(range(each.lineno, (each.end_lineno or each.lineno) + 1)) if _name_in(each) is not None else set()
            )
        kept |= own
    found = "\n".join(line if number in kept else "" for number, line in enumerate(lines, 1)).rstrip() + "\n"
    return found if _statements(found) else ""


def _statements(text: str) -> list[ast.stmt]:
    try:
        return ast.parse(text).body
    except (SyntaxError, ValueError):  # a cell that was refused
        return []


def _registered(statement: ast.stmt) -> list[str]:
    """What a statement registers: a class or function by a decorator as @register(NAME, ...), or a call as register_transformer(NAME, ...)."""
    if isinstance(statement, DEFINES):
        return list(filter(None, map(_name_in, statement.decorator_list)))
    return list(filter(None, map(_name_in, ast.walk(statement)))) if isinstance(statement, ast.Expr) else []


def _name_in(call: ast.AST) -> str | None:
    """The name that is registered by a call, if it is one that registers."""
    if not isinstance(call, ast.Call) or not call.args or not isinstance(call.args[0], ast.Constant):
        return None
    called = call.func.attr if isinstance(call.func, ast.Attribute) else getattr(call.func, "id", "")
    return str(call.args[0].value) if called in REGISTERS else None


def _unregistered(statement: ast.stmt) -> ast.stmt:
    """The same class or function, which registers nothing: another one is made of it."""
    if isinstance(statement, DEFINES):
        statement.decorator_list = [each for each in statement.decorator_list if _name_in(each) is None]
    return statement


def _names(statement: ast.stmt) -> tuple[set[str], list[str]]:
    """The names to which a statement gives a value at the top level, and those that it may look up there, at any depth."""
    try:
        table = symtable.symtable(ast.unparse(statement), "cell", "exec")
    except SyntaxError:  # it was refused when it was run
        return set(), []
    bound = {symbol.get_name() for symbol in table.get_symbols() if symbol.is_assigned() or symbol.is_imported()}
    used = {symbol.get_name() for symbol in table.get_symbols() if symbol.is_referenced()}
    todo = table.get_children()
    while todo:
        inner = todo.pop()
        used |= {symbol.get_name() for symbol in inner.get_symbols() if symbol.is_global() and symbol.is_referenced()}
        todo += inner.get_children()
    if isinstance(statement, ast.AugAssign) and isinstance(statement.target, ast.Name):
        used.add(statement.target.id)
    return bound, sorted(used)
