import dataclasses

import numpy as np
import pytest

from bench import charts, worker
from bench.trials import Pack, Trial
from methods import methods


def test_a_linear_image_of_latents_is_unfolded_to_a_rotation_of_them():
    z = np.random.default_rng(0).uniform(-1, 1, (1500, 2))
    x = z @ np.linalg.qr(np.random.default_rng(1).normal(size=(5, 2)))[0].T
    found = charts.unfold(x, 2)
    np.testing.assert_allclose(np.cov(found.T), np.eye(2), atol=0.01)
    fit, *_ = np.linalg.lstsq(np.c_[found, np.ones(1500)], z, rcond=None)
    residual = z - np.c_[found, np.ones(1500)] @ fit
    assert residual.var() < 0.01 * z.var()


def test_a_rolled_up_sheet_is_unfolded():
    """The first principal components do not follow the sheet; the chart does."""
    rng = np.random.default_rng(0)
    along, across = rng.uniform(0.5, 3, 3000) * np.pi, rng.uniform(0, 3, 3000)
    x = np.stack([along * np.cos(along), along * np.sin(along), across], axis=1)
    x = (x - x.mean(0)) / x.std(0)
    found = charts.unfold(x, 2)
    assert abs(np.corrcoef(found.T, along)[-1, :2]).max() > 0.95
    assert abs(np.corrcoef(x.T, along)[-1, :3]).max() < 0.8


def test_rotations_are_orthogonal_and_differ_by_seed():
    points = np.eye(4)
    first, again, other = (charts.rotate(points, seed) for seed in (0, 0, 1))
    np.testing.assert_allclose(first @ first.T, np.eye(4), atol=1e-12)
    np.testing.assert_array_equal(first, again)
    assert not np.allclose(first, other)


def test_bad_points_are_refused():
    with pytest.raises(ValueError, match="too few"):
        charts.unfold(np.zeros((3, 5)), 3)
    with pytest.raises(ValueError, match="NaN"):
        charts.unfold(np.full((200, 5), np.nan), 2)


def test_every_second_restart_starts_from_a_chart(monkeypatch):
    """Half of the restarts start anywhere, so that a bad chart costs little; one start alone has none."""

    class Seen(Exception):
        pass

    def jobs_of(restarts):
        fields = methods["vae"].make({"restarts": restarts, "steps": 40})
        trial = Trial("sparse-mixing", {"n_samples": 200}, "vae", dataclasses.asdict(fields), seed=0, root_seed=0)
        with pytest.raises(Seen) as seen:
            worker._run_torch(Pack((trial,)), "cpu")
        return seen.value.args[0]

    def stop(method, shape, jobs, device):
        raise Seen(jobs)

    monkeypatch.setattr(worker, "Stack", stop)
    assert [job.chart is not None for job in jobs_of(4)] == [False, True, False, True]
    assert [job.chart is not None for job in jobs_of(1)] == [False]
    first, second = (job.chart for job in jobs_of(4)[1::2])
    np.testing.assert_allclose(first @ first.T, second @ second.T, atol=1e-3)  # the same up to a rotation
    assert not np.allclose(first, second)
