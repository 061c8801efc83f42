"""The reference results: what the README shows is what the committed table gives."""

import json
from pathlib import Path

from bench.report import leaderboard, losses, pairs, recovery, results, synergy
from bench.run.store import Store

ROOT = Path(__file__).resolve().parents[2]
REFERENCE = ROOT / "results" / "reference"
README = (ROOT / "README.md").read_text()


def test_the_committed_tables_are_those_of_the_committed_trials(tmp_path):
    own = results.gather([Store(REFERENCE)])
    for module in (leaderboard, losses, pairs, recovery, synergy):
        module.write(own, tmp_path)
    written = list(tmp_path.iterdir())
    assert len(written) == 11 and not own.damages
    for path in written:
        assert path.read_text() == (REFERENCE / path.name).read_text(), path.name


def test_the_readme_shows_the_reference_leaderboard_verdict_command_and_figures():
    board = (REFERENCE / "leaderboard.md").read_text()
    table = [line for line in board.splitlines() if line.startswith("|")]
    shown = [line for line in README.splitlines() if line.startswith("|")]
    assert len(table) > 8
    for line in table[: table.index(next(line for line in table if "domains=2" in line))]:
        assert line in shown
    verdicts = [line for line in (REFERENCE / "synergy.md").read_text().splitlines() if line.startswith("- VAE ladder")]
    assert verdicts and all(verdict.removeprefix("- ") in " ".join(README.split()) for verdict in verdicts)
    manifest = json.loads((REFERENCE / "manifest.json").read_text())
    assert manifest["commands"][0]["command"] in " ".join(README.split())
    for figure in ("phase_diagram", "synergy"):
        assert (REFERENCE / "figures" / f"{figure}.png").exists()
        assert f"results/reference/figures/{figure}.png" in README
