"""What a trial's identity follows: the code that executes, in any version of Python, and seeds that stay as they are."""

import importlib
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from bench.plan.identity import code_hash, data_seed, digest, source_hash, stream_seed, tuning_quantile, tuning_root

ROOT = Path(__file__).resolve().parents[2]
TEXT = '"""A text."""'

# What versions of Python write differently in their syntax trees, and hashes that no version may change.
GOLDEN = {
    "f-strings": (
        "f'{x:{width}.{digits}f} of {d[\"k\"]!r:>{w}}' f\"{'a'}{{b}}{y = }\" 'c' f'' u'd'\nf'{x:}{x:%H:%M}{x:{{1}}}'",
        "596de9f99eaef79c",
    ),
    "decorators and type hints": (
        "@a.b(1)\n@c\ndef f(x: int, /, y: 'str' = None, *z, k: list[int] | None = ..., **o) -> None: return x\nn: int\nm: int = 1",
        "f3b9e637223fbbeb",
    ),
    "walrus": ("if (n := len(a)) > 1: b = [m := 2, *a]\nc = {**d, 'e': (yield_ := 3)}", "26e4f7e4c6d1c7cb"),
    "match": (
        "match a:\n    case [1, *_] | (2, 3): b\n    case {'k': v, **rest} if v: c\n    case D(x=0) as d: e\n    case None | True: f\n"
        "    case 'é': g\n    case _: pass",
        "06a56eb9e4c4ce77",
    ),
    "async": (
        "async def f():\n    async with a as b, c: await d\n    async for e in g: yield [h async for h in i if await j]",
        "115339c318976d6c",
    ),
    "lambdas": ("f = lambda x, *y, z=lambda: None, **k: (x, y[1:2, ..., ::3])", "13cd3a6d5f373e83"),
    "numbers and letters": (
        "a = 1_000, 0xff, 1e400, -0.0, 2j, b'\\xff', '\\ud800', 'ñ\\N{BULLET}𝔸', True, None, ...",
        "91e089156ed57c79",
    ),
    "errors": ("try: a\nexcept* (B, C) as d: raise D from None\nelse: e\nfinally: del f, g[h]", "7e0fa796c2fe4194"),
    "texts that are no docstrings": (f"A = {TEXT}\ndef f(): return {TEXT}\ng({TEXT}, help={TEXT})", "b55e85a96383e7b0"),
    "texts that stand alone": (
        f"{TEXT}\nfrom __future__ import annotations\n{TEXT}\na = 1\n{TEXT}",
        "4e5fa369f7fa997e",
    ),
    "a class that is a docstring": (f"class A(B, metaclass=C):\n    {TEXT}", "6f3b06c74b9b58f2"),
    "empty": ("", "32e76ea5af83963e"),
}
EVERY_PYTHON = """
import json, sys
sys.path.insert(0, sys.argv[1])
from bench.plan.identity import code_hash
print(json.dumps([code_hash(source) for source in json.load(sys.stdin)]))
"""


def other_pythons():
    """Interpreters from 3.11 on, by version, other than this one."""
    places = [Path(folder) for folder in os.environ.get("PATH", "").split(os.pathsep)]
    places += [Path("/usr/bin"), Path("/usr/local/bin"), *Path.home().glob(".pyenv/versions/*/bin")]
    names = ["python3", *(f"python3.{minor}" for minor in range(11, 20))]
    found = {}
    for file in dict.fromkeys(shutil.which(name, path=place) for place in places for name in names):
        code = "import sys; print('%d.%d' % sys.version_info[:2])"
        done = file and subprocess.run([file, "-c", code], capture_output=True, text=True)
        if done and done.returncode == 0:
            found.setdefault(tuple(map(int, done.stdout.strip().split("."))), file)
    return {version: file for version, file in found.items() if version >= (3, 11) and version != sys.version_info[:2]}


@pytest.mark.parametrize("name", GOLDEN)
def test_code_has_the_hash_that_it_always_had(name):
    source, expected = GOLDEN[name]
    assert code_hash(source) == expected


def test_every_version_of_python_gives_the_same_hashes():
    found = other_pythons()
    if not found:
        pytest.skip("there is no other Python from 3.11 on")
    sources = [source for source, _ in GOLDEN.values()]
    sources += [file.read_text() for folder in ("methods", "datasets") for file in sorted((ROOT / folder).glob("*.py"))]
    expected = [code_hash(source) for source in sources]
    for version, file in found.items():
        command = [file, "-W", "ignore", "-c", EVERY_PYTHON, str(ROOT)]
        done = subprocess.run(command, input=json.dumps(sources), capture_output=True, text=True, check=True)
        assert json.loads(done.stdout) == expected, version


