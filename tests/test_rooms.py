"""The direction of imports between the rooms of `bench`: downwards only, and no circles between modules."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
# From the ground up: a room may import from those before it. `tune` and `report` stand beside each other.
ORDER = [
    "registry",
    "text",
    "machine",
    "files",
    "statuses",
    "scores",
    "plan",
    "train",
    "run",
    "tune",
    "report",
    "cli",
    "python",
]
APART = {("report", "tune"), ("report", "train")}
FILES = [
    path
    for folder in ("bench", "methods", "datasets")
    for path in sorted((ROOT / folder).rglob("*.py"))
    if path
    not in (ROOT / "bench/__init__.py", ROOT / "bench/run/__init__.py")  # through which one calls `bench.python`
]


def module_of(path):
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imports(path):
    """The modules of this project that a file imports when it runs: those for type checkers alone do not count."""
    known = {module_of(file) for file in FILES}
    found = set()
    tree = ast.parse(path.read_text())
    for node in ast.walk(tree):
        if isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING":
            node.body = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f"{module_of(path)} has a relative import; name the module whole"
            names = {f"{node.module}.{alias.name}" for alias in node.names}
            found |= {name if name in known else str(node.module) for name in names}
    return {name for name in found if name in known}


def room_of(module):
    top, *rest = module.split(".")
    return rest[0] if top == "bench" and rest else top


@pytest.mark.parametrize("path", FILES, ids=module_of)
def test_a_room_imports_from_those_below_it_alone(path):
    room = room_of(module_of(path))
    for name in imports(path):
        other = room_of(name)
        if room in ("methods", "datasets"):
            assert name.startswith(room) or name in ("bench.registry", "bench.files"), (
                f"{module_of(path)} imports {name}"
            )
        elif other in ORDER and other != room:
            assert ORDER.index(other) < ORDER.index(room), f"{module_of(path)} imports {name}"
            assert (room, other) not in APART, f"{module_of(path)} imports {name}"


def test_no_modules_import_each_other_in_a_circle():
    """A package's own `__init__` counts as one of its modules."""
    graph = {module_of(path): imports(path) - {module_of(path)} for path in FILES}
    seen, path = set(), []

    def visit(module):
        assert module not in path, " -> ".join([*path[path.index(module) :], module])
        if module in seen:
            return
        path.append(module)
        for name in sorted(graph[module]):
            visit(name)
        path.pop()
        seen.add(module)

    for module in graph:
        visit(module)


def test_every_test_lies_where_what_it_tests_lies():
    for folder in (ROOT / "tests").iterdir():
        if folder.is_dir() and folder.name != "__pycache__":
            assert (ROOT / "bench" / folder.name).is_dir() or (ROOT / folder.name).is_dir(), folder.name
