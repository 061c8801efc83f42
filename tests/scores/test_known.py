"""Scores of encoders whose quality is known: each cell that follows from a definition is right, and the page shows what is computed."""

import re
from pathlib import Path

import numpy as np
import pytest

from bench import cli
from bench.scores import ON_DEMAND, SCORES, known, load_all

pytestmark = [pytest.mark.filterwarnings("error"), pytest.mark.xdist_group("known")]
PAGE = (Path(__file__).resolve().parents[2] / "docs" / "metrics.md").read_text()
load_all()
RECORDS = SCORES | ON_DEMAND
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
    "constant": [
        *((name, 0, 0) for name in ("mcc_spearman", "mcc_pearson", "mcc_within", "mcc_style", "coverage")),
        *((name, 0, 0) for name in ("r2_component", "r2_linear", "r2_block", "r2_content")),
    ],
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


KINDS = ("mcc_spearman", "mcc_pearson", "mcc_within")
SIGNED, ADJUSTED, NULL, HIGH = (
    [f"{kind}_{what}" for kind in KINDS] for what in ("signed", "adjusted", "null", "null_95")
)
OF_CHANCE = np.sqrt(2 / np.pi / 1000)  # mean |correlation| of 1000 unrelated points
# 95 % quantile of the mean of four: each is half normal, with variance (1 - 2 / pi) / 1000.
HIGH_CHANCE = OF_CHANCE + 1.645 * np.sqrt((1 - 2 / np.pi) / 1000 / 4)
NULLS = [*((name, OF_CHANCE, 0.003) for name in NULL), *((name, HIGH_CHANCE, 0.004) for name in HIGH)]
ALL_RIGHT = [
    *((name, 1, 1e-9) for name in ("coverage", *SIGNED, *ADJUSTED, "dci_s")),
    *((name, 1, 0.01) for name in ("dci_d", "dci_c", "dci_i", "class_monotone")),
    *NULLS,
    ("info_m", 1, 0.02),
    ("info_c", 1, 0.02),
    ("mig", 1, 0.08),  # 20 x 20 bins of unrelated numbers have about 400 / 2000 nats of the entropy's 3
    ("tmex", 0.6, 2.4),  # 12 tests at one in twenty: more than 3 are wrong with probability .002
    ("tmex_own", 1, 0.03),
    ("tmex_others", 0, 0.01),
]
CELLS["identity"] += [
    *ALL_RIGHT,
    *((name, 1, 1e-6) for name in ("mcc_cca", "class_permutation", "class_linear", "info_e", "dci_e")),
    ("sap", 1, 0.01),
]
MOMENTS = np.array([EXP, CUBE, moment(np.tanh), moment(np.cbrt)])
CELLS["permuted, distorted"] += [
    *(cell for cell in ALL_RIGHT if "pearson_signed" not in cell[0] and "pearson_adjusted" not in cell[0]),
    ("mcc_pearson_signed", MOMENTS.mean(), SAMPLED),
    ("mcc_cca", MOMENTS.mean(), SAMPLED),
    *((name, (MOMENTS**2).mean(), 2 * SAMPLED) for name in ("class_permutation", "class_linear", "info_e", "sap")),
]
CELLS["rotated"] += [
    ("mcc_pearson_signed", TURNED, SAMPLED),
    ("mcc_spearman_signed", 6 / np.pi * np.arcsin(TURNED / 2), SAMPLED),
    ("coverage", 6 / np.pi * np.arcsin(TURNED / 2), SAMPLED),
    *NULLS,
    *((name, 1, 1e-6) for name in ("mcc_cca", "class_linear", "info_e")),
    ("dci_e", 1, 1e-3),
    ("class_permutation", 0.5, 2 * SAMPLED),
    ("class_monotone", 0.5, 2 * SAMPLED),
    ("dci_d", 1 - np.log(2) / np.log(4), 0.03),  # of two latents in equal parts
    ("dci_c", 1 - np.log(2) / np.log(4), 0.03),
    ("info_m", (1 / 2 - 1 / 4) / (1 - 1 / 4), SAMPLED),
    ("info_c", (1 / 2 - 1 / 4) / (1 - 1 / 4), SAMPLED),
    ("mig", 0, 0.03),
    ("sap", 0, 0.06),
    ("tmex", 4.5, 2.5),  # each depends on its partner too: 4, and at one in twenty some of the other 8
    ("tmex_own", 0.5, SAMPLED),
    ("tmex_others", 0.5, SAMPLED),
]
CELLS["entangled"] += [("tmex", 12, 2), ("dci_s", 1, 0), *NULLS]
CELLS["duplicated"] += [
    *(cell for cell in ALL_RIGHT if cell[0] not in ("dci_c", "info_c", "mig", "dci_s")),
    *((name, 1, 1e-6) for name in ("mcc_cca", "class_permutation", "class_linear", "info_e", "dci_e")),
    ("dci_c", 1 - np.log(2) / np.log(8), 0.02),
    ("info_c", (1 / 2 - 1 / 8) / (1 - 1 / 8), 0.02),
    ("dci_s", 0.5, 0),
    ("mig", 0, 1e-9),
    ("sap", 0, 1e-9),
]
CELLS["dropped"] += [
    *((name, 3 / 4, 0.02) for name in (*SIGNED, *ADJUSTED, "coverage", "mcc_cca", "class_permutation", "class_linear")),
    *((name, 3 / 4, 0.02) for name in ("class_monotone", "info_e", "dci_c", "tmex_own", "sap")),
    *((name, 3 / 4 * OF_CHANCE, 0.003) for name in NULL),
    ("mig", 3 / 4, 0.06),
    ("dci_d", 1 + (3 / 4 * np.log(3 / 4) + 1 / 4 * np.log(1 / 4)) / np.log(4), 0.02),  # a third each of the lost latent
    ("info_m", 1, 0.02),
    ("dci_e", 1, 1e-3),
    ("dci_s", 4 / 3, 1e-9),
    ("tmex", 1.5, 2.5),  # the lost one, and 9 tests at one in twenty
    ("tmex_others", 0, 0.01),
]
KNOW_NOTHING = [
    *((name, 0, CHANCE) for name in (*SIGNED, *ADJUSTED, "mcc_cca", "dci_d", "dci_c", "mig", "sap", "info_e")),
    *((name, 0, CHANCE) for name in ("class_permutation", "class_monotone", "class_linear", "tmex_own", "tmex_others")),
    ("dci_i", 0, 0.1),
    ("dci_e", 1, 0.01),
    ("dci_s", 1, 0),
]
CELLS["constant"] += [
    *KNOW_NOTHING,
    *((name, 0, 0) for name in (*NULL, *HIGH, "info_m", "info_c")),
    ("tmex", 4, 0),
]
CELLS["noise"] += [*KNOW_NOTHING, *NULLS, ("coverage", CHANCE, CHANCE), ("tmex", 4.4, 2.6)]
CELLS["dependent, identity"] += [
    *((name, 1, 1e-9) for name in ("coverage", *SIGNED, *ADJUSTED, "dci_s")),
    *((name, 1, 1e-6) for name in ("mcc_cca", "class_permutation", "class_linear", "info_e", "dci_e")),
    ("class_monotone", 1, 0.01),
    ("sap", 1 - 0.9**2, SAMPLED),
    ("tmex", 0.6, 2.4),
    ("tmex_own", 1 / np.linalg.inv(0.1 * np.eye(4) + 0.9)[0, 0], 0.02),  # the variance that the others leave
    ("tmex_others", 0, 0.01),
]
CELLS["dependent, one for all"] += [
    ("class_permutation", 0.925**2 / 0.935, SAMPLED),
    ("class_linear", 0.925**2 / 0.9275, SAMPLED),
    ("info_e", 0.925**2 / 0.9275, SAMPLED),
    # One direction of four is known: the mean, but for the noise of the mean of four estimates. The rest is chance, with error .014.
    ("mcc_cca", np.sqrt(0.925 / 0.9275) / 4, 0.045),
    *((name, 0, 0.02) for name in ("info_m", "info_c", "mig", "sap")),
    ("tmex", 12, 1),
]
CELLS["domains alone"] += [
    *((name, 0, 0) for name in ("mcc_within_signed", "mcc_within_null", "mcc_within_adjusted")),
    ("mcc_pearson_signed", np.sqrt(0.9), SAMPLED),
    *((name, 0.9, SAMPLED) for name in ("class_permutation", "class_monotone", "class_linear", "info_e", "dci_i")),
]


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
    assert max(len(line) for line in said.splitlines() if not line.startswith("written: ")) <= 80


def test_a_file_that_is_no_markdown_is_a_sentence(capsys):
    assert cli.main(["metrics", "--out", "table.csv"]) == 2
    assert "name a .md file in a folder that exists" in capsys.readouterr().err
