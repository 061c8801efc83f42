"""Methods, data sets and scores from a user's file or an installed package take part like this project's own."""

import json
import os
import pickle
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

from bench.cli import main
from bench.files import given
from bench.plan import plugins
from bench.plan.packs import Pack
from bench.plan.trials import Trial
from bench.registry import UsageError
from bench.scores import SCORES
from bench.train.pack import run_pack
from datasets import datasets
from methods import methods, register_transformer

ROOT = Path(__file__).resolve().parents[2]
METHOD = '''
from dataclasses import dataclass
from methods import Blind, EstimatorMethod, field, lazy_module, register

projection = lazy_module("sklearn.random_projection")

@register("projection", source="this test")
@dataclass(frozen=True)
class Projection(EstimatorMethod):
    """A random projection."""

    gain: float = field(1.0, help="factor on the projection")

    def build(self, shape, seed):
        return Blind(projection.GaussianRandomProjection(shape.n_latents, random_state=seed))
'''
DATASET = '''
from dataclasses import dataclass
from datasets import register
from datasets.style_content import StyleContent

@register("style-again", source="this test")
@dataclass(frozen=True)
class Again(StyleContent):
    """Style and content, under another name."""
'''
SCORE = '''
import numpy as np
from bench.scores import score

@score("worst", heading=("MCC", "worst"), source="this test")
def worst(e):
    """The least of mcc_per_latent."""
    return float(np.min(e.spearman))
'''
CORNER = '''
from dataclasses import dataclass
from methods import register
from methods.vae import VAE

@register("another-vae", source="this test")
@dataclass(frozen=True)
class AnotherVAE(VAE):
    """A second method that assumes nothing."""

    ladder = VAE.ladder
'''
WORDS = (
    "--methods",
    "projection,identity",
    "--seeds",
    "2",
    "--grid",
    "domains=3",
    "--grid",
    "violation=0",
    "--name",
    "own",
)
SERIAL = ("--executor", "serial")


@pytest.fixture(autouse=True)
def alone(tmp_path, monkeypatch):
    """An empty folder, and plug-ins that are forgotten after the test."""
    monkeypatch.chdir(tmp_path)
    before = set(plugins.loaded())
    yield
    plugins.unload(set(plugins.loaded()) - before)


@pytest.fixture
def run(without_figures, capsys):
    """The command line, without figures."""

    def command(*words):
        code = main(list(map(str, words)))
        return code, *capsys.readouterr()

    return command


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "mine.py"
    path.write_text(METHOD)
    return path


def rows():
    return pd.read_parquet("results/runs/own/trials.parquet")


def test_a_file_from_elsewhere_takes_part_like_any_other(file, run):
    code, out, _ = run("--plugin", "mine.py", *WORDS, *SERIAL, "--grid", "projection.gain=1,2")
    assert code == 0 and "projection" in out
    table = rows()
    assert (table.status == "ok").all() and table.method.value_counts().to_dict() == {"projection": 4, "identity": 2}
    command = json.loads(Path("results/runs/own/manifest.json").read_text())["commands"][-1]
    assert command["config"]["plugins"] == [str(file)]


@pytest.mark.parametrize("words", [("--plugin", "mine.py", "list"), ("list", "--plugin", "mine.py")])
def test_it_is_listed_whether_it_is_named_before_the_command_or_after(file, words):
    done = subprocess.run([sys.executable, ROOT / "run_bench.py", *words], capture_output=True, text=True, check=True)
    assert "projection " in done.stdout and "(this test)" in done.stdout


def test_two_files_may_be_named_and_data_sets_take_part_too(file, tmp_path, run):
    (tmp_path / "data.py").write_text(DATASET)
    words = ("--plugin", file, "--plugin", "data.py", "--plugin", "data.py")
    assert run(*words, "show", "projection")[1].startswith("projection (this test)")
    code, out, _ = run("audit", *words, "--dataset", "style-again", "--seeds", "1")
    assert code == 0 and out


