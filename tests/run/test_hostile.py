"""A run's folder in which somebody put links, pipes and texts: nothing is waited for, written elsewhere, or obeyed by a terminal."""

import csv
import os
import shutil
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from bench import cli, files
from bench.registry import UsageError
from bench.report import results
from bench.run.store import Store, write_text
from tests import hostile
from tests.simulated import simulated_run, simulated_trials

LEVELS = {"vae": 0.6, "synergy-vae": 0.9, "random": 0.4}
NASTY = "=cmd $\\\\frac$ |'/c calc'!A0 | <script>alert(1)</script> [x](javascript:y) `a` \x1b[31m\u202e"


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    trials = simulated_trials(LEVELS, domains=(2, 3), seeds=2)
    store = simulated_run(tmp_path_factory.mktemp("whole") / "run", trials)
    store.write_chart("chart", {"about": np.array("{}"), "a": np.zeros(3)})
    return store.folder


@pytest.fixture
def run(whole, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return shutil.copytree(whole, tmp_path / "run")


def replace(path, kind):
    path.unlink()
    hostile.NO_FILES[kind](path)


@pytest.mark.parametrize("kind", hostile.NO_FILES)
def test_what_is_no_file_in_the_place_of_a_part_is_said_and_set_aside(run, kind):
    replace(run / "parts" / "run-vae.jsonl", kind)
    store = Store(run)
    with store.lock():
        assert len(store.finished()) == 16
    assert "run-vae.jsonl cannot be read (" in store.damages[0] and "damaged/" in store.damages[1]
    assert os.path.lexists(run / "damaged" / "run-vae.jsonl")


@pytest.mark.parametrize("kind", hostile.NO_FILES)
@pytest.mark.parametrize("name", ["manifest.json", "planned.csv"])
def test_what_is_no_file_in_the_place_of_the_manifest_or_the_plan_is_said(run, name, kind):
    replace(run / name, kind)
    store = Store(run)
    if name == "planned.csv":
        assert len(store.planned()) == 0 and "planned.csv cannot be read (" in store.damages[0]
    else:
        with pytest.raises(UsageError, match="manifest.json cannot be read"):
            store.manifest()


@pytest.mark.parametrize("kind", hostile.NO_FILES)
def test_what_is_no_file_in_the_place_of_arrays_is_said(run, kind):
    replace(run / "representations" / "run-vae.npz", kind)
    replace(run / "charts" / "chart.npz", kind)
    store = Store(run)
    row = pd.Series({"trial_id": "vae-2-0.0-0", "pack_id": "run-vae"})
    assert store.latents(row) == {} and store.chart("chart") is None
    assert len(store.damages) == 2 and all("npz cannot be read (" in damage for damage in store.damages)


@pytest.mark.parametrize("name", hostile.headers())
def test_arrays_whose_headers_lie_are_said(run, name):
    hostile.archive(run / "charts" / "chart.npz", [("a.npy", hostile.npy(hostile.headers()[name]))])
    shutil.copy(run / "charts" / "chart.npz", run / "representations" / "run-vae.npz")
    store = Store(run)
    assert store.chart("chart") is None and len(store.damages) == 1


@pytest.mark.parametrize("kind", [*hostile.NO_FILES, "bomb"])
def test_what_is_no_table_in_the_place_of_a_kept_one_is_one_sentence(run, kind, monkeypatch):
    Store(run).compact()
    shutil.rmtree(run / "parts")
    if kind == "bomb":
        table = pd.read_parquet(run / "trials.parquet")
        pd.DataFrame({name: [table[name][0]] * 3_000_000 for name in ("trial_id", "seed")}).to_parquet(
            run / "trials.parquet"
        )
        monkeypatch.setattr(files, "largest", lambda: 2**25)
        monkeypatch.setattr("bench.run.store.largest", lambda: 2**25)
    else:
        replace(run / "trials.parquet", kind)
    if kind in ("device", "loop of links") and not (run / "trials.parquet").exists():
        return  # a link to nothing is no table
    with pytest.raises(UsageError, match="trials.parquet is no table that can be read"):
        Store(run).table()


@pytest.mark.parametrize("kind", ["pipe", "folder", "device", "loop of links", "link to outside"])
def test_a_lock_that_is_no_file_is_one_sentence_and_is_neither_waited_for_nor_emptied(run, tmp_path, kind):
    (tmp_path / "outside").write_text("mine")
    if kind == "link to outside":
        (run / ".lock").symlink_to(tmp_path / "outside")
    else:
        hostile.NO_FILES[kind](run / ".lock")
    try:
        with Store(run).lock():
            assert kind == "pipe"  # which can be locked as well as a file
    except UsageError as error:
        assert "cannot be written" in str(error)
    assert (tmp_path / "outside").read_text() == "mine"


@pytest.mark.parametrize("name", ["parts", "charts", "representations", "damaged", "figures"])
def test_a_folder_of_a_run_that_is_a_link_is_not_written_into(run, tmp_path, name):
    (tmp_path / "outside").mkdir()
    shutil.rmtree(run / name, ignore_errors=True)
    (run / name).symlink_to(tmp_path / "outside")
    with pytest.raises(UsageError, match=f"{name} is a link to another folder"), Store(run).lock():
        pass
    assert cli.main(["report", str(run), "--out", str(run)]) == 2
    assert list((tmp_path / "outside").iterdir()) == []


def test_a_temporary_name_that_is_a_link_is_not_followed(tmp_path):
    (tmp_path / "outside").write_text("mine")
    (tmp_path / f".a.txt.{os.getpid()}").symlink_to(tmp_path / "outside")
    (tmp_path / "a.txt").symlink_to(tmp_path / "outside")
    write_text(tmp_path / "a.txt", "new")
    assert (tmp_path / "outside").read_text() == "mine" and (tmp_path / "a.txt").read_text() == "new"
    assert not (tmp_path / "a.txt").is_symlink()


def test_names_that_begin_like_formulas_come_back_from_the_plan_and_are_none_in_its_file(tmp_path):
    names = ["=1+1", "'=1", "@x", "-a", 'a,\n"b', "\t"]
    Store(tmp_path).plan(
        SimpleNamespace(trial_id=str(n), method=name, dataset="d", code="c") for n, name in enumerate(names)
    )
    assert Store(tmp_path).planned().method.tolist() == names
    with open(tmp_path / "planned.csv", newline="") as file:
        assert [row[1][0] for row in csv.reader(file)] == ["m", "'", "'", "'", "'", "a", "'"]


@pytest.fixture
def nasty(tmp_path, monkeypatch):
    """A run whose method, field and error are what no terminal, spreadsheet or page should obey."""
    monkeypatch.chdir(tmp_path)
    trials = simulated_trials(LEVELS, domains=(2, 3), seeds=3).assign(penalty="l1")
    own = trials.method == "vae"
    trials.loc[own & (trials.domains == 2) & (trials.seed == 0), ["status", "error"]] = ["failed", f"oh\n{NASTY}"]
    trials.loc[own, "mixing"] = NASTY
    trials.loc[trials.method == "synergy-vae", "penalty"] = np.where(
        trials.seed[trials.method == "synergy-vae"] > 0, NASTY, "l1"
    )
    trials["method"] = trials["method"].replace("random", "=$\\frac<script>|\x1b$")
    return simulated_run(tmp_path / "results" / "runs" / "run", trials).folder


def test_no_text_of_a_row_is_obeyed_where_it_is_shown(nasty, capsys):
    assert cli.main(["report", "run"]) == 0
    assert cli.main(["compare", "run", "run", "--out", "out"]) == 0
    printed = "".join(capsys.readouterr())
    assert "calc" in printed and "\\x1b[31m" in printed
    assert "\x1b" not in printed and "\u202e" not in printed
    tables = [*nasty.glob("*.csv"), *nasty.glob("figures/*.csv"), *nasty.parents[2].glob("out/*.csv")]
    assert len(tables) > 8
    for path in tables:
        with open(path, newline="") as file:
            for entry in (entry for row in csv.reader(file) for entry in row):
                assert entry[:1] not in ("=", "+", "@", "\t", "\r") and (entry[:1] != "-" or float(entry) < 0), path
    trials = pd.read_csv(nasty / "trials.csv").set_index("trial_id")
    kept = results.gather([Store(nasty)]).trials.set_index("trial_id").loc[trials.index]
    pd.testing.assert_series_equal(trials.mcc_spearman, kept.mcc_spearman, rtol=1e-15)
    pages = [*nasty.glob("*.md"), nasty.parents[2] / "out" / "compare.md"]
    assert len(pages) > 3 and any("calc" in page.read_text() for page in pages)
    for page in pages:
        text = page.read_text()
        assert "<script" not in text.replace("\\<script", "") and "](javascript" not in text.replace(
            "\\](javascript", ""
        )
        assert "\x1b" not in text and "\u202e" not in text
        for table in text.split("\n\n"):
            lines = [line for line in table.splitlines() if line.startswith("|")]
            assert len({line.replace("\\|", "").count("|") for line in lines}) <= 1, page
    html = (nasty / "report.html").read_text()
    assert "<script>alert" not in html


def test_what_a_message_quotes_is_one_line_that_a_terminal_only_shows(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for words in (["--dataset", NASTY + "\n2"], ["--set", f"vae.{NASTY}=1"], ["report", NASTY], ["score", f"{NASTY}\r\n"],
                  ["--plugin", NASTY], ["show", "\x1b[2J\udcff"], [f"--{NASTY}"], ["--seeds", NASTY]):  # fmt: skip
        assert cli.main(words) == 2
        out, err = capsys.readouterr()
        assert out == "" and err.count("\n") == 1 and err.removesuffix("\n").isprintable()


def test_texts_of_a_plug_in_are_only_shown(tmp_path, capsys):
    (tmp_path / "mine.py").write_text(
        "from methods import register_transformer\n"
        "register_transformer('my-pca', lambda n_latents, seed: None, source='me \\x1b[31m \\u202e')\n"
    )
    for words in (["list"], ["show", "my-pca"]):
        assert cli.main([*words, "--plugin", str(tmp_path / "mine.py")]) == 0
        out, _ = capsys.readouterr()
        assert "me \\x1b[31m \\u202e" in out and "\x1b" not in out


@pytest.mark.parametrize("name", ["", "=cmd", "a b", "a,b", "a.b", "a|b", "<b>", "a\x1b", "-a", "a\n"])
def test_a_name_that_no_command_line_could_name_is_not_registered(name):
    from methods import methods

    with pytest.raises(UsageError, match="letters, digits"):
        methods.register(name, source="me")
