"""Torch methods as scikit-learn transformers: what they share with the benchmark, and what they say of mistakes."""

import pickle

import numpy as np
import pandas as pd
import pytest
from sklearn import config_context
from sklearn.base import clone
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import parametrize_with_checks

from bench.registry import UsageError
from bench.train.transformer import as_estimator
from methods import CHANGES, Shape, TorchMethod, methods
from tests.conftest import long

TINY = {"steps": 20, "width": 8, "depth": 1, "batch_size": 16}
TORCH = [m.name for m in methods if issubclass(m.cls, TorchMethod) and not m.cls.sees_latents]
EVERY_TIME = {"vae", "ivae", "synergy-vae", "synergy-gan", "synergy-flow", "tcl"}  # one of each make
FROM_CHANGES = [name for name in TORCH if CHANGES in methods[name].cls.assumes]


@pytest.fixture(scope="module")
def data():
    rng = np.random.default_rng(0)
    domains = np.repeat(["a", "b", "c"], 60)
    z = rng.normal(size=(180, 2)) * np.repeat([1, 2, 3], 60)[:, None] + np.repeat([0, 1, -1], 60)[:, None]
    return z @ rng.normal(size=(2, 4)) * [1, 10, 100, 1000] + 5, domains


@parametrize_with_checks([as_estimator("sparse-vae", **TINY, restarts=2)])
def test_it_keeps_the_conventions_of_scikit_learn(estimator, check):
    check(estimator)


@pytest.mark.parametrize("name", [pytest.param(n, marks=() if n in EVERY_TIME else long) for n in TORCH])
def test_every_torch_method_is_an_estimator(name, data):
    x, domains = data
    before = x.copy(), domains.copy()
    estimator = as_estimator(name, n_latents=2, random_state=0, **TINY)
    assert estimator.get_params().keys() == {*methods[name].fields, "n_latents", "random_state", "device"}
    assert estimator.set_params(steps=10).get_params()["steps"] == 10
    copy = clone(estimator)
    assert copy.get_params() == estimator.get_params() and copy is not estimator
    z = estimator.fit(x, domains=domains).transform(x, domains=domains)
    assert z.shape == (180, 2) and z.dtype == x.dtype and np.isfinite(z).all() and estimator.n_features_in_ == 4
    np.testing.assert_array_equal(z, copy.fit_transform(x, domains=domains))  # the same random_state, the same numbers
    np.testing.assert_array_equal(z, pickle.loads(pickle.dumps(estimator)).transform(x, domains=domains))
    assert not np.array_equal(z, clone(estimator).set_params(random_state=1).fit_transform(x, domains=domains))
    assert np.array_equal(x, before[0]) and np.array_equal(domains, before[1])


def test_the_points_of_a_domain_may_come_alone_and_their_labels_are_those_of_the_fit(data):
    x, domains = data
    estimator = as_estimator("flow-vae", n_latents=2, random_state=0, **TINY).fit(x, domains=domains)
    z = estimator.transform(x, domains=domains)
    np.testing.assert_allclose(estimator.transform(x[-60:], domains=domains[-60:]), z[-60:], rtol=1e-9)
    assert not np.allclose(estimator.transform(x[-60:], domains=domains[:60]), z[-60:])


def test_it_agrees_with_the_benchmarks_training(data):
    """One stack, the same seeds: the estimator adds standardisation and double precision in the encoder, and nothing else."""
    from bench.train.engine import Job, Stack
    from datasets import Split

    x, domains = data
    tiny = TINY | {"start": "random"}
    estimator = as_estimator("ivae", n_latents=2, random_state=3, **tiny).fit(x, domains=domains)
    init, noise = np.random.RandomState(3).randint(2**31 - 1, size=2).tolist()
    split = Split((x - x.mean(0)) / x.std(0), np.unique(domains, return_inverse=True)[1], np.zeros((180, 0)))
    stack = Stack(methods["ivae"].make(tiny), Shape(4, 2, 10), [Job(split, init, noise)])
    stack.train()
    np.testing.assert_allclose(estimator.transform(x, domains=domains), stack.encode([split])[0], atol=1e-4)


def test_it_starts_from_the_chart_of_its_data_and_the_seed_says_which(data):
    x, domains = data

    def fitted(seed, **more):
        return as_estimator("ivae", n_latents=2, random_state=seed, **TINY | more).fit(x, domains=domains)

    once, again, other, plain = fitted(3), fitted(3), fitted(4), fitted(3, start="random")
    latents = [own.transform(x, domains=domains) for own in (once, again, other, plain)]
    np.testing.assert_array_equal(latents[0], latents[1])
    assert not np.allclose(latents[0], latents[2]) and not np.allclose(latents[0], latents[3])
    with pytest.raises(ValueError, match="the data have none"):
        fitted(3, start="truth")


WORDS = ["a", "b", "c"] * 60


