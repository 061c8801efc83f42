import json
import os
import pickle
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

from bench import cli, plugins, worker
from bench.store import Store
from bench.trials import Pack, Trial
from datasets import datasets
from methods import methods

ROOT = Path(__file__).resolve().parent.parent
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


@pytest.fixture(autouse=True)
def alone(tmp_path, monkeypatch):
    """An empty folder, and registries that forget what a test added."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(
        "bench.figures.draw_all", lambda *_: None
    )  # they take most of the time, and are no matter of these tests
    monkeypatch.setattr(plugins, "_modules", {})
    for registry in (methods, datasets):
        registry.names()
        monkeypatch.setattr(registry, "_entries", dict(registry._entries))
    yield
    for name in [name for name in sys.modules if name.startswith("plugin_")]:
        del sys.modules[name]


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "mine.py"
    path.write_text(METHOD)
    return path


def run(capsys, *words):
    code = cli.main(list(map(str, words)))
    return code, *capsys.readouterr()


def rows():
    return pd.read_parquet("results/runs/own/trials.parquet")


def test_a_file_from_elsewhere_takes_part_like_any_other(file, capsys):
    code, out, _ = run(capsys, "--plugin", "mine.py", *WORDS, "--executor", "serial", "--grid", "projection.gain=1,2")
    assert code == 0 and "projection" in out
    table = rows()
    assert (table.status == "ok").all() and table.method.value_counts().to_dict() == {"projection": 4, "identity": 2}
    command = json.loads(Path("results/runs/own/manifest.json").read_text())["commands"][-1]
    assert command["config"]["plugins"] == [str(file)]


@pytest.mark.parametrize("words", [("--plugin", "mine.py", "list"), ("list", "--plugin", "mine.py")])
def test_it_is_listed_whether_it_is_named_before_the_command_or_after(file, words):
    done = subprocess.run([sys.executable, ROOT / "run_bench.py", *words], capture_output=True, text=True, check=True)
    assert "projection " in done.stdout and "(this test)" in done.stdout


def test_two_files_may_be_named_and_data_sets_take_part_too(file, tmp_path, capsys):
    (tmp_path / "data.py").write_text(DATASET)
    words = ("--plugin", file, "--plugin", "data.py", "--plugin", "data.py")
    assert run(capsys, *words, "show", "projection")[1].startswith("projection (this test)")
    code, out, _ = run(capsys, "audit", *words, "--dataset", "style-again", "--seeds", "1")
    assert code == 0 and out


def test_a_pack_runs_in_a_process_that_has_never_seen_the_command_line(file):
    """As on a worker of Ray, to which only the pack travels."""
    fields = datasets["sparse-mixing"].defaults | {"n_samples": 500}
    files = plugins.load([file])
    pack = Pack((Trial("sparse-mixing", fields, "projection", {"gain": 1.0}, 0, 0),), tuple(files))
    here = worker.run_pack(pack, Store("here"))
    Path("pack").write_bytes(pickle.dumps(pack))
    code = (
        "import pickle; from pathlib import Path; from bench import engine, worker; from bench.store import Store\n"
        "engine.use_one_thread(); worker.run_pack(pickle.loads(Path('pack').read_bytes()), Store('there'))"
    )
    subprocess.run([sys.executable, "-c", code], env=os.environ | {"PYTHONPATH": str(ROOT)}, check=True)
    (there,) = Store("there").rows()
    assert there["status"] == "ok" and there["trial_id"] == here[0]["trial_id"]
    assert there["mcc_spearman"] == pytest.approx(here[0]["mcc_spearman"])


def test_a_changed_file_makes_new_trials_and_an_unchanged_one_none(file, capsys):
    words = ("--plugin", "mine.py", *WORDS, "--executor", "serial")
    assert run(capsys, *words)[0] == 0
    assert "4 of them finished before; 0 packs" in run(capsys, *words)[1]
    file.write_text(METHOD.replace("shape.n_latents", "1 + shape.n_latents"))
    code, out, _ = run(capsys, *words)
    assert code == 0 and "2 of them finished before; 1 packs" in out
    assert "2 trials of an earlier version of the code" in out and len(rows()) == 6


def test_neither_its_name_nor_its_place_is_part_of_a_trials_identity(file, tmp_path):
    def identity(path):
        plugins.load([path])
        return Trial("sparse-mixing", {}, "projection", {}, 0, 0).trial_id

    first = identity(file)
    assert identity(file.rename(tmp_path / "other.py")) == first


def test_what_was_edited_while_the_run_was_going_is_not_filed_under_the_old_code(file):
    files = plugins.load([file])
    trial = Trial("sparse-mixing", datasets["sparse-mixing"].defaults, "projection", {"gain": 1.0}, 0, 0)
    assert trial.trial_id
    file.write_text(METHOD + "\n# edited\n")
    (row,) = worker.run_pack(Pack((trial,), tuple(files)), Store("run"))
    assert row["status"] == "crashed" and "edited" in row["error"]


def test_a_report_has_the_fields_of_a_plugins_methods_and_does_without_a_file_that_is_gone(file, capsys):
    words = ("--plugin", "mine.py", *WORDS, "--executor", "serial", "--grid", "projection.gain=1,2")
    assert run(capsys, *words)[0] == 0

    def report():
        plugins._forget(plugins._modules.pop(str(file)))  # as a process that has not loaded it
        return run(capsys, "report", "own")[1]

    assert "gain=2" in report()
    file.rename("moved.py")
    out = report()
    assert "there is no such file" in out and "projection" in out and "gain=2" not in out


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
        ("x = 1", "registers no method and no data set"),
        (METHOD.replace("@dataclass(frozen=True)", ""), "projection: write @dataclass(frozen=True) between"),
        (
            METHOD.replace("field(1.0", "float(1.0").replace(', help="factor on the projection"', ""),
            "projection.gain: declare it as",
        ),
    ],
)
def test_a_file_that_cannot_be_used_is_one_sentence_and_code_2_and_leaves_nothing_behind(
    text, message, tmp_path, capsys
):
    before = [*methods.names(), *datasets.names()]
    (tmp_path / "bad.py").write_text(text)
    for words in (("list",), ("--methods", "pca"), ("audit",)):
        code, out, err = run(capsys, *words, "--plugin", "bad.py")
        assert code == 2 and message in err and err.count("\n") == 1 and str(tmp_path / "bad.py") in err
        assert out == "" and not Path("results").exists()
        assert [*methods.names(), *datasets.names()] == before


@pytest.mark.parametrize("name", ["nowhere.py", ".", "data.npz"])
def test_what_is_no_python_file_is_one_sentence_and_code_2(name, tmp_path, capsys):
    (tmp_path / "data.npz").write_bytes(b"PK\xff\xfe")
    code, _, err = run(capsys, "list", "--plugin", name)
    assert code == 2 and err.count("\n") == 1 and "--plugin" in err


@pytest.mark.parametrize("field", ["status", "noise", "domains", "train_s", "mcc_spearman", "violation"])
def test_a_field_that_would_overwrite_another_column_is_refused_before_anything_starts(field, file, capsys):
    file.write_text(METHOD.replace("gain", field))
    code, out, err = run(capsys, "--plugin", file, "--methods", "projection", "--executor", "serial")
    assert code == 2 and f"'{field}' names two columns" in err
    assert out == "" and not Path("results").exists()


def test_an_installed_package_is_loaded_by_its_entry_point(tmp_path, monkeypatch, capsys):
    info = tmp_path / "site" / "their_lab-1.5.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: their-lab\nVersion: 1.5\n")
    (info / "entry_points.txt").write_text("[synergy_bench.plugins]\ntheirs = their_lab_methods\n")
    (info.parent / "their_lab_methods.py").write_text(METHOD)
    monkeypatch.syspath_prepend(info.parent)
    assert "projection" in run(capsys, "list")[1]
    assert run(capsys, *WORDS, "--executor", "serial")[0] == 0
    command = json.loads(Path("results/runs/own/manifest.json").read_text())["commands"][-1]
    assert command["versions"]["their-lab"] == "1.5"
    methods.drop("their_lab_methods"), sys.modules.pop("their_lab_methods")
    (info.parent / "their_lab_methods.py").write_text("1 / 0")
    code, _, err = run(capsys, "list")
    assert code == 2 and "'theirs' (their_lab_methods): ZeroDivisionError" in err and err.count("\n") == 1
