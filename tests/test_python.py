"""The main job from Python: what the command line does, from a notebook or a script, methods that are written there included."""

import json
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
from matplotlib.figure import Figure

import bench
from bench import cli
from bench.files import given
from bench.plan import cells, plugins
from bench.registry import UsageError
from bench.run.store import Store
from bench.scores import SCORES
from methods import methods

pytestmark = pytest.mark.xdist_group("python")  # one process, for what its tests share

ROOT = Path(__file__).resolve().parents[1]
SMALL = {"settings": {"sparse-mixing.n_samples": 300, "sparse-mixing.violation": 0}, "executor": "serial", "seeds": 2}
IMPORTS = """
from dataclasses import dataclass
from methods import EstimatorMethod, field, register
"""
METHOD = '''
@register("mine", source="this test")
@dataclass(frozen=True)
class Mine(EstimatorMethod):
    """The first variables."""

    gain: float = field(1.0, help="factor on them")

    def build(self, shape, seed):
        results = shape.n_latents
        return First(results, self.gain)
'''
HELPER = """
def scaled(x, gain):
    return gain * x

class First:
    def __init__(self, n, gain):
        self.n, self.gain = n, gain

    def fit(self, x, domains):
        return self

    def transform(self, x, domains):
        return scaled(x, self.gain)[:, : self.n]
"""


@pytest.fixture(autouse=True)
def alone(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    before, held = set(plugins.loaded()), set(given)
    yield
    assert set(plugins.loaded()) == before and set(given) == held


# --- one way for the command line and Python


@pytest.mark.usefixtures("without_figures")
def test_a_call_asks_for_the_same_trials_as_the_command_and_goes_on_in_its_folder(monkeypatch, capsys):
    words = ["--grid", "domains=2..4", "--methods", "pca,identity", "--seeds", "2", "--executor", "serial"]
    words += ["--set", "sparse-mixing.n_samples=300", "--set", "sparse-mixing.violation=0"]
    assert cli.main(words) == 0
    monkeypatch.setattr("bench.run.executors.run", None)  # nothing may be trained
    found = bench.run(grid={"domains": range(2, 5)}, methods=["pca", "identity"], **SMALL)
    assert (
        found.folder.name.startswith("sparse-mixing-default-domains=2..4")
        and len(list(found.folder.parent.iterdir())) == 1
    )
    assert len(found.frame) == 12 and "12 of them finished before" in capsys.readouterr().out
    first, second = json.loads((found.folder / "manifest.json").read_text())["commands"]
    assert second["config"] == first["config"] and second["code"] == first["code"]
    again = cli.parse_arguments(second["command"].split()[1:])
    assert again.grid == ["domains=2..4"] and again.methods == "pca,identity" and again.seeds == 2


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path_factory.mktemp("run"))
        names = ["factor-analysis", "joint-diagonalisation", "identity"]
        found = bench.run({"domains": [2, 3]}, names, **SMALL | {"seeds": 3}, name="small")
        yield bench.results(found.folder.resolve())


def test_the_results_are_the_tables_that_the_run_wrote(found):
    assert len(found.frame) == 2 * 3 * 3 and {"method", "domains", "seed", "mcc_spearman"} <= set(found.frame)
    for name, table in (("leaderboard", found.leaderboard), ("comparisons", found.comparisons)):
        written = pd.read_csv(found.folder / f"{name}.csv")
        assert written.columns.tolist() == table.columns.tolist() and len(written) == len(table)
    assert (
        pd.read_csv(found.folder / "leaderboard.csv").mcc_spearman.tolist() == found.leaderboard.mcc_spearman.tolist()
    )
    assert found.verdicts == [] and len(found.synergy) == 0
    shown = repr(found)
    assert all(name in shown for name in ("factor-analysis", "joint-diagonalisation", "identity"))


def test_the_figures_are_those_of_the_report_as_matplotlib_has_them(found):
    written = {path.stem for path in (found.folder / "figures").glob("*.pdf")}
    assert set(found.figures) == written and "score_lines" in written
    assert all(isinstance(figure, Figure) and figure.axes for figure in found.figures.values())
    caption = " ".join((found.folder / "figures" / "score_lines.txt").read_text().split())
    assert " ".join(found.figures.captions["score_lines"].split()) == caption


