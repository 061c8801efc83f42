"""A model that was kept is the one that was trained: in a store and out of it, in the units of the data, in a process without this project."""

import dataclasses
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.decomposition import PCA

import bench
from bench.cli import main
from bench.plan import plugins
from bench.plan.packs import Pack
from bench.plan.trials import Trial
from bench.registry import UsageError
from bench.run.load import of_row
from bench.run.store import Store
from bench.train import exported, models
from bench.train.data import standardised
from bench.train.kept import KINDS
from bench.train.pack import run_pack
from datasets import datasets
from methods import methods
from tests.conftest import long
from tests.packs import SMALL_BUDGET, fields, pack

ROOT = Path(__file__).resolve().parents[2]
RNG = np.random.default_rng(5)
SITE = RNG.choice(["Oslo", "Bern", "NA"], 240)
Z = RNG.normal(size=(240, 2)) + 2 * (SITE == "Bern")[:, None]
X = Z @ RNG.normal(size=(2, 4)) + 0.1 * RNG.normal(size=(240, 4))
PEOPLE = pd.DataFrame(X * [1, 1e3, 1e-4, 7] + [0, 5000, 3, -1], columns=["height", "pulse", "dose", "age"])
PEOPLE = PEOPLE.assign(site=SITE, flat=2.5, name="somebody")
HOURS = PEOPLE.assign(hour=1e6 + 50 * np.arange(240), dose=PEOPLE.dose + 1e-5 * np.sin(np.arange(240) / 40), site=SITE)
BESIDE = {"n_latents": 2, "domain": "site", "u": "hour"}


def raw(trial, part):
    """The points of a trial's split as its data set gives them."""
    from bench.plan.identity import data_seed

    return getattr(trial.make_dataset().generate(data_seed(trial.root_seed, trial.seed)), part)


def kept(planned, folder):
    """The store of a pack that was trained with everything kept of it, its rows, and its representations."""
    finished = run_pack(planned, keep=KINDS)
    store = Store(folder)
    store.write_pack(planned.pack_id, finished.rows, finished.latents)
    return store, finished.rows, finished.latents


def of_file(path, method, fields_of_file, folder, n_seeds=1, **changes):
    own = fields(methods[method], SMALL_BUDGET) | changes
    data = datasets["file"].defaults | {"path": str(path), **fields_of_file}
    planned = Pack(tuple(Trial("file", data, method, own, seed, 0) for seed in range(n_seeds)))
    return planned, *kept(planned, folder)


TORCH = ["synergy-vae", "tcl", *(pytest.param(name, marks=long) for name in ("gan", "domain-flow", "sparse-vae"))]


