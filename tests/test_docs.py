"""What the pages in docs/ say is so: their files are written and their commands run, in order."""

import os
import re
import shlex
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from bench import cli
from bench.plan import plugins
from methods import EstimatorMethod, TorchMethod, methods
from tests.conftest import long
from tests.packs import pack, rows_of

ROOT = Path(__file__).resolve().parent.parent
PAGE = (ROOT / "docs" / "add-a-method.md").read_text()
WALK = (ROOT / "docs" / "data.md").read_text().split("### From a CSV to the latents of every row")[1].split("\n### ")[0]
QUICK = "--profile quick --executor serial --set synergy-vae.steps=40 --set flow-vae.steps=40 --set flow-vae.restarts=2"


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


def test_the_readmes_example_method_works_as_pasted(tmp_path):
    """The code block under "Add a method", as a plug-in: registered, trained and scored."""
    text = (ROOT / "README.md").read_text().split("## Add a method")[1].split("\n## ")[0]
    file = tmp_path / "mine.py"
    file.write_text("\n".join(line[4:] for line in text.splitlines() if line.startswith("    ") or not line))
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