def trial(**fields):
    data = datasets["sparse-mixing"].defaults | {"n_samples": 500}
    return Trial("sparse-mixing", data, "projection", {"gain": 1.0} | fields, 0, 0)


def test_a_file_that_came_with_a_task_is_on_no_disk_and_has_the_same_identity(tmp_path, monkeypatch):
    path = tmp_path / "elsewhere" / "mine.py"
    monkeypatch.setitem(given, str(path), METHOD.encode())
    trial = Trial("sparse-mixing", {}, "projection", {}, 0, 0)
    try:
        plugins.load([str(path)])
        found = trial.code
        plugins.unload([str(path)])
        path.parent.mkdir()
        path.write_text(METHOD)
        monkeypatch.delitem(given, str(path))
        plugins.load([str(path)])
        assert trial.code == found
    finally:
        plugins.unload([str(path)])


def test_a_pack_runs_in_a_process_that_has_never_seen_the_command_line(file):
    """As on a worker of Ray, to which only the pack travels."""
    pack = Pack((trial(),), tuple(plugins.load([file])))
    (here,) = run_pack(pack).rows
    Path("pack").write_bytes(pickle.dumps(pack))
    code = (
        "import json, pickle, sys; from pathlib import Path; from bench.train.engine import use_one_thread\n"
        "from bench.train.pack import run_pack; use_one_thread()\n"
        "print(json.dumps(run_pack(pickle.loads(Path('pack').read_bytes())).rows[0]))"
    )
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    there = json.loads(done.stdout)
    assert there["status"] == "ok" and there["trial_id"] == here["trial_id"]
    assert there["mcc_spearman"] == pytest.approx(here["mcc_spearman"])


def test_a_changed_file_makes_new_trials_and_an_unchanged_one_none(file, run):
    words = ("--plugin", "mine.py", *WORDS, *SERIAL)
    assert run(*words)[0] == 0
    for text in (METHOD, METHOD.replace("A random projection.", "A projection.") + "\n# the end\n"):
        file.write_text(text)
        assert "4 of them finished before; 0 packs" in run(*words)[1]
    file.write_text(METHOD.replace("shape.n_latents", "1 + shape.n_latents"))
    code, out, _ = run(*words)
    assert code == 0 and "2 of them finished before; 1 pack on" in out
    assert "2 trials of an earlier version of the code" in out and len(rows()) == 6


def test_neither_its_name_nor_its_place_nor_its_docstrings_are_part_of_a_trials_identity(file, tmp_path):
    def identity(path):
        plugins.unload(plugins.loaded())
        plugins.load([path])
        return trial().trial_id

    first = identity(file)
    assert identity(file.rename(tmp_path / "other.py")) == first
    (tmp_path / "other.py").write_text(METHOD.replace("A random projection.", "In other words."))
    assert identity(tmp_path / "other.py") == first and methods["projection"].summary == "In other words."
    (tmp_path / "other.py").write_text(METHOD.replace("field(1.0", "field(2.0"))
    assert identity(tmp_path / "other.py") != first


@pytest.mark.parametrize(("edit", "status"), [("y = 2", "crashed"), ("# edited", "ok")])
def test_what_was_edited_while_the_run_was_going_is_not_filed_under_the_old_code(edit, status, file):
    files = plugins.load([file])
    planned = trial()
    assert planned.trial_id
    file.write_text(f"{METHOD}\n{edit}\n")
    (row,) = run_pack(Pack((planned,), tuple(files))).rows
    assert row["status"] == status and (status == "ok" or "edited" in row["error"])


def test_a_report_knows_a_plugins_fields_and_does_not_execute_its_file(file, run):
    assert run("--plugin", "mine.py", *WORDS, *SERIAL, "--grid", "projection.gain=1,2")[0] == 0
    plugins.unload([str(file)])  # as a process that has not loaded it
    file.write_text("raise SystemExit('executed')")
    code, out, err = run("report", "own")
    assert code == 0 and "gain=2" in out and "executed" not in out + err and not plugins.loaded()
    file.unlink()
    assert "gain=2" in run("report", "own")[1]