class TestGenerated:
    @pytest.mark.parametrize("name", TORCH)
    def test_new_points_in_their_own_units_have_the_latents_that_were_scored_and_those_that_were_kept(
        self, tmp_path, name
    ):
        planned = pack(name, n_seeds=2)
        store, rows, arrays = kept(planned, tmp_path)
        for trial, row in zip(planned.trials, rows, strict=True):
            model, table = of_row(store, row), store.every_latent(row)
            scored = arrays[f"{row['trial_id']}.z_hat"]
            own = raw(trial, "test")
            found = model.encode(own.x, own.domains)
            np.testing.assert_allclose(found[: len(scored)], scored, atol=2e-4 * scored.std())
            for part in ("train", "validation", "test"):
                points, of_part = raw(trial, part), table[table.split == part]
                assert of_part.row.tolist() == list(range(len(points.x)))
                assert of_part.domain.tolist() == list(map(str, points.domains))
                found = model.encode(points.x, points.domains)
                np.testing.assert_allclose(found, of_part.filter(like="z_hat").to_numpy(), rtol=0, atol=1e-6)

    def test_what_it_decodes_is_as_far_from_the_data_as_the_reconstruction_error_says(self, tmp_path):
        planned = pack("vae", n_seeds=1)
        store, (row,), _ = kept(planned, tmp_path)
        model, points = of_row(store, row), raw(planned.trials[0], "test")
        decoded = model.decode(model.encode(points.x, points.domains))
        std = raw(planned.trials[0], "train").x.std(axis=0)
        error = (((decoded - points.x) / std) ** 2).sum() / (((points.x - points.x.mean(axis=0)) / std) ** 2).sum()
        assert error == pytest.approx(row["recon_nmse"], rel=1e-4)

    def test_a_linear_map_is_found_in_pieces_too(self, monkeypatch):
        matrix, offset = np.random.default_rng(0).normal(size=(7, 2)), np.array([1.0, -2.0])
        for size in (1, 3, 7, 100):
            monkeypatch.setattr(models, "NUMBERS", 7 * size)
            found = models.linear_map(lambda x: x @ matrix + offset, 7, "")
            np.testing.assert_allclose(found["matrix"], matrix, atol=1e-12)
            np.testing.assert_array_equal(found["offset"], offset)

    @pytest.mark.parametrize("name", ["pca", "fastica", "identity", "joint-diagonalisation", "sparse-dictionary"])
    def test_linear_estimators_are_kept_as_matrices(self, tmp_path, name):
        planned = pack(name, n_seeds=1)
        store, (row,), arrays = kept(planned, tmp_path)
        points, scored = raw(planned.trials[0], "test"), arrays[f"{row['trial_id']}.z_hat"]
        found = of_row(store, row).encode(points.x)
        np.testing.assert_allclose(found[: len(scored)], scored, atol=1e-4 * scored.std())
        if name == "pca":
            train = raw(planned.trials[0], "train").x
            mean, std = train.mean(axis=0), train.std(axis=0)
            alone = PCA(scored.shape[1]).fit((train - mean) / std).transform((points.x - mean) / std)
            np.testing.assert_allclose(np.abs(found), np.abs(alone), atol=1e-4)

    def test_of_what_is_not_linear_the_latents_are_kept_and_the_reason_why_there_is_no_model(self, tmp_path):
        store, (row,), arrays = kept(pack("random", n_seeds=1), tmp_path)
        with pytest.raises(UsageError, match="no model of random was kept: it is no linear map of the data"):
            of_row(store, row)
        table, scored = store.every_latent(row), arrays[f"{row['trial_id']}.z_hat"]
        own = table[table.split == "test"].filter(like="z_hat").to_numpy()
        np.testing.assert_allclose(own[: len(scored)], scored, atol=1e-6)
        assert not store.lacking(KINDS)

    def test_nothing_is_kept_that_was_not_asked_for(self):
        finished = run_pack(pack("pca", n_seeds=1))
        assert {name.partition(".")[2] for name in finished.latents} >= {"z", "z_hat"}
        assert not any("/" in name for name in finished.latents)
        only = run_pack(pack("pca", n_seeds=1), keep=["latents"]).latents
        assert {name.partition(".")[2].partition("/")[0] for name in only if "/" in name} == {"latents"}


@pytest.fixture(scope="module")
def people(tmp_path_factory):
    """A table of people in odd units, and what `of_file` gives of it."""
    folder = tmp_path_factory.mktemp("people")
    PEOPLE.to_csv(folder / "people.csv", index=False)
    return of_file(folder / "people.csv", "flow-vae", {"n_latents": 2, "domain": "site"}, folder / "run")


