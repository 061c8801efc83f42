"""Scores of encoders whose quality is known: each cell that follows from a definition is right, and the page shows what is computed."""

import re
from pathlib import Path

import numpy as np
import pytest

from bench import cli
from bench.scores import SCORES, known

pytestmark = pytest.mark.filterwarnings("error")
PAGE = (Path(__file__).resolve().parents[2] / "docs" / "metrics.md").read_text()
RECORDS = SCORES
CHANCE = 0.03  # mean |correlation| of unrelated points is sqrt(2 / (1000 pi)) = .025; no mean of four is above .06
SAMPLED = 0.03  # standard error of a correlation of 1000 points
TURNED = np.sqrt(0.5)
EXP, CUBE = (
    1 / np.sqrt(np.e - 1),
    3 / np.sqrt(15),
)  # correlation of a standard normal number with its exponential and its cube


def moment(function):
    """The correlation of a standard normal number with a function of it, by quadrature."""
    nodes, weights = np.polynomial.hermite_e.hermegauss(200)
    weights, values = weights / weights.sum(), function(nodes)
    mean = weights @ values
    return abs(weights @ (nodes * values)) / np.sqrt(weights @ (values - mean) ** 2)


@pytest.fixture(scope="module")
def table():
    return known.table(RECORDS)


CELLS = {  # by encoder: score, its right value, and how far a sample of 1000 points may be from it
    "identity": [
        *((name, 1, 1e-9) for name in ("mcc_spearman", "mcc_pearson", "mcc_within", "mcc_style")),
        ("r2_linear", 1, 1e-6),
        ("r2_component", 1, 0.01),
        ("r2_block", 1, 0.02),
        ("r2_content", 1, 0.02),
    ],
    "permuted, distorted": [
        *((name, 1, 1e-9) for name in ("mcc_spearman", "mcc_within", "mcc_style")),
        ("mcc_pearson", np.mean([EXP, CUBE, moment(np.tanh), moment(np.cbrt)]), SAMPLED),
        ("r2_component", 1, 0.01),
        ("r2_block", 1, 0.02),
        ("r2_linear", np.mean([EXP**2, CUBE**2, moment(np.tanh) ** 2, moment(np.cbrt) ** 2]), 2 * SAMPLED),
    ],
    "rotated": [
        ("mcc_pearson", TURNED, SAMPLED),
        ("mcc_spearman", 6 / np.pi * np.arcsin(TURNED / 2), SAMPLED),
        ("r2_component", 0.5, 2 * SAMPLED),
        ("r2_linear", 1, 1e-6),
        ("r2_block", 1, 0.02),
        ("r2_content", 1, 0.02),
    ],
    "entangled": [("r2_block", 1, 0.05)],
    "duplicated": [
        *((name, 1, 1e-9) for name in ("mcc_spearman", "mcc_pearson", "mcc_within")),
        ("r2_linear", 1, 1e-6),
        ("r2_component", 1, 0.01),
        ("r2_block", 1, 0.02),
    ],
    "dropped": [
        *((name, 3 / 4, 0.005) for name in ("mcc_spearman", "mcc_pearson", "mcc_within")),
        ("mcc_style", 1, 1e-9),
        ("r2_component", 3 / 4, 0.01),
        ("r2_linear", 3 / 4, 0.02),
        ("r2_block", 3 / 4, 0.02),
        ("r2_content", 1 / 2, 0.02),
    ],
    "constant": [(name, 0, 0) for topic in known.TOPICS[:2] for name in topic.scores],
    "noise": [
        *((name, CHANCE, CHANCE) for name in ("mcc_spearman", "mcc_pearson", "mcc_within", "mcc_style")),
        *((name, 0, 0.03) for name in ("r2_component", "r2_linear", "r2_block", "r2_content")),
    ],
    "dependent, identity": [
        *((name, 1, 1e-9) for name in ("mcc_spearman", "mcc_pearson", "mcc_within", "mcc_style")),
        ("r2_linear", 1, 1e-6),
    ],
    "dependent, one for all": [
        # Of the mean of four latents and noise of variance .01, with each latent: cov = var of the mean = (1 + 3 * .9) / 4 = .925.
        ("mcc_pearson", 0.925 / np.sqrt(0.935), SAMPLED),
        ("r2_component", 0.925**2 / 0.935, SAMPLED),
        # All four estimates: the noise of their mean is a quarter of that.
        ("r2_linear", 0.925**2 / 0.9275, SAMPLED),
    ],
    "domains alone": [
        ("mcc_within", 0, 0),
        ("mcc_pearson", np.sqrt(0.9), SAMPLED),
        ("r2_linear", 0.9, SAMPLED),
        ("r2_block", 0.9, SAMPLED),
    ],
}


@pytest.mark.parametrize("encoder", [each.name for each in known.ENCODERS])
def test_every_cell_that_follows_from_a_definition_is_right(encoder, table):
    wrong = [
        f"{name} is {table[encoder][name]:.4f} and should be {right:.4f}"
        for name, right, tolerance in CELLS[encoder]
        if not abs(table[encoder][name] - right) <= tolerance + 1e-12
    ]
    assert not wrong, wrong


def test_every_score_of_latents_is_in_one_topic():
    of_latents = {
        name
        for name, record in RECORDS.items()
        if record.compute and not record.per_latent and not name.startswith("support_")
    }
    named = [name for topic in known.TOPICS for name in topic.scores]
    assert sorted(named) == sorted(of_latents)


def test_the_committed_table_is_what_the_command_gives(table, capsys, tmp_path, monkeypatch):
    """Texts are the same, numbers to rounding: another machine may round a sum in another way."""
    monkeypatch.setattr(known, "table", lambda *_: table)
    assert cli.main(["metrics", "--out", str(tmp_path / "table.md")]) == 0
    written = (tmp_path / "table.md").read_text()
    shown = PAGE[PAGE.index("## Known encoders") :]
    number = re.compile(r"(?<![\w.])-?\d+\.\d\d(?![\w.])")
    words = [re.sub(r"[ :-]+", " ", number.sub("#", text)) for text in (written, shown)]
    assert words[0] == words[1], "write it again: python run_bench.py metrics --out FILE.md"
    numbers = [np.array([float(found) for found in number.findall(text)]) for text in (written, shown)]
    np.testing.assert_allclose(*numbers, atol=0.0101, rtol=0)
    said = capsys.readouterr().out
    assert all(each.name in said for each in known.ENCODERS)
    assert max(map(len, said.splitlines())) <= 80


def test_a_file_that_is_no_markdown_is_a_sentence(capsys):
    assert cli.main(["metrics", "--out", "table.csv"]) == 2
    assert "name a .md file in a folder that exists" in capsys.readouterr().err
