"""Conditions on trials, as `domains <= 4 and method != "pca"`: read as Python's syntax, evaluated by the few rules below, never executed."""

from __future__ import annotations

import ast
import operator
import warnings
from typing import Any

import numpy as np
import pandas as pd

from bench.registry import UsageError, nearest

COMPARISONS: dict[type, Any] = {
    ast.Eq: operator.eq,
    ast.NotEq: operator.ne,
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
}
MIRRORED: dict[type, type] = {ast.Lt: ast.Gt, ast.Gt: ast.Lt, ast.LtE: ast.GtE, ast.GtE: ast.LtE}
WORDS = {"none": None, "None": None, "true": True, "True": True, "false": False, "False": False}
POSSIBLE = "compare columns with constants, as \"2 <= domains <= 4 and method in ['vae', 'ivae'] and twins == none\""


def select(trials: pd.DataFrame, where: str) -> pd.DataFrame:
    """The trials for which a condition on their columns holds. Raises UsageError where it has no meaning or holds for none.

    A condition is a comparison of a column with constants (`==`, `!=`, `<`, `<=`, `>`, `>=`, `in` and `not in` a list), or several,
    chained or joined by `and`, `or` and `not`. `none` stands for a missing value, which is equal to no other and neither smaller nor greater.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Python's opinion of a text's backslashes
            tree = ast.parse(where.strip(), mode="eval").body
        chosen = _holds(tree, trials)
    except (SyntaxError, ValueError, OverflowError, RecursionError, MemoryError) as error:
        if isinstance(error, UsageError):
            raise UsageError(f"--where {where!r}: {error}") from None
        raise UsageError(f"--where {where!r} cannot be read as a condition; {POSSIBLE}") from None
    if not chosen.any():
        raise UsageError(f"--where {where!r} holds for none of the {len(trials)} trials")
    return trials[chosen].reset_index(drop=True)


def _holds(node: ast.expr, trials: pd.DataFrame) -> np.ndarray:
    """For which trials a condition holds, (n_trials,) boolean."""
    if isinstance(node, ast.BoolOp):
        each = [_holds(value, trials) for value in node.values]
        return np.logical_and.reduce(each) if isinstance(node.op, ast.And) else np.logical_or.reduce(each)
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not):
        return ~_holds(node.operand, trials)
    if isinstance(node, ast.Compare):
        sides = [node.left, *node.comparators]
        links = zip(sides, node.ops, sides[1:], strict=False)
        return np.logical_and.reduce([_compared(*link, trials) for link in links])
    raise UsageError(f"`{ast.unparse(node)}` is no condition; {POSSIBLE}")


def _compared(left: ast.expr, op: ast.cmpop, right: ast.expr, trials: pd.DataFrame) -> np.ndarray:
    kind = type(op)
    if _is_column(right) and not _is_column(left) and kind in COMPARISONS:
        left, right, kind = right, left, MIRRORED.get(kind, kind)
    if not _is_column(left):
        raise UsageError(f"`{ast.unparse(left)}` is no column; {POSSIBLE}")
    name = left.id  # type: ignore[attr-defined]
    if name not in trials:
        raise UsageError(f"the trials have no field {name!r}; {nearest(name, list(map(str, trials)))}")
    if kind in (ast.In, ast.NotIn):
        if not isinstance(right, (ast.List, ast.Tuple, ast.Set)):
            raise UsageError(f"`{ast.unparse(right)}` is no list; write one as {name} in [1, 2]")
        found = [_compare(trials[name], operator.eq, _constant(each)) for each in right.elts]
        within = np.logical_or.reduce(found) if found else np.zeros(len(trials), dtype=bool)
        return within if kind is ast.In else ~within
    if kind not in COMPARISONS:
        raise UsageError(f"'is' is no comparison of values; write {name} == none")
    return _compare(trials[name], COMPARISONS[kind], _constant(right))


def _compare(column: pd.Series, compare: Any, constant: Any) -> np.ndarray:
    name = column.name
    missing = column.isna().to_numpy()
    values = column.to_numpy(dtype=object)[~missing]
    if any(isinstance(value, (list, tuple, dict, np.ndarray)) for value in values):
        raise UsageError(f"{name} holds a list for each trial and cannot be compared")
    is_order = compare not in (operator.eq, operator.ne)
    if constant is None:
        if is_order:
            raise UsageError(
                f"none is neither smaller nor greater than anything; write {name} == none or {name} != none"
            )
        return missing if compare is operator.eq else ~missing
    is_text = [isinstance(value, str) for value in values]
    if any(is_text) and not all(is_text):
        raise UsageError(f"{name} holds texts and numbers and cannot be compared")
    if len(values) and isinstance(constant, str) != any(is_text):
        what, other = ("texts", f"{name} == '{constant}'") if any(is_text) else ("numbers", f"{name} == {values[0]}")
        raise UsageError(f"{name} holds {what}, and {constant!r} is none; write as {other}")
    result = missing & (compare is operator.ne)
    result[~missing] = [bool(compare(value, constant)) for value in values]
    return result


def _is_column(node: ast.expr) -> bool:
    return isinstance(node, ast.Name) and node.id not in WORDS


def _constant(node: ast.expr) -> Any:
    """A number, a text, true or false, or None. Raises UsageError for anything else."""
    if isinstance(node, ast.Name) and node.id in WORDS:
        return WORDS[node.id]
    sign = 1
    while isinstance(node, ast.UnaryOp) and isinstance(node.op, (ast.USub, ast.UAdd)):
        sign, node = (-sign if isinstance(node.op, ast.USub) else sign), node.operand
    value = node.value if isinstance(node, ast.Constant) else ...
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return sign * value
    if isinstance(value, (str, bool)) or value is None:
        return value
    raise UsageError(f"`{ast.unparse(node)}` is no constant; {POSSIBLE}")