class TestOfAFile:
    def test_the_users_rows_have_the_latents_that_were_kept_at_their_numbers(self, people):
        planned, store, (row,), arrays = people
        model, table = of_row(store, row), store.every_latent(row)
        assert table.row.tolist() == list(range(240)) and set(table.file) == {planned.trials[0].dataset_fields["path"]}
        assert table.domain.tolist() == SITE.tolist()
        found = model.encode(PEOPLE, PEOPLE.site)
        np.testing.assert_allclose(found, table.filter(like="z_hat").to_numpy(), rtol=0, atol=1e-9)
        scored = arrays[f"{row['trial_id']}.z_hat"]
        instance = standardised(planned.trials[0])
        np.testing.assert_allclose(found[instance.test.rows][: len(scored)], scored, atol=2e-4 * scored.std())

    def test_columns_are_taken_by_name_and_points_by_shape(self, people):
        _, store, (row,), _ = people
        model, names = of_row(store, row), ["height", "pulse", "dose", "age", "flat"]
        assert model.columns == tuple(names) and model.labels == ("Bern", "NA", "Oslo")
        shuffled = PEOPLE[["name", "age", "flat", "dose", "site", "pulse", "height"]]
        expected = model.encode(PEOPLE[names].to_numpy(), SITE)
        np.testing.assert_array_equal(model.encode(shuffled, list(SITE)), expected)
        assert model.encode(np.zeros((0, 5)), []).shape == (0, 2) and model.decode(np.zeros((0, 2))).shape == (0, 5)

    def test_what_is_decoded_is_in_the_users_units(self, people):
        _, store, (row,), _ = people
        model = of_row(store, row)
        decoded = model.decode(model.encode(PEOPLE, PEOPLE.site))
        np.testing.assert_allclose(decoded[:, 4], 2.5)
        for place, name in enumerate(["height", "pulse", "dose", "age"]):
            assert abs(decoded[:, place].mean() - PEOPLE[name].mean()) < PEOPLE[name].std()

    @pytest.mark.parametrize(
        "x, domains, message",
        [
            (PEOPLE, None, "it was trained on several domains; pass the domain of every point, of Bern, NA, Oslo"),
            (
                PEOPLE,
                ["Olso"] * 240,
                "there is no domain 'Olso' among those that it was trained on; did you mean 'Oslo'",
            ),
            (PEOPLE, SITE[:3], r"domains must have the shape \(240,\), and have \(3,\)"),
            (PEOPLE.drop(columns="dose"), SITE, "x has no column 'dose'"),
            (X, SITE, r"x must be points of the shape \(n_samples, 5\), and has \(240, 4\)"),
            (PEOPLE.assign(dose="much"), SITE, "x must be numbers"),
            (PEOPLE.assign(dose=PEOPLE.dose.mask(PEOPLE.index == 7)), SITE, "not finite, the first in row 7"),
        ],
    )
    def test_a_mistake_is_one_sentence(self, people, x, domains, message):
        _, store, (row,), _ = people
        with pytest.raises(UsageError, match=message):
            of_row(store, row).encode(x, domains)

    def test_latents_of_another_number_and_methods_without_decoder_are_one_sentence(self, people, tmp_path):
        _, store, (row,), _ = people
        with pytest.raises(UsageError, match=r"z must be latents \(n_samples, 2\), and has the shape \(3,\)"):
            of_row(store, row).decode([1, 2, 3])
        other, (own,), _ = kept(pack("pca", n_seeds=1), tmp_path)
        with pytest.raises(UsageError, match="pca has no decoder"):
            of_row(other, own).decode(np.zeros((1, 4)))

    def test_images_keep_their_shape_and_whole_numbers_their_units(self, tmp_path):
        x = (60 * np.tanh(Z @ np.random.default_rng(1).normal(size=(2, 12))) + 128).astype(np.uint8).reshape(240, 3, 4)
        np.savez(tmp_path / "images.npz", x=x, domain=SITE)
        _, store, (row,), _ = of_file(tmp_path / "images.npz", "flow-vae", {"n_latents": 2}, tmp_path / "run")
        model, table = of_row(store, row), store.every_latent(row)
        found = model.encode(x, SITE)
        np.testing.assert_allclose(found, table.filter(like="z_hat").to_numpy(), rtol=0, atol=1e-9)
        assert model.decode(found).shape == (240, 3, 4)

    def test_rows_are_those_of_each_of_several_files_and_of_several_data_sets_in_one(self, tmp_path):
        for name, own in (("a", PEOPLE[:100]), ("b", PEOPLE[100:])):
            own.to_csv(tmp_path / f"{name}.csv", index=False)
        again = PEOPLE.assign(dataset=np.tile(["one", "two"], 120))
        again.to_csv(tmp_path / "both.csv", index=False)
        for path, expected in (
            (f"{tmp_path / 'a.csv'},{tmp_path / 'b.csv'}", [range(100), range(140)]),
            (tmp_path / "both.csv", [range(0, 240, 2), range(1, 240, 2)]),
        ):
            _, store, rows, _ = of_file(path, "pca", {"n_latents": 2, "domain": None}, tmp_path / "run", n_seeds=2)
            for row, numbers in zip(rows, expected, strict=True):
                table = store.every_latent(row)
                assert table.row.tolist() == list(numbers)
                (of,) = set(table.file)
                found = of_row(store, row).encode(pd.read_csv(of, keep_default_na=False).iloc[table.row])
                np.testing.assert_allclose(found, table.filter(like="z_hat").to_numpy(), rtol=0, atol=1e-9)