def test_a_score_of_a_file_is_computed_in_every_row_and_shown_after_those_of_this_project(file, run):
    file.write_text(METHOD + SCORE)
    code, out, _ = run("--plugin", "mine.py", *WORDS, *SERIAL)
    assert code == 0 and list(SCORES)[-1] == "worst"
    table = rows()
    assert table.worst.tolist() == [min(scores) for scores in table.mcc_per_latent]


def test_a_file_may_have_a_score_alone_and_what_is_unloaded_is_forgotten(tmp_path):
    (tmp_path / "score.py").write_text(SCORE)
    files = plugins.load(["score.py"])
    assert SCORES["worst"].definition == "The least of mcc_per_latent."
    plugins.unload(files)
    assert "worst" not in SCORES and "mcc_spearman" in SCORES and not set(files) & set(plugins.loaded())


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            METHOD.replace('"projection"', '"pca"').replace("class Projection", "class PCA"),
            "two methods are called 'pca'",
        ),
        (DATASET.replace('"style-again"', '"sparse-mixing"'), "two data sets are called 'sparse-mixing'"),
        (METHOD + METHOD.replace("class Projection", "class Other"), "two methods are called 'projection'"),
        (METHOD + "\n1 / 0\n", "ZeroDivisionError: division by zero (line 17)"),
        (METHOD + "\nraise SystemExit('no\\nmore')\n", "SystemExit: no more (line 17)"),
        ("import nothing_of_that_name", "No module named 'nothing_of_that_name' (line 1)"),
        ("def f(:", "invalid syntax"),
        ("x = 1", "registers no method, no data set and no score"),
        (
            METHOD.replace("gain: float = field(1.0", 'alpha: str = field("l1"'),
            "the field 'alpha' is a number in sparse-dependent-vae and a word in projection; rename one",
        ),
        (METHOD.replace("gain: float", "gain: list"), "projection.gain: annotate it as bool, int, float or str"),
        (
            METHOD.replace(
                "class Projection(EstimatorMethod):", "class Projection(EstimatorMethod):\n    assumes = {'x'}"
            ),
            "projection assumes 'x'",
        ),
        (CORNER, "another-vae and vae are both the corner 'neither' of the ladder"),
        (METHOD + SCORE.replace('"worst"', '"mcc_spearman"'), "two scores are called 'mcc_spearman'"),
        (METHOD + SCORE.replace('"""The least of mcc_per_latent."""', ""), "worst: say in the function's docstring"),
        (METHOD.replace("@dataclass(frozen=True)", ""), "projection: write @dataclass(frozen=True) between"),
        (
            METHOD.replace("field(1.0", "float(1.0").replace(', help="factor on the projection"', ""),
            "projection.gain: declare it as",
        ),
    ],
)
def test_a_file_that_cannot_be_used_is_one_sentence_and_code_2_and_leaves_nothing_behind(text, message, tmp_path, run):
    before = [*methods.names(), *datasets.names(), *SCORES]
    (tmp_path / "bad.py").write_text(text)
    for words in (("list",), ("--methods", "pca"), ("audit",)):
        code, out, err = run(*words, "--plugin", "bad.py")
        assert code == 2 and message in err and err.count("\n") == 1 and str(tmp_path / "bad.py") in err
        assert out == "" and not Path("results").exists()
        assert [*methods.names(), *datasets.names(), *SCORES] == before


@pytest.mark.parametrize("name", ["nowhere.py", ".", "data.npz"])
def test_what_is_no_python_file_is_one_sentence_and_code_2(name, tmp_path, run):
    (tmp_path / "data.npz").write_bytes(b"PK\xff\xfe")
    code, _, err = run("list", "--plugin", name)
    assert code == 2 and err.count("\n") == 1 and "--plugin" in err


@pytest.mark.parametrize(
    "field",
    ["status: float", "noise: float", "domains: int", "train_s: float", "mcc_spearman: float", "violation: float"],
)
def test_a_field_that_would_overwrite_another_column_is_refused_before_anything_starts(field, file, run):
    file.write_text(METHOD.replace("gain: float", field))
    code, out, err = run("--plugin", file, "--methods", "projection", *SERIAL)
    assert code == 2 and f"'{field.split(':')[0]}' names two columns" in err


