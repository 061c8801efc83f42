import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.plan.grid import parse_grid, parse_settings, parse_values
from bench.registry import UsageError
from datasets import datasets
from methods import methods

DATASET = datasets["sparse-mixing"]
METHODS = [methods[name] for name in ("ivae", "synergy-vae", "pca")]


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("2..5", ["2", "3", "4", "5"]),
        ("0..1:0.25", ["0", "0.25", "0.5", "0.75", "1"]),
        ("0..1:0.4", ["0", "0.4", "0.8"]),
        ("3..3", ["3"]),
        ("2..4,8", ["2", "3", "4", "8"]),
        ("-1..1", ["-1", "0", "1"]),
        ("100..300:100", ["100", "200", "300"]),
        ("a, b,c", ["a", "b", "c"]),
    ],
)
def test_values_are_ranges_lists_and_their_mixtures(text, values):
    assert parse_values(text) == values


@given(st.integers(-50, 50), st.integers(0, 60))
def test_a_whole_range_is_pythons_with_its_end(start, length):
    assert [int(v) for v in parse_values(f"{start}..{start + length}")] == list(range(start, start + length + 1))


@pytest.mark.parametrize(
    "text",
    ["5..2", "2..", "..3", "2..4:0", "2..4:-1", "a..b", "1,,2", "0..1:1e-9", "1..2..3", "0..inf", "nan..1"],
)
def test_a_range_that_is_none_is_a_usage_error(text):
    with pytest.raises(UsageError):
        parse_values(text)


def test_a_key_is_a_field_of_the_data_set_of_methods_or_of_one_by_name():
    axes = parse_grid(["domains=2..4", "alpha=0.1,1", "ivae.beta=1,2", "width=32"], DATASET, METHODS)
    assert axes == {
        "sparse-mixing": {"domains": [2, 3, 4]},
        "synergy-vae": {"alpha": [0.1, 1.0], "width": [32]},
        "ivae": {"beta": [1.0, 2.0], "width": [32]},
    }


def test_settings_are_typed():
    settings = parse_settings(
        ["synergy-vae.alpha=1", "ivae.prior_mean=false", "sparse-mixing.twins=none"], DATASET, METHODS
    )
    assert settings == {"synergy-vae": {"alpha": 1.0}, "ivae": {"prior_mean": False}, "sparse-mixing": {"twins": None}}
    assert isinstance(settings["synergy-vae"]["alpha"], float)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("domain=2..4", "did you mean 'domains'"),
        ("domains", "KEY=VALUES"),
        ("domains=2.5", "expected a whole number"),
        ("domains=two", "expected a whole number"),
        ("domains=0..3", r"in \[1, 500\]"),
        ("violation=0..2", r"in \[0, 1\]"),
        ("violation=nan", "expected a number"),
        ("ivea.beta=1", "did you mean 'ivae'"),
        ("vae.beta=1", "takes no part in this run"),
        ("ivae.alhpa=1", "ivae has no field 'alhpa'"),
        ("ivae.prior_mean=maybe", "true or false"),
    ],
)
def test_a_wrong_key_value_method_or_type_names_what_would_be_right(text, words):
    with pytest.raises(UsageError, match=words):
        parse_grid([text], DATASET, METHODS)


def test_an_axis_named_twice_is_refused():
    with pytest.raises(UsageError, match="twice"):
        parse_grid(["domains=2", "domains=3"], DATASET, METHODS)


def test_a_setting_needs_its_owner():
    with pytest.raises(UsageError, match="NAME.FIELD=VALUE"):
        parse_settings(["alpha=1"], DATASET, METHODS)
