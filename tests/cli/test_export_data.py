"""`export-data`: the arrays that it writes are those of a run, and the data set `file` reads them back."""

import numpy as np
import pytest

from bench import cli
from bench.plan.identity import data_seed
from datasets import datasets

DATA = {  # data sets of each kind, with what makes them small
    "sparse-mixing": {"n_samples": 300, "domains": 3},
    "modulated-sources": {"n_samples": 500},
    "style-content": {"n_samples": 500},
    "sprites": {"n_samples": 100, "size": 16},
    "coloured-digits": {"n_samples": 500},
}


@pytest.fixture(autouse=True)
def in_an_empty_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize("name", DATA)
def test_what_is_exported_is_what_a_run_trains_on_and_the_data_set_file_reads_the_same(name, capsys):
    entry = datasets[name]
    fields = {field: value for field, value in DATA[name].items() if field in entry.fields}
    words = [word for field, value in fields.items() for word in ("--set", f"{name}.{field}={value}")]
    assert cli.main(["export-data", "--dataset", name, *words, "--data-seed", "1", "--out", "data.npz"]) == 0
    assert "written: data.npz" in capsys.readouterr().out
    original = entry.make(fields).generate(data_seed(0, 1))
    n_latents = {} if original.train.z.shape[1] else {"n_latents": 2}
    found = datasets["file"].make(path="data.npz", **n_latents).generate(0)
    (units,) = found.units
    assert found.x_shape == (original.x_shape or (original.train.x.shape[1],)) and found.n_domains == original.n_domains
    for part in ("train", "validation", "test"):
        before, after = getattr(original, part), getattr(found, part)
        np.testing.assert_array_equal(after.domains, before.domains)
        np.testing.assert_allclose(after.x, (before.x - units.centre) / units.scale, atol=1e-4)
        for own, again in ((before.z, after.z), (before.u, after.u)):
            for column in range(0 if own is None else own.shape[1]):
                assert np.corrcoef(own[:, column], again[:, column])[0, 1] == pytest.approx(1)
    if original.support is not None:
        np.testing.assert_array_equal(found.support, original.support)


def test_an_auxiliary_variable_of_numbers_is_exported_too():
    assert (
        cli.main(
            ["export-data", "--set", "sparse-mixing.n_samples=300", "--set", "sparse-mixing.drift=20", "--out", "u.npz"]
        )
        == 0
    )
    with np.load("u.npz") as arrays:
        assert arrays["u"].shape == (len(arrays["x"]), 1)
    assert datasets["file"].make(path="u.npz").n_u == 1


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--out", "data.csv"], "name an .npz file"),
        (["--out", "nowhere/data.npz"], "in a folder that exists"),
        (["--out", "data.npz", "--set", "sparse-mixing.domain=3"], "did you mean 'domains'?"),
        (["--out", "data.npz", "--dataset", "sprite"], "did you mean 'sprites'?"),
        (["--out", "data.npz", "--data-seed", "-1"], "less than 0"),
        ([], "required: --out"),
    ],
)
def test_a_mistake_is_one_sentence(words, message, capsys):
    assert cli.main(["export-data", *words]) == 2
    said = capsys.readouterr().err
    assert message in said and said.count("\n") == 1


def test_arrays_in_python_are_those_of_the_splits():
    instance = datasets["sparse-mixing"].make(domains=3, n_samples=300).generate(0)
    arrays = instance.arrays()
    assert arrays["x"].shape == (300 + len(instance.validation.x) + len(instance.test.x), 8)
    np.testing.assert_array_equal(arrays["x"][arrays["split"] == 2], instance.test.x)
    np.testing.assert_array_equal(arrays["z"][arrays["split"] == 0], instance.train.z)
    assert datasets["sparse-mixing"].make({"domains": 3}, n_samples=300) == datasets["sparse-mixing"].make(
        domains=3, n_samples=300
    )