@pytest.mark.parametrize(
    ("fit", "transform", "message"),
    [
        (None, None, "needs at least 2 domains.*pass them as domains="),
        ([0] * 180, None, "needs at least 2 domains"),
        ([0, 1], None, r"must have shape \(180,\)"),
        (0, None, r"must have shape \(180,\)"),
        (np.zeros((180, 1)), None, r"must have shape \(180,\), and has \(180, 1\)"),
        ([[0, 1]] * 90 + [[1]] * 90, None, "must be integers or words"),
        (np.random.default_rng(0).normal(size=180), None, "must be integers or words, and hold 0.1257"),
        ([0.5, 1] * 90, None, "must be integers or words, and hold 0.5"),
        ([0.0, 1.0, np.nan] * 60, None, "must be integers or words, and hold nan"),
        ([0.0, np.inf] * 90, None, "must be integers or words, and hold inf"),
        (["a", None] * 90, None, "must be integers or words, and hold None"),
        (["a", 1] * 90, None, "must be integers or words, and hold both"),
        (np.array(["a", 1] * 90, dtype=object), None, "must be integers or words, and hold both"),
        (pd.Series([1, None] * 90, dtype="Int64"), None, "must be integers or words, and hold nan"),
        (np.arange(180).astype("datetime64[D]"), None, "must be integers or words"),
        (np.arange(180) * 1j, None, "must be integers or words"),
        ([0, 1] * 90, None, "pass those of these points"),
        ([0, 1] * 90, [0, 2] * 90, "domains: 2 was not among"),
        ([0, 1] * 90, ["0", "1"] * 90, "domains: '0' was not among"),
        (WORDS, ["a", "d"] * 90, "domains: 'd' was not among"),
        (WORDS, [0, 1] * 90, "domains: 0 was not among"),
    ],
)
def test_domains_that_do_not_fit_are_said(fit, transform, message, data):
    with pytest.raises(ValueError, match=message):
        as_estimator("flow-vae", n_latents=2, **TINY).fit(data[0], domains=fit).transform(data[0], domains=transform)


@pytest.mark.parametrize(
    "labels",
    [
        [7, -2, 40] * 60,
        [7.0, -2.0, 40.0] * 60,
        np.array([7, 2, 40] * 60, dtype=np.uint8),
        WORDS,
        np.array(WORDS, dtype=object),
        pd.Series(WORDS, dtype="category"),
        pd.Series([7, -2, 40] * 60, dtype="Int64"),
    ],
)
def test_labels_are_integers_or_words_of_any_kind_and_only_say_what_belongs_together(labels, data):
    estimator = as_estimator("ivae", n_latents=2, random_state=0, **TINY)
    z = estimator.fit(data[0], domains=labels).transform(data[0], domains=labels)
    assert len(estimator.domains_) == 3
    order = estimator.domains_.argsort().argsort()
    numbers = np.searchsorted(estimator.domains_, np.asarray(labels, dtype=estimator.domains_.dtype))
    np.testing.assert_array_equal(z, estimator.fit_transform(data[0], domains=order[numbers]))


@pytest.mark.parametrize("name", FROM_CHANGES)
@pytest.mark.parametrize("call", ["fit", "fit_transform"])
def test_domains_in_the_place_of_y_are_an_error_of_every_method_that_learns_from_them(name, call, data):
    estimator = as_estimator(name, n_latents=2, **TINY)
    with pytest.raises(ValueError, match=rf"{name} learns from domains and ignores y; pass them by name"):
        getattr(estimator, call)(*data)
    with pytest.raises(ValueError, match="pass them by name"):
        make_pipeline(StandardScaler(), estimator).fit(*data)


def test_a_target_beside_the_domains_is_ignored(data):
    x, domains = data
    estimator = as_estimator("flow-vae", n_latents=2, random_state=0, **TINY)
    z = estimator.fit_transform(x, np.arange(180), domains=domains)
    np.testing.assert_array_equal(z, estimator.fit_transform(x, domains=domains))


@pytest.mark.parametrize("name", ["vae", "sparse-vae", "flow-vae", "flow"])
def test_more_latents_than_variables_are_said(name, data):
    x, domains = data
    with pytest.raises(ValueError, match=f"{name} needs at least as many observed variables as latents"):
        as_estimator(name, n_latents=5, **TINY).fit(x, domains=domains)


@pytest.mark.parametrize(
    ("fitted", "elsewhere"), [(0.1, 0.11), (0.0, 1.0), (1.7e9, 1.8e9), (-1e6, 1e6), (np.float32(0.1), np.float32(0.11))]
)
@pytest.mark.parametrize("name", ["vae", "ivae"])
def test_a_column_that_was_constant_in_the_fit_moves_no_latent(name, fitted, elsewhere, data):
    x, domains = data
    estimator = as_estimator(name, n_latents=2, random_state=0, **TINY)
    tables = [
        np.column_stack([x, np.full(180, value)]).astype(np.asarray(value).dtype) for value in (fitted, elsewhere)
    ]
    first, moved = (estimator.fit(tables[0], domains=domains).transform(table, domains=domains) for table in tables)
    np.testing.assert_array_equal(moved, first)
    assert np.isfinite(moved).all() and np.ptp(moved) < 100


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: as_estimator("supervised"), "without the truth"),
        (lambda: as_estimator("pca"), "no torch method"),
        (lambda: as_estimator("synergy"), "did you mean 'synergy-vae'"),
        (lambda: as_estimator("vae", steps=-1).fit(np.eye(9)), "steps=-1 is out of range"),
    ],
)
def test_a_mistake_is_one_sentence(make, message):
    with pytest.raises(UsageError, match=message):
        make()


