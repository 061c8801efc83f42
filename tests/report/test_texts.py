import pytest

from bench.report import texts


@pytest.mark.parametrize(
    ("value", "text"), [(0.9512, ".951"), (1.0, "1.000"), (-0.25, "-.250"), (1.5, "1.500"), (float("nan"), ""), (-1e-9, ".000")]
)  # fmt: skip
def test_numbers_are_printed_as_papers_do(value, text):
    assert texts.number(value) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [(3000.0, "3000"), (0.25, "0.25"), (7, "7"), (None, "none"), (float("nan"), "none"), ("l1", "l1")],
)
def test_a_fields_value_is_written_as_one_would_type_it(value, text):
    assert texts.value_text(value) == text


def test_a_difference_has_a_sign_and_a_missing_one_no_text():
    row = {
        "d": 0.031,
        "d_low": -0.012,
        "d_high": 0.05,
        "e": float("nan"),
        "e_low": float("nan"),
        "e_high": float("nan"),
    }
    assert texts.difference_text(row, "d") == "+.031 [-.012, .050]"
    assert texts.difference_text(row, "e") == ""
