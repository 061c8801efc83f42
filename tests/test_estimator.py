import pickle

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import parametrize_with_checks

from bench.estimator import as_estimator
from bench.trials import Trial
from methods import TorchMethod, methods, register_transformer
from registry import UsageError
from tests.test_plugins import alone, run  # noqa: F401 - `alone` is a fixture

TINY = {"steps": 20, "width": 8, "depth": 1, "batch_size": 16}
TORCH = [m.name for m in methods if issubclass(m.cls, TorchMethod) and not m.cls.sees_latents]


@pytest.fixture(scope="module")
def data():
    rng = np.random.default_rng(0)
    domains = np.repeat(["a", "b", "c"], 60)
    z = rng.normal(size=(180, 2)) * np.repeat([1, 2, 3], 60)[:, None] + np.repeat([0, 1, -1], 60)[:, None]
    return z @ rng.normal(size=(2, 4)) * [1, 10, 100, 1000] + 5, domains


@parametrize_with_checks([as_estimator("synergy-vae", **TINY), as_estimator("vae", **TINY, restarts=2)])
def test_it_keeps_the_conventions_of_scikit_learn(estimator, check):
    check(estimator)


@pytest.mark.parametrize("name", TORCH)
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
    from bench.engine import Job, Stack
    from bench.trials import model_shape
    from datasets import Split

    x, domains = data
    estimator = as_estimator("ivae", n_latents=2, random_state=3, **TINY).fit(x, domains=domains)
    init, noise = np.random.RandomState(3).randint(2**31 - 1, size=2).tolist()
    split = Split((x - x.mean(0)) / x.std(0), np.unique(domains, return_inverse=True)[1], np.zeros((180, 0)))
    stack = Stack(methods["ivae"].make(TINY), model_shape((4, 2, 3)), [Job(split, init, noise)])
    stack.train()
    np.testing.assert_allclose(estimator.transform(x, domains=domains), stack.encode([split])[0], atol=1e-4)


@pytest.mark.parametrize(
    ("fit", "transform", "message"),
    [
        ({}, {}, "needs at least 2 domains"),
        ({"domains": [0] * 180}, {}, "needs at least 2 domains"),
        ({"domains": [0, 1]}, {}, r"must have shape \(180,\)"),
        ({"domains": [0, 1] * 90}, {}, "pass those of these points"),
        ({"domains": [0, 1] * 90}, {"domains": [0, 2] * 90}, "2.* was not among"),
    ],
)
def test_domains_that_do_not_fit_are_said(fit, transform, message, data):
    with pytest.raises(ValueError, match=message):
        as_estimator("flow-vae", n_latents=2, **TINY).fit(data[0], **fit).transform(data[0], **transform)


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


class TestTransformersInOneLine:
    LINES = (
        "from sklearn.decomposition import KernelPCA\nfrom methods import register_transformer\n"
        "register_transformer('kernel-pca', lambda n_latents, seed, gamma=0.1, kernel='rbf': "
        "KernelPCA(n_latents, kernel=kernel, gamma=gamma, random_state=seed), source='Schoelkopf et al. 1998')\n"
    )
    WORDS = ("--methods", "kernel-pca", "--seeds", "1", "--executor", "serial", "--name", "own", "--grid", "domains=3",
             "--grid", "violation=0", "--set", "sparse-mixing.n_samples=400", "--plugin", "mine.py")  # fmt: skip

    def test_it_is_shown_with_its_fields_and_takes_part(self, tmp_path, capsys):
        (tmp_path / "mine.py").write_text(self.LINES)
        out = run(capsys, "show", "kernel-pca", "--plugin", "mine.py")[1]
        assert "kernel-pca (Schoelkopf et al. 1998)" in out and "gamma = 0.1  [float]" in out
        assert "kernel = rbf  [str]" in out
        code, out, _ = run(capsys, *self.WORDS, "--grid", "kernel-pca.gamma=0.01,1")
        assert code == 0 and "gamma=0.01" in out and out.count(" 2/2 ") == 0 and out.count(" 1/1 ") == 2
        assert "[float]" not in out and run(capsys, *self.WORDS, "--set", "kernel-pca.gamma=much")[0] == 2

    def test_a_trials_identity_follows_its_file(self, tmp_path):
        from bench import plugins

        def identity():
            plugins.load([tmp_path / "mine.py"])
            return Trial("sparse-mixing", {}, "kernel-pca", {}, 0, 0).trial_id

        (tmp_path / "mine.py").write_text(self.LINES)
        first = identity()
        (tmp_path / "mine.py").write_text(self.LINES.replace("gamma=gamma", "gamma=2 * gamma"))
        assert identity() != first

    def test_a_line_that_was_copied_without_a_new_name_is_refused(self, tmp_path, capsys):
        (tmp_path / "mine.py").write_text(self.LINES * 2)
        assert "two methods are called 'kernel-pca'" in run(capsys, "list", "--plugin", "mine.py")[2]

    def test_a_parameter_without_a_default_is_refused(self):
        with pytest.raises(UsageError, match="new.alpha: give it a default"):
            register_transformer("new", lambda n_latents, seed, alpha: None, source="this test")