@pytest.fixture(scope="module")
def hours(tmp_path_factory):
    """The same people at some time in seconds, which is a number u beside the site."""
    folder = tmp_path_factory.mktemp("hours")
    HOURS.to_csv(folder / "hours.csv", index=False)
    return of_file(folder / "hours.csv", "ivae", BESIDE, folder / "run")


class TestNumbersBesideTheDomain:
    def test_new_points_with_their_numbers_have_the_latents_that_were_scored_and_those_that_were_kept(self, hours):
        planned, store, (row,), arrays = hours
        model, table, scored = of_row(store, row), store.every_latent(row), arrays[f"{row['trial_id']}.z_hat"]
        assert model.n_u == 1
        found = model.encode(HOURS, HOURS.site, HOURS.hour)
        np.testing.assert_allclose(found, table.filter(like="z_hat").to_numpy(), rtol=0, atol=1e-9)
        instance = standardised(planned.trials[0])
        np.testing.assert_allclose(found[instance.test.rows][: len(scored)], scored, atol=2e-4 * scored.std())
        moved = model.encode(HOURS, HOURS.site, HOURS[["hour"]] + 3000)
        assert np.abs(moved - found).max() > 1e-3 * found.std()

    def test_a_mistake_is_one_sentence_and_other_methods_do_not_look_at_them(self, hours, tmp_path):
        _, store, (row,), _ = hours
        model = of_row(store, row)
        assert model.u_columns == ("hour",)
        np.testing.assert_array_equal(
            model.encode(HOURS, HOURS.site, HOURS), model.encode(HOURS, HOURS.site, HOURS.hour)
        )
        with pytest.raises(UsageError, match="u has no column 'hour'"):
            model.encode(HOURS, HOURS.site, HOURS[["age"]])
        for u, message in {
            None: r"it was trained with 1 number u beside every point, hour; pass u \(n_samples, 1\)",
            (1.0, 2.0): r"u must have the shape \(240, 1\), and has \(2,\)",
            ("noon",) * 240: "u must be numbers",
            (np.nan,) * 240: "u holds values that are not finite",
        }.items():
            with pytest.raises(UsageError, match=message):
                model.encode(HOURS, HOURS.site, None if u is None else list(u))
        HOURS.to_csv(tmp_path / "hours.csv", index=False)
        _, store, (row,), _ = of_file(tmp_path / "hours.csv", "pca", BESIDE, tmp_path / "run")
        other = of_row(store, row)
        assert other.n_u == 0
        np.testing.assert_array_equal(other.encode(HOURS), other.encode(HOURS, u=HOURS.hour))

    @pytest.mark.parametrize(
        "name", ["synergy-vae", "tcl", *(pytest.param(n, marks=long) for n in ("gan", "flow-vae"))]
    )
    def test_generated_data_with_drifting_latents_are_encoded_in_their_own_units(self, tmp_path, name):
        (usual,) = pack(name, n_seeds=1).trials
        trial = dataclasses.replace(usual, dataset_fields=usual.dataset_fields | {"drift": 30, "domains": 1})
        store, (row,), arrays = kept(Pack((trial,)), tmp_path)
        own, scored = raw(trial, "test"), arrays[f"{row['trial_id']}.z_hat"]
        assert own.u is not None
        found = of_row(store, row).encode(own.x, own.domains, own.u)
        np.testing.assert_allclose(found[: len(scored)], scored, atol=2e-4 * scored.std())


