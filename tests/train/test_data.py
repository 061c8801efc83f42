"""Standardised columns are of a sensible size, whatever is rare, constant or far away."""

import numpy as np
import pytest

from bench.scores.metrics import Encoded, evaluate
from bench.train.data import scale
from bench.train.engine import Job, Stack
from datasets import Split, datasets
from methods import Shape, methods

NOISE = np.random.default_rng(0).normal(size=1200)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_columns_that_vary_are_standardised_as_numpy_does_bit_for_bit(dtype):
    x = (
        np.random.default_rng(1).normal(size=(10_000, 7)) * [1e-9, 1, 1, 5, 100, 1e9, 1e15] + [0, 0, 1e3, 0, 0, 1, 0]
    ).astype(dtype)
    centre, width = scale(x)
    assert centre.dtype == width.dtype == dtype
    np.testing.assert_array_equal(centre, x.mean(axis=0))
    np.testing.assert_array_equal(width, x.std(axis=0))


@pytest.mark.parametrize(
    "fitted",
    [
        np.full(1200, 0.1),
        np.full(1_000_000, 0.1),
        np.full(1_000_000, 0.1, np.float32),
        np.zeros(1200),
        np.full(1200, -8e-4, np.float32),
        (1e6 + 0.05 * NOISE).astype(np.float32),
        np.full(1200, 1.7e9),
        np.full(1200, 255),
    ],
)
def test_a_column_that_is_constant_where_it_is_fitted_says_nothing_elsewhere(fitted):
    centre, width = scale(np.column_stack([fitted, np.arange(len(fitted))]).astype(fitted.dtype))
    points = np.append(fitted, [fitted[0] * 2 + 1, 0, -1]).astype(float)
    assert not ((points - centre[0]) / width[0]).any() and np.isfinite(width[1])


def test_one_outlier_is_as_far_out_as_it_can_be_and_no_farther():
    x = np.append(np.zeros(1199), 1e12)[:, None]
    centre, width = scale(x)
    assert ((x - centre) / width).max() == pytest.approx(np.sqrt(1199))


@pytest.fixture(params=["train", "validation", "test"])
def rare(request, tmp_path):
    """A file with and without a column of one 1 among zeros, and a seed for which the 1 is in the split that is asked for."""
    rng = np.random.default_rng(0)
    u = np.repeat([0, 1, 2], 400)
    z = rng.normal(size=(1200, 3)) * (1 + u)[:, None]
    arrays = {"x": z @ rng.normal(size=(3, 6)), "z": z, "domain": u}
    np.savez(tmp_path / "plain.npz", **arrays)
    np.savez(tmp_path / "rare.npz", **arrays | {"x": np.column_stack([arrays["x"], np.arange(1200) == 7])})
    plain, rare = (datasets["file"].make({"path": str(tmp_path / f"{name}.npz")}) for name in ("plain", "rare"))
    pairs = ((plain.generate(seed), rare.generate(seed)) for seed in range(100))
    return next(pair for pair in pairs if getattr(pair[1], request.param).x[:, -1].max() > 0.5)


def test_a_rare_column_changes_no_other_and_is_of_a_sensible_size(rare):
    plain, rare = rare
    (centre, width), (centre_rare, width_rare) = scale(plain.train.x), scale(rare.train.x)
    np.testing.assert_array_equal(centre_rare[:-1], centre)
    np.testing.assert_array_equal(width_rare[:-1], width)
    for split in ("train", "validation", "test"):
        assert np.abs((getattr(rare, split).x - centre_rare) / width_rare).max() < np.sqrt(1200)


def test_a_rare_column_changes_no_score(rare):
    """The ceiling is a whitened network: a scale of 1 cost it .7 of its Pearson correlation, by a single point."""
    results = []
    for instance in rare:
        centre, width = scale(instance.train.x)
        splits = [
            Split(((s.x - centre) / width).astype(np.float32), s.domains, s.z)
            for s in (instance.train, instance.validation, instance.test)
        ]
        shape = Shape(splits[0].x.shape[1], 3, 10)
        method = methods["supervised"].make({"steps": 256})
        stack = Stack(method, shape, [Job(splits[0], init_seed=0, noise_seed=0)])
        stack.train()
        validation, test = (Encoded(s.z, stack.encode([s])[0], s.domains) for s in splits[1:])
        results.append(evaluate(validation, test))
    for name in ("mcc_spearman", "mcc_pearson", "r2_linear", "r2_component"):
        assert results[1][name] == pytest.approx(results[0][name], abs=0.02)
