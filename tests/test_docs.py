"""docs/add-a-method.md does what it says: its files are written and its commands run, in order, in a copy of the repository."""

import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import numpy as np
import pandas as pd

from bench.plan import plugins
from methods import EstimatorMethod, TorchMethod, methods
from tests.conftest import long
from tests.packs import pack, rows_of

ROOT = Path(__file__).resolve().parent.parent
PAGE = (ROOT / "docs" / "add-a-method.md").read_text()


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