def test_runs_are_read_together_and_in_part(found):
    part = bench.results(found.folder, where="domains == 2")
    assert set(part.frame.domains) == {2} and len(part.frame) == 9


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"grid": {"domain": [2]}}, "did you mean 'domains'?"),
        ({"grid": {"domains": [0]}}, "in \\[1, 500\\]"),
        ({"grid": {"domains": [2, 2]}}, "twice"),
        ({"grid": {"domains": [object()]}}, "is no text, number, truth"),
        ({"grid": [2]}, "grid is a table"),
        ({"methods": ["synergy"]}, "did you mean 'synergy-vae'?"),
        ({"methods": []}, "at least one"),
        ({"settings": {"ivae.beta": "much"}}, "expected a number"),
        ({"seeds": 0}, "0 is less than 1"),
        ({"sedes": 1}, "did you mean '--seeds'?"),
        ({"plugins": ["nothing.py"]}, "there is no such file"),
        ({"dry_run": True}, "command line's --dry-run"),
    ],
)
def test_a_mistake_is_a_usage_error_of_one_sentence_and_starts_nothing(options, message):
    with pytest.raises(UsageError, match=message) as caught:
        bench.run(**options)
    assert "\n" not in str(caught.value) and not Path("results").exists()


# --- methods of a notebook or a script


@pytest.mark.usefixtures("without_figures")
def test_a_method_of_a_notebook_is_trained_and_is_trained_again_only_where_what_it_needs_has_changed(notebook):
    for cell in (HELPER, IMPORTS, METHOD):
        notebook(cell)
    run = lambda: bench.run({"domains": [2]}, ["mine", "identity"], **SMALL, name="own").frame.set_index("method")  # noqa: E731
    first = run()
    assert (first.status == "ok").all() and first.loc["mine", "mcc_spearman"].notna().all()
    assert methods["mine"].cls.__module__ == "__main__"
    notebook("results = undefined_elsewhere = 5")
    notebook(IMPORTS)
    notebook(METHOD.replace("The first variables", "Said otherwise"))
    assert run().trial_id.tolist() == first.trial_id.tolist()
    notebook(HELPER.replace("gain * x", "gain * x**3"))
    changed = run()
    assert set(changed.loc["mine", "trial_id"]).isdisjoint(first.loc["mine", "trial_id"])
    assert changed.loc["identity", "trial_id"].tolist() == first.loc["identity", "trial_id"].tolist()
    written = sorted(Path("results/runs/own/plugins").iterdir())
    assert len(written) == 2 and all(path.name.startswith("mine-") for path in written)


@pytest.mark.usefixtures("without_figures")
def test_the_file_that_a_notebooks_method_leaves_repeats_the_run_from_the_command_line(notebook, monkeypatch):
    for cell in (IMPORTS, HELPER, METHOD):
        notebook(cell)
    first = bench.run({"domains": [2]}, ["mine"], **SMALL, name="own")
    (file,) = (first.folder / "plugins").iterdir()
    for registry in (methods,):
        registry.drop("__main__")
    monkeypatch.setattr("bench.run.executors.run", None)
    words = json.loads((first.folder / "manifest.json").read_text())["commands"][0]["command"].split()[1:]
    assert cli.main(words) == 0
    assert cli.main(["--config", str(first.folder / "config.toml"), "--plugin", str(file)]) == 0
    plugins.unload([str(file.absolute())])
    assert len(Store(first.folder).rows()) == 2


@pytest.mark.usefixtures("without_figures")
def test_a_notebooks_score_is_in_the_table(notebook, monkeypatch):
    notebook(IMPORTS)
    notebook(
        'from bench.scores import score\n@score("least", source="this test")\ndef least(e):\n    "The least."\n    return min(e.spearman)'
    )
    found = bench.run({"domains": [2]}, ["pca"], **SMALL, name="own")
    assert found.frame["least"].notna().all() and "least" in SCORES


def test_a_cell_that_does_not_work_by_itself_is_one_sentence(notebook):
    notebook(IMPORTS)
    main = notebook("globals()['hidden'] = 1")
    assert main.hidden == 1
    notebook(METHOD.replace("gain: float = field(1.0", "gain: float = field(float(hidden)"))
    with pytest.raises(
        UsageError, match="the code that defines 'mine' does not work by itself: NameError: name 'hidden'"
    ):
        bench.run({"domains": [2]}, ["mine"], **SMALL)
    assert methods["mine"].cls.__module__ == "__main__" and not Path("results").exists()