def test_it_stands_in_a_pipeline(data):
    pipeline = make_pipeline(StandardScaler(), as_estimator("vae", n_latents=2, **TINY))
    assert pipeline.fit(data[0], np.arange(180)).transform(data[0]).shape == (180, 2)
    assert pipeline.get_feature_names_out().tolist() == ["vae0", "vae1"]


def test_a_pipeline_passes_domains_by_name_or_by_its_routing(data):
    x, domains = data
    estimator = as_estimator("flow-vae", n_latents=2, random_state=0, **TINY)
    by_hand = clone(estimator).fit(StandardScaler().fit_transform(x), domains=domains)
    named = make_pipeline(StandardScaler(), estimator).fit(x, flowvae__domains=domains)
    with config_context(enable_metadata_routing=True):
        asking = clone(estimator).set_fit_request(domains=True).set_transform_request(domains=True)
        routed = make_pipeline(StandardScaler(), asking).fit(x, np.arange(180), domains=domains)
        z = routed.transform(x, domains=domains)
    expected = by_hand.transform(StandardScaler().fit_transform(x), domains=domains)
    np.testing.assert_array_equal(z, expected)
    np.testing.assert_array_equal(named[-1].transform(named[:-1].transform(x), domains=domains), expected)


class TestNumbers:
    @pytest.fixture
    def drifting(self):
        rng = np.random.default_rng(0)
        u = rng.uniform(1e3, 2e3, size=180)
        z = rng.normal(size=(180, 2)) * np.exp(np.sin(u[:, None] / 200 + np.arange(2)))
        return z @ rng.normal(size=(2, 4)) + 0.1 * rng.normal(size=(180, 4)), u

    def test_it_agrees_with_the_benchmarks_training_on_numbers_too(self, drifting):
        from bench.train.engine import Job, Stack
        from datasets import Split

        x, u = drifting
        tiny = TINY | {"start": "random"}
        estimator = as_estimator("flow-vae", n_latents=2, random_state=3, **tiny).fit(x, u=u)
        init, noise = np.random.RandomState(3).randint(2**31 - 1, size=2).tolist()
        numbers = ((u - u.mean()) / u.std())[:, None]
        split = Split((x - x.mean(0)) / x.std(0), np.zeros(180, int), np.zeros((180, 0)), u=numbers)
        stack = Stack(methods["flow-vae"].make(tiny), Shape(4, 2, 10, 1), [Job(split, init, noise)])
        stack.train()
        np.testing.assert_allclose(estimator.transform(x, u=u), stack.encode([split])[0], atol=1e-4)

    def test_numbers_stand_beside_domains_and_say_nothing_by_their_unit(self, drifting):
        x, u = drifting
        labels = ["a", "b"] * 90
        estimator = as_estimator("ivae", n_latents=2, random_state=0, **TINY)
        z = estimator.fit_transform(x, domains=labels, u=u)
        np.testing.assert_allclose(estimator.fit_transform(x, domains=labels, u=(60 * u)[:, None]), z, atol=1e-5)
        assert not np.allclose(estimator.transform(x, domains=labels, u=u[::-1] * 60), z)
        assert not np.allclose(estimator.fit_transform(x, domains=labels), z)

    def test_it_may_be_cloned_kept_and_put_into_a_pipeline(self, drifting):
        x, u = drifting
        pipeline = make_pipeline(StandardScaler(), as_estimator("ivae", n_latents=2, random_state=0, **TINY))
        fitted = pickle.loads(pickle.dumps(clone(pipeline).fit(x, ivae__u=u)))
        z = as_estimator("ivae", n_latents=2, random_state=0, **TINY).fit_transform(
            StandardScaler().fit_transform(x), u=u
        )
        np.testing.assert_array_equal(fitted[-1].transform(fitted[0].transform(x), u=u), z)

    @pytest.mark.parametrize(
        ("fit", "transform", "message"),
        [
            (np.zeros(179), None, r"u must be numbers of shape \(180, n_u\) or \(180,\), and is float64 \(179,\)"),
            (["early"] * 180, None, "u must be numbers"),
            (np.full(180, np.nan), None, "u must be finite"),
            (np.zeros((180, 2, 2)), None, "u must be numbers"),
            (np.arange(180), None, "it was fitted with 1 columns of u, and is given 0"),
            (np.arange(180), np.zeros((180, 2)), "it was fitted with 1 columns of u, and is given 2"),
        ],
    )
    def test_numbers_that_do_not_fit_are_said(self, fit, transform, message, drifting):
        with pytest.raises(ValueError, match=message):
            as_estimator("ivae", n_latents=2, **TINY).fit(drifting[0], u=fit).transform(drifting[0], u=transform)
