"""The reference results: what the README and docs/reference.md show is what the committed tables give."""

import json
import re
from pathlib import Path

import numpy as np

from bench.report import leaderboard, losses, pairs, recovery, results, synergy
from bench.run.store import Store
from methods import methods

ROOT = Path(__file__).resolve().parents[2]
REFERENCE = ROOT / "results" / "reference"
README = (ROOT / "README.md").read_text()
PAGE = (ROOT / "docs" / "reference.md").read_text()
NUMBER = re.compile(r"\d*\.?\d+(?:e[-+]\d+)?")


def test_the_committed_tables_are_those_of_the_committed_trials(tmp_path):
    own = results.gather([Store(REFERENCE)])
    for module in (leaderboard, losses, pairs, recovery, synergy):
        module.write(own, tmp_path)
    written = list(tmp_path.iterdir())
    assert len(written) == 11 and not own.damages
    for path in written:
        (text, numbers), (expected, those_expected) = map(told_apart, (path, REFERENCE / path.name))
        assert text == expected, path.name
        # Processors differ in the last digits of a sum.
        np.testing.assert_allclose(numbers, those_expected, rtol=1e-9, atol=1e-12, err_msg=path.name)


def told_apart(path):
    """The text of a file without its numbers, and these."""
    text = path.read_text()
    return NUMBER.sub("#", text), np.array(NUMBER.findall(text), float)


def test_the_page_shows_the_reference_verdicts_command_and_figures():
    verdicts = [line for line in (REFERENCE / "synergy.md").read_text().splitlines() if line.startswith("- VAE ladder")]
    assert verdicts and all(verdict.removeprefix("- ") in " ".join(PAGE.split()) for verdict in verdicts)
    manifest = json.loads((REFERENCE / "manifest.json").read_text())
    assert f"python {manifest['commands'][0]['command']}" in PAGE.splitlines()
    for figure in ("phase_diagram", "synergy"):
        assert (REFERENCE / "figures" / f"{figure}.png").exists()
        assert f"results/reference/figures/{figure}.png" in PAGE


def cells_of(lines):
    """The cells of the rows of a Markdown table, each row by its heading."""
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines if line.startswith("|")]
    return [dict(zip(rows[0], row, strict=True)) for row in rows[2:]]


def test_the_readmes_short_table_has_the_numbers_of_the_reference_leaderboard():
    board, by_cell = (REFERENCE / "leaderboard.md").read_text().split("by cell")
    everything = {row["method"]: row for row in cells_of(board.splitlines())}
    cells = {row["method"]: row for row in cells_of(by_cell.splitlines())}
    shown = cells_of(README.split("## Results")[1].split("\n- ")[0].splitlines())
    assert {"synergy-vae", "flow-vae", "sparse-vae", "vae", "supervised", "identity"} <= {
        row["method"] for row in shown
    }
    for row in shown:
        name, facts = row["method"], methods[row["method"]].facts
        assert row["all 16 cells"] == everything[name]["MCC Spearman"]
        for domains in (2, 9):
            place = f"domains={domains}, twins=none, violation=0"
            assert row[f"{domains} domains, no violation"] == cells[name][place]
        assert row["assumes"] == (facts.corner if facts.role == "method" else facts.role)


def test_the_tables_of_methods_have_every_registered_method_in_its_corner():
    page = (ROOT / "docs" / "methods.md").read_text()
    for entry in methods:
        assert f"`{entry.name}`" in README and f"`{entry.name}`" in page.split("## Each method")[1], entry.name
    families = cells_of(README.split("## Methods")[1].split("Floors:")[0].splitlines())
    headings = {"neither": "neither assumption", "changes": "changes", "sparsity": "sparsity", "both": "both"}
    for entry in methods:
        if entry.facts.role == "method":
            column = [row[headings[entry.facts.corner]] for row in families]
            assert sum(f"`{entry.name}`" in cell for cell in column) == 1, entry.name
    for ladder in cells_of(page.split("three more ladders")[1].split("## Each")[0].splitlines()):
        for corner in headings:
            facts = methods[ladder[corner].strip("`")].facts
            assert (facts.ladder, facts.corner) == (ladder["ladder"], corner)
