"""What the registry refuses before anything trains, and how it reads the values of fields."""

from dataclasses import dataclass, make_dataclass
from typing import Any, Optional

import pytest

from bench.registry import (
    CHANGES,
    SPARSITY,
    Entry,
    Registry,
    UsageError,
    check_types,
    choice,
    field,
    loguniform,
    nearest,
    uniform,
)
from datasets import datasets
from methods import methods


def entry(name, **kinds):
    """An entry whose fields have these annotations."""
    fields = [(field_name, kind, field(None, help="a field")) for field_name, kind in kinds.items()]
    return Entry(name, make_dataclass(name, fields, frozen=True), "this test")


def test_every_field_of_this_project_has_one_type_in_all_methods_and_data_sets():
    check_types([*methods, *datasets])


@pytest.mark.parametrize(
    ("one", "other"),
    [(float, str), (int, float), (bool, int), (int | None, float), (Optional[str], bool)],  # noqa: UP045
)
def test_a_field_of_two_types_is_refused_with_both_owners_and_what_to_do(one, other):
    with pytest.raises(UsageError, match="'weight' is .* in second and .* in first; rename one of them"):
        check_types([entry("first", weight=one), entry("between", width=int), entry("second", weight=other)])


@pytest.mark.parametrize("kinds", [(int, int | None, Optional[int]), (str | None, str), (bool, bool)])  # noqa: UP045
def test_a_field_that_may_be_none_has_the_type_of_its_other_values(kinds):
    check_types([entry(f"method{i}", weight=kind) for i, kind in enumerate(kinds)])


@pytest.mark.parametrize("kind", [list, list[int], int | str, Any, None, "float | int | None"])
def test_a_field_of_a_type_that_no_table_can_hold_is_refused(kind):
    with pytest.raises(UsageError, match=r"mine\.weight: annotate it as bool, int, float or str"):
        check_types([entry("mine", weight=kind)])


@pytest.mark.parametrize(
    ("kind", "text", "value"),
    [
        (int, "3.0", 3),
        (int | None, "none", None),
        (float, "1e-3", 0.001),
        (float, 2, 2.0),
        (bool, "False", False),
        (str | None, "l1", "l1"),
    ],
)
def test_a_value_becomes_the_type_of_its_field(kind, text, value):
    found = entry("mine", weight=kind).check("weight", text)
    assert found == value and type(found) is type(value)


@pytest.mark.parametrize(
    ("kind", "text", "words"),
    [
        (int, "3.5", "a whole number"),
        (int, True, "a whole number"),
        (int, "none", "a whole number"),
        (float | None, "nan", "a number"),
        (bool, "maybe", "true or false"),
        (str, 3, "a word"),
    ],
)
def test_a_value_of_another_type_is_one_sentence(kind, text, words):
    with pytest.raises(UsageError, match=rf"mine\.weight={text}: expected {words}"):
        entry("mine", weight=kind).check("weight", text)


@pytest.fixture
def registry(tmp_path, monkeypatch):
    """A registry of methods, in a package that has none."""
    (tmp_path / "package_without_methods").mkdir()
    (tmp_path / "package_without_methods" / "__init__.py").touch()
    monkeypatch.syspath_prepend(tmp_path)
    return Registry("method", "package_without_methods")


def corner(registry, name, ladder="steps", assumes=()):
    @dataclass(frozen=True)
    class Corner:
        """A corner."""

    Corner.__qualname__, Corner.ladder, Corner.assumes = name, ladder, assumes
    return registry.register(name, source="this test")(Corner)


def test_four_corners_make_a_ladder_and_a_second_method_on_one_is_refused(registry):
    for name, assumes in {"a": (), "b": {CHANGES}, "c": {SPARSITY}, "d": {CHANGES, SPARSITY}}.items():
        corner(registry, name, assumes=assumes)
    with pytest.raises(UsageError, match="e and b are both the corner 'changes' of the ladder 'steps'"):
        corner(registry, "e", assumes={CHANGES})
    corner(registry, "f", ladder="others", assumes={CHANGES})
    assert registry.names() == ["a", "b", "c", "d", "f"]


def test_methods_on_no_ladder_may_assume_the_same_and_a_subclass_is_on_none(registry):
    parent = corner(registry, "a")
    corner(registry, "b", ladder="")
    corner(registry, "c", ladder="")

    @registry.register("d", source="this test")
    @dataclass(frozen=True)
    class Child(parent):
        """On no ladder, since it does not say so."""

    assert registry["d"].facts.ladder == "" and registry["a"].facts.ladder == "steps"


def test_a_class_that_is_read_again_takes_its_own_place(registry):
    first, second = (corner(registry, "a", assumes={CHANGES}) for _ in range(2))
    assert registry["a"].cls is second is not first


def test_an_assumption_that_is_unknown_is_refused_with_the_nearest(registry):
    with pytest.raises(UsageError, match="a assumes 'change'; did you mean 'changes'"):
        corner(registry, "a", assumes={"change"})


def test_a_module_that_is_dropped_leaves_its_corners_free(registry):
    corner(registry, "a")
    registry.drop(__name__)
    corner(registry, "b")
    assert registry.names() == ["b"]


def test_a_search_space_is_its_distribution():
    assert [uniform(2, 4).quantile(p) for p in (0, 0.5)] == [2, 3]
    assert [loguniform(0.01, 100).quantile(p) for p in (0, 0.5)] == pytest.approx([0.01, 1])
    assert [choice("a", "b").quantile(p) for p in (0, 0.49, 0.5, 0.99)] == ["a", "a", "b", "b"]


@pytest.mark.parametrize(
    ("name", "options", "said"),
    [
        ("steps", ["sources", "noise"], "there is: sources, noise"),
        ("domain", ["domains", "noise"], "did you mean 'domains'?"),
        ("synergy", ["synergy-vae", "vae"], "did you mean 'synergy-vae'?"),
        ("anything", [], "there is none"),
    ],
)
def test_the_nearest_name_is_one_that_could_have_been_meant(name, options, said):
    assert nearest(name, options) == said
