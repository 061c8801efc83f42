"""The notebook and the scripts of examples/ run from the first line to the last, on a tiny budget.

They run with LONG_TESTS=1. The notebook's cells are run in their order in this process, in a main module as IPython has one: a kernel of Jupyter would bring forty packages.
"""

import json
import runpy
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from tests.conftest import long

EXAMPLES = Path(__file__).resolve().parents[1] / "examples"

pytestmark = pytest.mark.usefixtures("tiny")


@pytest.fixture(autouse=True)
def in_an_empty_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])


def smaller(text, *changes):
    """The same program on fewer data sets."""
    for before, after in changes:
        assert before in text
        text = text.replace(before, after)
    return text


def run(name, *changes):
    """Runs a script of examples/ as `python` does."""
    copy = Path(name)
    copy.write_text(smaller((EXAMPLES / name).read_text(), *changes))
    runpy.run_path(str(copy), run_name="__main__")


def cells_of(name):
    notebook = json.loads((EXAMPLES / name).read_text())
    assert notebook["nbformat"] == 4 and {"code", "markdown"} == {cell["cell_type"] for cell in notebook["cells"]}
    return ["".join(cell["source"]) for cell in notebook["cells"] if cell["cell_type"] == "code"]


@long
def test_the_notebook_runs_from_its_first_cell_to_its_last(notebook, capsys):
    for cell in cells_of("quickstart.ipynb"):
        main = notebook(cell.replace("seeds=3", "seeds=2"))
    assert set(main.mine.leaderboard.label) == {
        "vae", "sparse-vae", "flow-vae", "synergy-vae", "ica-per-domain", "fastica", "identity",
    }  # fmt: skip
    assert (main.mine.frame.status == "ok").all()
    assert main.results.figures["score_lines"]._repr_png_().startswith(b"\x89PNG")
    said = capsys.readouterr().out
    assert "VAE ladder: " in said and "distorted  MCC 1.000" in said


def test_the_notebook_holds_no_path_of_the_machine_that_ran_it():
    text = (EXAMPLES / "quickstart.ipynb").read_text()
    assert not any(folder in text for folder in ("/home/", "/Users/", "/tmp/", "/root/", "/work/"))


@long
def test_the_script_about_a_method_of_ones_own_says_what_it_recovers_latent_by_latent(capsys):
    run("my_method.py", ("seeds=3", "seeds=2"))
    lines = capsys.readouterr().out.splitlines()
    rows = pd.read_parquet("results/runs/my-method/trials.parquet")
    assert (rows.status == "ok").all() and (rows.method == "mine").sum() == 2 * 2
    (line,) = [line for line in lines if line.startswith("mine ") and "[" in line]
    shown = [float(word) for word in line.split("[")[1].strip("]").split(",")]
    own = rows[(rows.method == "mine") & (rows.violation == 0)].mcc_per_latent
    assert shown == pytest.approx(np.mean(own.tolist(), axis=0), abs=0.006)


@long
def test_the_script_about_domains_draws_its_figure(capsys):
    run("more_domains.py", ("seeds=3", "seeds=2"), ("[2, 3, 5, 9]", "[2, 9]"))
    assert Path("more_domains.png").stat().st_size > 10_000
    said = capsys.readouterr().out
    assert "VAE ladder: " in said and "synergy-vae" in said


@long
def test_the_script_about_a_table_takes_one_and_makes_one_up(capsys, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["my_csv.py"])
    run("my_csv.py")
    said = capsys.readouterr().out
    assert "the kept model gives the same latents: True" in said
    monkeypatch.setattr(sys, "argv", ["my_csv.py", "people.csv", "site", "2"])
    run("my_csv.py")
    assert "3 of them finished before; 0 packs" in capsys.readouterr().out