class TestLoading:
    def test_a_model_of_other_code_or_with_other_weights_is_refused(self, tmp_path, monkeypatch):
        store, (row,), _ = kept(pack("vae", n_seeds=1), tmp_path)
        arrays = store.model(row)
        arrays["weights/encoder.shift"] = arrays["weights/encoder.shift"] + 1
        monkeypatch.setattr(Store, "model", lambda *_: arrays)
        with pytest.raises(UsageError, match="the code of vae that is here makes other latents"):
            of_row(store, row)
        arrays["weights/encoder.shift"] = np.zeros((2, 2))
        with pytest.raises(UsageError, match="the model of vae is damaged, or of other code than is here"):
            of_row(store, row)
        arrays["facts"] = np.array("no facts")
        with pytest.raises(UsageError, match="what was kept of the model of vae is damaged"):
            of_row(store, row)

    def test_nothing_pickled_is_read(self, tmp_path):
        store, (row,), _ = kept(pack("pca", n_seeds=1), tmp_path)
        (path,) = (tmp_path / "models").iterdir()
        np.savez(path, **{f"{row['trial_id']}.facts": np.array({"kind": "torch"}, dtype=object)})
        with pytest.raises(UsageError, match="is of type object"):
            of_row(store, row)

    def test_a_plug_in_is_executed_only_where_the_user_names_it(self, tmp_path, monkeypatch):
        marker = tmp_path / "executed"
        file = tmp_path / "mine.py"
        file.write_text(
            "from dataclasses import dataclass\nfrom pathlib import Path\nfrom methods import register\n"
            "from methods.vae import VAE\n"
            f"Path({str(marker)!r}).write_text('yes')\n"
            "@register('my-vae', source='this test')\n@dataclass(frozen=True)\nclass Mine(VAE):\n    '''Mine.'''\n"
        )
        files = plugins.load([str(file)])
        try:
            store, (row,), _ = kept(pack("my-vae", n_seeds=1), tmp_path / "run")
        finally:
            plugins.unload(files)
        store.write_text("manifest.json", "{}")
        marker.unlink()
        with pytest.raises(UsageError, match="the method 'my-vae' is not registered here; name the plug-in file"):
            bench.load(tmp_path / "run", row["trial_id"])
        assert not marker.exists()
        try:
            model = bench.load(tmp_path / "run", row["trial_id"][:6], plugins=[str(file)])
            assert marker.exists() and model.encode(np.zeros((2, 8)), [0, 2]).shape == (2, 4)
        finally:
            plugins.unload(files)

    def test_a_model_that_is_more_than_its_parameters_is_not_kept_and_its_latents_are(self, tmp_path, monkeypatch):
        from methods.vae import VAE

        def prepare(self, model, x):
            super(VAE, self).prepare(model, x)
            model.forgotten = 1.5

        encode = VAE.encode
        monkeypatch.setattr(VAE, "prepare", prepare)
        monkeypatch.setattr(VAE, "encode", lambda self, m, x, u: encode(self, m, x, u) * getattr(m, "forgotten", 1.0))
        store, (row,), arrays = kept(pack("vae", n_seeds=1), tmp_path)
        with pytest.raises(UsageError, match="it encodes otherwise once it is built again from its parameters"):
            of_row(store, row)
        table, scored = store.every_latent(row), arrays[f"{row['trial_id']}.z_hat"]
        own = table[table.split == "test"].filter(like="z_hat").to_numpy()
        np.testing.assert_allclose(own[: len(scored)], scored, atol=1e-5)