CODE = '''
"""A module."""

from methods import field

SIZE = 3


@register("a", source="this test")
class A(B):
    """A method."""

    gain: float = field(1.0, help="factor on the output")

    def build(self, shape, seed=0):
        """Builds it."""
        text = "said" + f"{shape!r}"
        return text, SIZE, seed  # as it is
'''


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ('"""A module."""', '"""Another."""'),
        ('"""A module."""', ""),
        ('"""A method."""', '"""A method.\n\n    In more words.\n    """'),
        ('        """Builds it."""\n', ""),
        ("SIZE = 3", 'SIZE = 3\n"""How large it is."""'),
        ("  # as it is", ""),
        ("SIZE = 3", "# Measured.\nSIZE = 3"),
        ("SIZE = 3", "\n\n\nSIZE=(3)"),
        ("return text, SIZE, seed", "return (\n            text,\n            SIZE,\n            seed,\n        )"),
        ('"said"', "'said'"),
        ('"said"', '"sa" "id"'),
        ("= 3", "= 0b11"),
        ("\n", "\r\n"),
    ],
)
def test_docstrings_comments_and_format_change_nothing(old, new):
    assert old in CODE and code_hash(CODE.replace(old, new)) == code_hash(CODE)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("SIZE = 3", "SIZE = 4"),
        ("SIZE = 3", "SIZE = 3.0"),
        ("SIZE = 3", "SIZE = True"),
        ("SIZE = 3", "SIZE = 3\nSHAPE = 2"),
        ("SIZE = 3", "SIZE: int = 3"),
        ("field(1.0", "field(1.5"),
        ("seed=0", "seed=1"),
        ("factor on the output", "factor on the input"),
        ('"said"', '"say"'),
        ("!r", "!s"),
        ("text, SIZE, seed", "text, seed, SIZE"),
        ("text, SIZE, seed", "text, SIZE, -seed"),
        ("class A(B)", "class A(C)"),
        ('@register("a", source="this test")\n', ""),
        ("import field", "import field, register"),
        ("from methods", "from .methods"),
        ("from methods", "from ..methods"),
    ],
)
def test_what_executes_changes_it(old, new):
    assert old in CODE and code_hash(CODE.replace(old, new)) != code_hash(CODE)


def test_a_class_that_is_a_docstring_is_one_that_passes():
    bodies = (TEXT, "pass", "...", f"{TEXT}\n    pass")
    assert len({code_hash(f"class A:\n    {body}") for body in bodies}) == 1


def test_code_may_be_deep_and_in_any_encoding():
    assert code_hash("a = " + " + ".join(["1"] * 900)) != code_hash("a = " + " + ".join(["1"] * 899))
    assert code_hash("# coding: latin-1\na = 'é'".encode("latin-1")) == code_hash("a = 'é'".encode())


@pytest.fixture
def package(tmp_path, monkeypatch):
    """A package with a class, its base, a helper it imports lazily, and a bystander."""
    folder = tmp_path / "pack_of_tests"
    (folder / "inner").mkdir(parents=True)
    files = {
        "__init__": "",
        "base": "class Base: pass",
        "helper": "x = 1",
        "bystander": "x = 1",
        "sibling": "x = 1",
        "inner/__init__": "x = 1",
        "inner/deep": "from .. import cousin\nx = 1",
        "cousin": "x = 1",
        "one": "from pack_of_tests.base import Base\nfrom bench.registry import lazy_module\nfrom . import sibling\n"
        "from .inner.deep import x\nhelper = lazy_module('pack_of_tests.helper')\nclass One(Base): pass",
    }
    for name, text in files.items():
        (folder / f"{name}.py").write_text(text)
    monkeypatch.syspath_prepend(tmp_path)
    yield folder
    for name in [name for name in sys.modules if name.startswith("pack_of_tests")]:
        del sys.modules[name]


@pytest.mark.parametrize("added", ["\ny = 2\n", "\n# y = 2\n", '\n"""y = 2"""\n'])
@pytest.mark.parametrize(
    ("file", "is_used"),
    [
        ("one", True),
        ("base", True),
        ("helper", True),
        ("sibling", True),
        ("inner/__init__", True),
        ("inner/deep", True),
        ("cousin", True),
        ("bystander", False),
    ],
)
def test_the_source_hash_follows_what_the_class_uses_and_nothing_else(package, file, is_used, added):
    cls = importlib.import_module("pack_of_tests.one").One
    before = source_hash(cls)
    with open(package / f"{file}.py", "a") as handle:
        handle.write(added)
    source_hash.cache_clear()
    assert (source_hash(cls) != before) == (is_used and added == "\ny = 2\n")


def test_a_methods_hash_does_not_depend_on_what_is_imported():
    code = "from methods import methods; from bench.plan.identity import source_hash; print(source_hash(methods['ivae'].cls))"
    early = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout.strip()
    import methods.nets
    from methods import methods as registry

    assert methods.nets and source_hash(registry["ivae"].cls) == early


def test_seeds_stay_as_they_are():
    assert [stream_seed(0, 1, 0, 0), stream_seed(7, 2, 3, 1)] == [2333092236187763913, 6919797921778749983]
    assert data_seed(5, 2).generate_state(2).tolist() == [811946795, 4286560173]
    assert tuning_root(0) == 15842566687281505759 and tuning_quantile(0, 3, "alpha") == 0.6176275461647733
    assert digest(["a", {"b": 1.5, "a": None}]) == "452e85d2b81640b0"


def test_streams_below_a_root_seed_do_not_meet():
    keys = [
        (root, stream, seed, restart)
        for root in range(3)
        for stream in (1, 2)
        for seed in range(9)
        for restart in range(4)
    ]
    seeds = {stream_seed(*key) for key in keys}
    assert len(seeds) == len(keys) and all(0 <= seed < 2**63 for seed in seeds)
    assert all(tuning_root(root) >= 2**63 for root in range(3))
    assert np.unique(
        [data_seed(root, seed).generate_state(2) for root in range(3) for seed in range(9)], axis=0
    ).shape == (27, 2)
