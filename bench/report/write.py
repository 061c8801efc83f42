"""The report of a run or of several: every table and figure, and report.html, in one folder. Trains nothing."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from bench.registry import UsageError, nearest
from bench.report import figures, html, leaderboard, losses, pairs, recovery, synergy
from bench.report.results import Results, is_nested
from bench.run.store import check_links, write_text
from bench.text import count, csv_text, printable


def write(
    results: Results,
    folder: Path,
    console: Console,
    by: Sequence[str] = (),
    style: str | None = None,
    command: str | None = None,
    width: str | float = figures.WIDTH,
    columns: Sequence[str] = (),
) -> None:
    """Tables, figures and report.html in `folder`; prints the leaderboard, one for each combination of the columns `by`.

    `style` is a matplotlib style for the figures, by name or file, `width` theirs in inches or a name of `figures.WIDTHS`; `columns` are
    those of leaderboard.tex; `command` is the one to repeat after those of the runs. Raises UsageError, before anything is written, where
    `by` or `columns` names none or `folder` cannot be written.
    """
    by = list(dict.fromkeys(by))
    for field in by:
        if field not in results.trials:
            raise UsageError(f"--by {field}: the trials have no such field; {nearest(field, results.trials)}")
        if results.trials[field].map(is_nested).any():
            raise UsageError(f"--by {field}: it holds a list for each trial, of which no board can be made")
    columns = list(dict.fromkeys(columns))
    leaderboard.check_columns(results, columns)
    _check(folder)
    boards = leaderboard.write(results, folder, by, columns)
    compared = pairs.write(results, folder)
    verdicts = synergy.write(results, folder)
    recovery.write(results, folder)
    lost = losses.sentences(losses.write(results, folder))
    drawn = figures.draw_all(results, folder / "figures", style, width)
    html.write(results, boards, compared, folder, verdicts, by, command, drawn)
    own = next((store for store in results.stores.values() if store.folder.resolve() == folder.resolve()), None)
    if own is None:
        write_text(folder / "trials.csv", csv_text(results.trials))
    else:
        own.compact()
    for name, board in boards.items():
        _print(console, "\n".join([*[f"{name}:"] * bool(name), leaderboard.render(board, results), ""]))
    for verdict in [*lost, *verdicts]:
        _print(console, verdict)
    for sentence in charts(results):
        _print(console, sentence)
    if results.n_superseded:
        left_out = "trials of an earlier version of the code or the data are kept in the run and left out here"
        _print(console, f"{results.n_superseded} {left_out}")
    for note in [*drawn.notes, *results.damages]:
        _print(console, note)
    _print(console, f"tables, figures and report.html: {folder}")


def charts(results: Results) -> list[str]:
    """How many data sets have a chart that met its certificate, if methods started from charts: a sentence."""
    trials = results.trials
    if "chart_met" not in trials or trials["chart_met"].isna().all():
        return []
    data = [*results.cells, "seed", "root_seed"]
    own = trials.loc[trials["chart_met"].notna(), [*data, "chart_met"]].drop_duplicates(data)
    n_met = int(own["chart_met"].astype(bool).sum())
    text = f"charts, the common starts of methods: that of {n_met} of {count(len(own), 'data set')} met its certificate"
    rest = "; on the others, reconstruction may limit every method (column chart_met)"
    return [text + (rest if n_met < len(own) else "")]


def _check(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        check_links(folder)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        reason = error.strerror or type(error).__name__
        raise UsageError(f"{folder} cannot be written ({reason}); name another folder with --out") from None


def _print(console: Console, text: str) -> None:
    console.print(printable(text), soft_wrap=True, markup=False, emoji=False)
