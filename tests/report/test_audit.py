import numpy as np
import pandas as pd
import pytest

from bench import cli
from bench.plan.identity import data_seed
from bench.plan.trials import plan_cells
from bench.report import audit
from bench.scores import files, metrics
from datasets.sparse_mixing import SparseMixing


def cells(**axes):
    grid, _ = plan_cells("sparse-mixing", {"sparse-mixing": axes}, {})
    return audit.table("sparse-mixing", grid, 2, 0).set_index(list(axes))


def test_the_dials_are_achieved_exactly_in_every_cell():
    rows = cells(domains=[2, 5], violation=[0.0, 0.25, 0.75, 1.0])
    achieved = rows.index.get_level_values("violation")
    np.testing.assert_allclose(rows["achieved_violation"], achieved)
    assert (rows["achieved_twins"] == np.where(achieved == 1, 0.5, 0)).all()
    assert rows["achieved_shadow_size"].isna().tolist() == (achieved == 0).tolist()


def test_promised_fractions_are_those_that_theory_gives():
    rows = cells(domains=[4, 9], violation=[0.5])
    assert rows["promised_sparsity"].tolist() == [0.5, 0.5]
    assert rows["promised_independence"].tolist() == [1, 1]
    assert rows["promised_changes"].tolist() == [0, 1]
    assert rows["change_rank"].tolist() == [3, 8]
    assert rows["change_margin"].iloc[0] == 0 < rows["change_margin"].iloc[1]


def test_floor_and_conditioning_are_those_of_the_instance():
    (row,) = cells(domains=[3], violation=[0.0]).to_dict("records")
    instances = [SparseMixing(domains=3).generate(data_seed(0, seed)) for seed in range(2)]
    floors, least = [], []
    for instance in instances:
        pair = (metrics.Encoded(s.z, s.x, s.domains) for s in (instance.validation, instance.test))
        floors.append(metrics.evaluate(*pair)["mcc_spearman"])
        jacobian = instance.mixing.jacobian(instance.test.z[: audit.N_POINTS].astype(float)) * instance.sources.spread
        least.append(np.linalg.svd(jacobian, compute_uv=False).min())
    assert row["floor"] == pytest.approx(np.mean(floors))
    assert row["least_singular"] == pytest.approx(min(least), rel=1e-6)
    assert row["condition"] > 1


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_the_command_prints_the_table_and_leaves_it_with_its_maps(here, capsys):
    words = ["audit", "--grid", "domains=2,9", "--grid", "violation=0,0.5", "--seeds", "1", "--out", "a.csv"]
    assert cli.main(words) == 0
    printed = capsys.readouterr().out
    assert "promised" in printed and len(printed.splitlines()) > 6
    assert len(pd.read_csv(here / "a.csv")) == 4
    columns = [line.split(": ")[0] for line in (here / "a.txt").read_text().splitlines()]
    assert set(columns) == set(audit.DEFINITIONS) <= set(pd.read_csv(here / "a.csv"))
    drawn = pd.read_csv(here / "a_domains_violation.csv")
    assert len(drawn) == 4 * 4 and set(drawn["promised"]) <= {0, 0.5, 1}
    for suffix in ("pdf", "png", "txt"):
        assert (here / f"a_domains_violation.{suffix}").stat().st_size > 0


def test_twins_have_their_own_map(here):
    words = [
        "audit",
        "--grid",
        "domains=2,5",
        "--grid",
        "violation=1",
        "--grid",
        "twins=0.5,1",
        "--seeds",
        "1",
        "--out",
        "a.csv",
    ]
    assert cli.main(words) == 0
    drawn = pd.read_csv(here / "a_domains_twins.csv").set_index(["label", "domains", "twins"])["promised"]
    assert drawn["all three", 5, 0.5] == 1 and drawn["all three", 5, 1.0] == 1 > drawn["all three", 2, 1.0]
    assert not (here / "a_domains_violation.csv").exists()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--grid", "violation=0.3"], "the nearest are"),
        (["--grid", "alpha=1"], "no data set or method"),
        (["--out", "a.txt"], "name a .csv file"),
        (["--out", "no/where/a.csv"], "in a folder that exists"),
        (["--dataset", "sparse"], "did you mean"),
    ],
)
def test_a_mistake_is_one_sentence(here, capsys, words, message):
    assert cli.main(["audit", *words]) == 2
    err = capsys.readouterr().err
    assert message in err and err.count("\n") == 1


def test_a_users_file_has_nothing_to_audit(data_file, capsys):
    assert cli.main(["audit", "--dataset", "file", "--set", f"file.path={data_file}"]) == 2
    assert "nothing to audit" in capsys.readouterr().err


class TestScore:
    def write(self, here, **arrays):
        np.savez(here / "l.npz", **arrays)

    def test_latents_from_elsewhere_are_scored_by_the_same_definitions(self, here, capsys):
        rng = np.random.default_rng(0)
        z = rng.normal(size=(400, 2))
        self.write(here, z=z, z_hat=np.exp(z[:, ::-1]))
        assert cli.main(["score", "l.npz"]) == 0
        printed = dict(line.split(None, 1) for line in capsys.readouterr().out.splitlines()[2:])
        expected = metrics.evaluate(*files.read("l.npz"))
        assert float(printed["mcc_spearman"]) == 1 and float(printed["mcc_pearson"]) < 0.95
        assert set(printed) == {name for name, value in expected.items() if value is not None}

    @pytest.mark.parametrize(
        ("arrays", "message"),
        [
            ({"z": np.zeros((90, 2))}, "no array 'z_hat'"),
            ({"z": np.zeros((90, 2)), "z_hat": np.zeros((80, 2))}, "90 and 80 rows"),
            ({"z": np.zeros((9, 2)), "z_hat": np.zeros((9, 2))}, "at least 50"),
            ({"z": np.full((90, 2), np.nan), "z_hat": np.zeros((90, 2))}, "not finite"),
        ],
    )
    def test_what_is_wrong_is_said(self, here, capsys, arrays, message):
        self.write(here, **arrays)
        assert cli.main(["score", "l.npz"]) == 2
        assert message in capsys.readouterr().err