ALONE = """
import json, sys
import numpy as np, torch
arrays = np.load("points.npz")
encoder, decoder = (torch.export.load(f"{name}.pt2").module() for name in ("encoder", "decoder"))
given = [torch.tensor(arrays[name]) for name in ("x", "domain", "u") if name in arrays.files]
z = encoder(*given)
one = encoder(*(each[:1] for each in given))
here = sorted(name for name in sys.modules if name.split(".")[0] in ("bench", "methods", "datasets"))
np.savez("found.npz", z=z.numpy(), one=one.numpy(), x=decoder(z).numpy(), here=np.array(here, dtype=str))
"""
EXPORTED = [
    "flow-vae",
    *(pytest.param(name, {}, marks=long) for name in methods.names() if getattr(methods[name].cls, "steps", None)),
]


@pytest.mark.parametrize(
    "name, beside", [*((name, {}) for name in EXPORTED[:1]), ("ivae", {"u": "hour"}), *EXPORTED[1:]]
)
def test_an_export_runs_without_this_project_and_gives_the_same_to_1e_6(tmp_path, name, beside):
    HOURS.assign(z_0=Z[:, 0], z_1=Z[:, 1]).to_csv(tmp_path / "people.csv", index=False)
    data = {"n_latents": 2, "domain": "site", "x": "height,pulse,dose,age,flat"} | beside
    _, store, (row,), _ = of_file(tmp_path / "people.csv", name, data, tmp_path / "run")
    store.write_text("manifest.json", "{}")
    out = tmp_path / "elsewhere"
    assert main(["export", str(tmp_path / "run"), name, "--out", str(out)]) == 0
    model = bench.load(tmp_path / "run", name)
    facts = json.loads((out / "model.json").read_text())
    assert facts["columns"] == list(model.columns) and facts["domains"] == ["Bern", "NA", "Oslo"]
    number = {label: place for place, label in enumerate(facts["domains"])}
    domain = np.array([number[site] for site in SITE])
    numbers = {"u": HOURS[["hour"]].to_numpy()} if beside else {}
    assert facts["n_u"] == len(numbers) and facts["u_columns"] == [*beside.values()]
    np.savez(out / "points.npz", x=HOURS[facts["columns"]].to_numpy(), domain=domain, **numbers)
    code = (
        ALONE
        if model.decoder
        else ALONE.replace('("encoder", "decoder")', '("encoder", "encoder")').replace("decoder(z)", "z")
    )
    environment = {"PATH": "/usr/bin:/bin", "OMP_NUM_THREADS": "1"}
    done = subprocess.run([sys.executable, "-c", code], cwd=out, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    found = np.load(out / "found.npz")
    kept_ones = store.every_latent(row).filter(like="z_hat").to_numpy()
    np.testing.assert_allclose(found["z"], kept_ones, rtol=0, atol=1e-6)
    np.testing.assert_allclose(found["one"], kept_ones[:1], rtol=0, atol=1e-6)
    if model.decoder:
        np.testing.assert_allclose(found["x"], model.decode(kept_ones), rtol=1e-6)
    assert found["here"].size == 0
    text = (out / "README.md").read_text()
    assert "the columns height, pulse, dose, age, flat, in this order" in text and "| 1 | NA |" in text
    assert str(ROOT).encode() not in b"".join(path.read_bytes() for path in out.glob("*.pt2"))


def test_an_exported_graph_holds_operations_of_torch_alone(tmp_path):
    store, (row,), _ = kept(pack("synergy-vae", n_seeds=1), tmp_path)
    model = of_row(store, row)
    inputs = torch.zeros(2, 8, dtype=torch.float64), torch.zeros(2, dtype=torch.int64)
    graph = torch.export.export(
        model.encoder, inputs, dynamic_shapes=({0: exported.POINTS}, {0: exported.POINTS})
    ).graph
    called = [node.target for node in graph.nodes if node.op == "call_function"]
    assert len(called) > 10 and all("aten" in str(each) or "getitem" in str(each) for each in called)