def test_a_method_that_is_not_defined_at_the_top_level_is_one_sentence(notebook):
    notebook(IMPORTS)
    body = METHOD.replace("\n", "\n    ")
    notebook(f"def define():{body}\n    return Mine\ndefine()")
    with pytest.raises(UsageError, match="there is no class with @register\\('mine', ...\\) at the top level"):
        bench.run({"domains": [2]}, ["mine"], **SMALL)


SCRIPT = f"""
import sys

sys.path.insert(0, {str(ROOT)!r})
import bench
{IMPORTS}{HELPER}{METHOD}
found = bench.run({{"domains": [2]}}, ["mine"], name="own", **{SMALL!r})
print(found.frame.status.tolist()  , len(found.leaderboard))
"""


def test_a_script_needs_no_guard_and_its_methods_need_no_file_of_their_own():
    Path("script.py").write_text(SCRIPT)
    done = subprocess.run([sys.executable, "script.py"], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert (
        done.stdout.splitlines()[-1] == "['ok', 'ok'] 1"
        and done.stdout.count("\nrun own: ") + done.stdout.startswith("run own: ") == 1
    )


def test_where_the_source_is_gone_that_is_said(notebook):
    """As it is in Python's own prompt, or where a program is read from a pipe."""
    for cell in (IMPORTS, METHOD):
        main = notebook(cell)
    del main.In
    with pytest.raises(UsageError, match="mine: the source of what is typed here cannot be had; write it to a file"):
        bench.run({"domains": [2]}, ["mine"], **SMALL)


def test_a_program_has_what_a_method_needs_in_its_order_and_nothing_else():
    typed = [
        "import numpy as np, sys\nfrom __future__ import annotations",
        "n = 2\nn += 1\ndata = launch()",
        "def helper(data):\n    return helper(data[n:]) if n else np.zeros(3)",
        '@register("other", source="s")\nclass Other(Base):\n    pass',
        '@register("mine", source="s")\nclass Mine(Other):\n    def build(self, shape, seed):\n        data = shape\n        return helper(data)',
        "this is refused",
        "n = 5\nBase = object\nfrom methods import register",
    ]
    names = [
        line.split("(")[0].split(" = ")[0]
        for line in cells.program(typed, "mine").splitlines()
        if line and line[0] != " "
    ]
    assert names == [
        "from __future__ import annotations", "Base", "from methods import register", "class Other", "n", "import numpy as np, sys", "def helper", "@register", "class Mine",
    ]  # fmt: skip
    assert "n = 5" in cells.program(typed, "mine") and '@register("mine"' not in cells.program(typed, "other")
    assert "+=" in cells.program([*typed, "n += 1"], "mine") and "n = 5" in cells.program([*typed, "n += 1"], "mine")


SCRIPT_OF_TWO = """from __future__ import annotations
import numpy as np
data = launch()
from methods import register

n = 2  # why

@register("other",
          source="s")
@decorated
class Other:
    pass

@register("mine", source="s")
class Mine(Other):

    # as in the paper
    def build(self, shape, seed):
        return np.full(n, 1)
print(data)
"""


def test_what_a_script_defines_stays_on_its_lines_and_the_rest_is_empty():
    lines, own = SCRIPT_OF_TWO.replace("@decorated", "@object").split("\n"), [1, 2, 4, 6, 10, 11, 12, *range(14, 20)]
    found = cells.program(["\n".join(lines)], "mine").split("\n")
    assert found == [line if number in own else "" for number, line in enumerate(lines[:19], 1)] + [""]
    assert "# why" in found[5] and found[9] == "@object"


@pytest.mark.parametrize(
    "change",
    [
        ("n = 2  # why", "n = 2; unused = 3"),  # a line of which a part is needed
        ("print(data)", "n = 3\nprint(data)"),  # what it is when the method is called stands below it
    ],
)
def test_a_script_whose_lines_cannot_stay_becomes_a_program_of_the_same_statements(change):
    text = SCRIPT_OF_TWO.replace("@decorated\n", "").replace(*change)
    found = cells.program([text], "mine")
    assert "data" not in found and found.count("n = ") == 1 and "unused" not in found
    assert found.index("n = ") < found.index("class Mine") and "register('other'" not in found
