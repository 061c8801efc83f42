"""Numbers and names as tables, figures and reports write them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pandas as pd


def value_text(value: Any) -> str:
    """A field's value as one would type it: 3000.0, which a NaN in its column makes of 3000, is 3000 again."""
    if pd.isna(value):
        return "none"
    if isinstance(value, float):
        return str(int(value)) if value.is_integer() else repr(float(value))
    return str(value)


def place_text(fields: Mapping[Any, Any]) -> str:
    """Some fields with their values, as "domains=3, violation=0.5"."""
    return ", ".join(f"{field}={value_text(value)}" for field, value in fields.items())


def number(value: float, digits: int = 3) -> str:
    """A score without the zero before its point; empty for NaN."""
    if pd.isna(value):
        return ""
    text = f"{value:.{digits}f}"
    text = text.replace("-0.", "-.") if text.startswith("-0.") else text.removeprefix("0") if value < 1 else text
    return text.removeprefix("-") if not text.strip("-.0") else text


def with_interval(mean: float, low: float, high: float, digits: int = 3) -> str:
    """A mean and the ends of its interval as ".918 [.883, .947]", without what is NaN."""
    return number(mean, digits) + ("" if pd.isna(low) else f" [{number(low, digits)}, {number(high, digits)}]")


def difference_text(row: Mapping[Any, Any] | pd.Series, name: str, digits: int = 3) -> str:
    """A difference with its sign and the interval in `name`_low and `name`_high: "+.031 [.012, .050]"; empty for NaN."""
    text = with_interval(row[name], row[f"{name}_low"], row[f"{name}_high"], digits)
    return text if text.startswith("-") or not text else f"+{text}"


def p_text(p: float) -> str:
    """A p-value to three digits; empty for NaN."""
    return "<.001" if p < 0.0005 else number(p)


def seeds_text(summarised: pd.DataFrame) -> str:
    """How many data seeds stand behind the means of a `bench.report.results.summary`: "5 data seeds", "4 to 5 data seeds", "5 re-splits of one data set"."""
    counts = summarised.loc[summarised["n_seeds"] > 0, "n_seeds"]
    if counts.empty:
        return "no data seed"
    few, many = counts.min(), counts.max()
    seed = "re-split" if "resplits" in summarised else "data seed"
    text = (f"{many}" if few == many else f"{few} to {many}") + f" {seed}{'s' if many > 1 else ''}"
    return f"{text} of one data set" if "resplits" in summarised else text


def seconds_text(value: float) -> str:
    """Seconds for a table; a dash for NaN."""
    return "–" if pd.isna(value) else f"{value:.1f}" if value < 100 else f"{value:.0f}"