@pytest.mark.parametrize("field", ["label: float", "scope: float", "n_seeds: float"])
def test_a_field_that_would_overwrite_a_column_of_a_table_is_refused_too(field, file, run):
    file.write_text(METHOD.replace("gain: float", field))
    code, out, err = run("--plugin", file, "--methods", "projection", *SERIAL)
    assert code == 2 and field.split(":")[0] in err and err.count("\n") == 1
    assert out == "" and not Path("results").exists()


def test_an_installed_package_is_loaded_by_its_entry_point(tmp_path, monkeypatch, run):
    info = tmp_path / "site" / "their_lab-1.5.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: their-lab\nVersion: 1.5\n")
    (info / "entry_points.txt").write_text("[synergy_bench.plugins]\ntheirs = their_lab_methods\n")
    (info.parent / "their_lab_methods.py").write_text(METHOD)
    monkeypatch.syspath_prepend(info.parent)
    assert "projection" in run("list")[1]
    assert run(*WORDS, *SERIAL)[0] == 0
    command = json.loads(Path("results/runs/own/manifest.json").read_text())["commands"][-1]
    assert command["versions"]["their-lab"] == "1.5"
    methods.drop("their_lab_methods"), sys.modules.pop("their_lab_methods")
    (info.parent / "their_lab_methods.py").write_text("1 / 0")
    code, _, err = run("list")
    assert code == 2 and "'theirs' (their_lab_methods): ZeroDivisionError" in err and err.count("\n") == 1


class TestTransformersInOneLine:
    LINES = (
        "from sklearn.decomposition import KernelPCA\nfrom methods import register_transformer\n"
        "register_transformer('kernel-pca', lambda n_latents, seed, gamma=0.1, kernel='rbf': "
        "KernelPCA(n_latents, kernel=kernel, gamma=gamma, random_state=seed), source='Schoelkopf et al. 1998')\n"
    )
    WORDS = ("--methods", "kernel-pca", "--seeds", "1", "--executor", "serial", "--name", "own", "--grid", "domains=3",
             "--grid", "violation=0", "--set", "sparse-mixing.n_samples=400", "--plugin", "mine.py")  # fmt: skip

    def test_it_is_shown_with_its_fields_and_takes_part(self, tmp_path, run):
        (tmp_path / "mine.py").write_text(self.LINES)
        out = run("show", "kernel-pca", "--plugin", "mine.py")[1]
        assert "kernel-pca (Schoelkopf et al. 1998)" in out and "gamma = 0.1  [float]" in out
        assert "kernel = rbf  [str]" in out
        code, out, _ = run(*self.WORDS, "--grid", "kernel-pca.gamma=0.01,1")
        assert code == 0 and "gamma=0.01" in out and out.count(" 2/2 ") == 0 and out.count(" 1/1 ") == 2
        assert "[float]" not in out and run(*self.WORDS, "--set", "kernel-pca.gamma=much")[0] == 2

    def test_a_trials_identity_follows_its_file(self, tmp_path):
        def identity():
            plugins.load([tmp_path / "mine.py"])
            return Trial("sparse-mixing", {}, "kernel-pca", {}, 0, 0).trial_id

        (tmp_path / "mine.py").write_text(self.LINES)
        first = identity()
        (tmp_path / "mine.py").write_text(self.LINES.replace("gamma=gamma", "gamma=2 * gamma"))
        assert identity() != first

    def test_a_line_that_was_copied_without_a_new_name_is_refused(self, tmp_path, run):
        (tmp_path / "mine.py").write_text(self.LINES * 2)
        assert "two methods are called 'kernel-pca'" in run("list", "--plugin", "mine.py")[2]

    def test_a_parameter_without_a_default_is_refused(self):
        with pytest.raises(UsageError, match="new.alpha: give it a default"):
            register_transformer("new", lambda n_latents, seed, alpha: None, source="this test")
