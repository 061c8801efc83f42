"""The projection that folds least, on surfaces of which the answer is known."""

import numpy as np
import pytest
import torch

from bench.train import chart, projections
from bench.train.chart import Autoencoder
from datasets import Split
from methods import Shape


def surface(bend=3.0, n=2000, seed=0):
    """A bent plane whose greatest principal axes see it folded: its second parameter, its points (n, 3), and how these are turned."""
    rng = np.random.default_rng(seed)
    a, b = rng.uniform(-1, 1, (2, n))
    turn = np.linalg.qr(rng.normal(size=(3, 3)))[0]
    x = np.stack([a, 0.3 * b, bend * b**2], 1) @ turn.T
    return b, x - x.mean(0), turn


def least_folding(x, n, kind, seed):
    (found,) = projections.least_folding([projections.Search(x, kind, seed)], n)
    return found


def exact_tangents(b, turn, bend=3.0):
    zero = np.zeros_like(b)
    return turn @ np.stack([np.stack([zero + 1, zero, zero], 1), np.stack([zero, zero + 0.3, 2 * bend * b], 1)], 2)


def folded(encoder, b, turn):
    """The part of the surface that a projection sees from behind."""
    behind = np.linalg.det(encoder @ exact_tangents(b, turn)) < 0
    return min(behind.mean(), 1 - behind.mean())


@pytest.mark.parametrize("kind", range(len(projections.KINDS)))
def test_a_bent_surface_is_seen_from_where_it_does_not_fold(kind):
    b, x, turn = surface()
    principal = np.linalg.eigh(np.cov(x.T))[1][:, -2:].T
    assert folded(principal, b, turn) > 0.4
    found = least_folding(x, 2, kind, seed=0)
    encoder = found.encoder.double().numpy()
    assert folded(encoder, b, turn) < 0.02
    code = x @ encoder.T
    np.testing.assert_allclose(np.cov(code.T), np.eye(2), atol=1e-4)
    least_squares = np.linalg.lstsq(code, x, rcond=None)[0].T
    np.testing.assert_allclose(found.decoder.numpy(), least_squares, atol=1e-4)


def test_it_follows_from_its_seed():
    x = surface()[1]
    one, same, other = (least_folding(x, 2, 0, seed).encoder for seed in (0, 0, 1))
    assert torch.equal(one, same) and not torch.equal(one, other)


def test_a_projection_is_what_it_would_be_alone():
    """Whatever is sought with it: fewer points, so few that there is none to seek, or points that are not finite."""
    samples = [surface(seed=seed, n=n)[1] for seed, n in [(0, 2000), (1, 2000), (2, 300), (3, 50), (4, 2000)]]
    samples[4][0] = np.nan
    searches = [projections.Search(x, place, place) for place, x in enumerate(samples)]
    for search, found in zip(searches, projections.least_folding(searches, 2), strict=True):
        alone = least_folding(search.x, 2, search.kind, search.seed)
        assert (alone is None) == (found is None)
        if found is not None:
            torch.testing.assert_close(found.encoder, alone.encoder, atol=1e-4, rtol=1e-4)
    assert [own is None for own in projections.least_folding(searches, 2)] == [False, False, False, True, True]


def test_tangents_are_oriented_alike_whatever_signs_they_come_with():
    b, x, turn = surface(bend=0.3, n=400)
    exact = torch.linalg.qr(torch.as_tensor(exact_tangents(b, turn, bend=0.3)))[0]
    mixed = exact.clone()
    mixed[:, :, 0] *= torch.as_tensor(np.random.default_rng(0).choice([-1.0, 1.0], (len(b), 1)))
    alike = (projections.oriented(mixed, torch.as_tensor(x)).mT @ exact).det().sign()
    assert abs(alike.sum()) == len(b) > abs((mixed.mT @ exact).det().sign().sum())


@pytest.mark.parametrize(
    "x, n",
    [
        (np.random.default_rng(0).normal(size=(300, 3)), 3),
        (np.random.default_rng(0).normal(size=(50, 3)), 2),
        (np.full((300, 3), np.nan), 2),
        (np.zeros((300, 3)), 2),
        (np.random.default_rng(0).normal(size=(300, 1)) @ [[1.0, 2.0, 3.0]], 2),
    ],
    ids=["no axis to spare", "few points", "not finite", "constant", "fewer dimensions"],
)
def test_sometimes_there_is_none_to_seek(x, n):
    assert least_folding(x, n, 0, 0) is None


def test_a_chart_that_adopts_a_projection_encodes_and_decodes_as_it_does():
    x = surface()[1]
    method = Autoencoder(width=4, depth=1)
    found = least_folding(x, 2, 0, seed=0)
    points = torch.as_tensor(x, dtype=torch.float32)
    model = method.build(Shape(3, 2, 1))
    method.prepare(model, points)
    method.adopt(model, found)
    with torch.no_grad():
        code = method.encode(model, points, None)
        torch.testing.assert_close(code - code.mean(0), points @ found.encoder.T, atol=1e-4, rtol=1e-4)
        decoded = method.decode(model, code) - method.decode(model, 0 * code)
        torch.testing.assert_close(decoded, code @ found.decoder.T)


def test_a_huge_outlier_leaves_a_finite_projection():
    x = surface()[1]
    x[0] *= 1e6
    found = least_folding(x - x.mean(0), 2, 0, seed=0)
    assert found is None or found.encoder.isfinite().all()


def test_a_fit_has_projections_in_odd_rounds_alone_and_none_for_the_autoencoder_that_it_is_compared_with(monkeypatch):
    asked, adopted = [], []
    seek, adopt = projections.least_folding, Autoencoder.adopt
    monkeypatch.setattr(chart, "N_STARTS", 2)
    monkeypatch.setattr(chart, "ROUNDS", 3)
    monkeypatch.setattr(chart, "_is_lossless", lambda *_: False)
    monkeypatch.setattr(
        projections,
        "least_folding",
        lambda searches, n: asked.extend((own.kind, own.seed) for own in searches) or seek(searches, n),
    )
    monkeypatch.setattr(
        Autoencoder, "adopt", lambda self, model, start: adopted.append(self.spare_units) or adopt(self, model, start)
    )
    x = surface(n=200)[1].astype(np.float32)
    x = np.concatenate([x, x[:, :1]], 1)
    points = Split(x, np.zeros(200, int), np.zeros((200, 0)))
    settings = {"steps": 32, "batch_size": 16, "width": 4, "depth": 1}
    found = chart.fit({0: (points, points)}, Shape(4, 2, 1), settings, [lambda start: (start + 7, start)])
    assert asked == [(0, 7), (1, 8), (4, 11), (5, 12)] and adopted == [0] * 4
    assert found[0].facts["chart_starts"] == 6


def test_a_chart_may_be_worse_than_an_autoencoder_with_more_units_by_what_noise_makes_it_and_never_must_be_better():
    assert chart.tolerance(Shape(8, 4, 1), 2) == pytest.approx(0.95 * 2)
    assert chart.tolerance(Shape(20, 10, 1), 2) == pytest.approx(0.95 * 10 / 8)
    assert chart.tolerance(Shape(500, 4, 1), 2) == 1


@pytest.mark.parametrize("n_observed", [5, 40])  # fewer and more than the neighbours, of which there are 12
def test_tangents_are_the_principal_axes_of_the_neighbours_whatever_is_looked_at_together(n_observed, monkeypatch):
    points = torch.as_tensor(np.random.default_rng(1).normal(size=(200, n_observed)) * np.linspace(1, 3, n_observed))
    found = projections._tangents(points, points[:30], 12, 3)
    for basis, centre in zip(found, points[:30], strict=True):
        near = points[(points - centre).norm(dim=1).argsort()[:12]].numpy()
        axes = np.linalg.svd(near - near.mean(axis=0), full_matrices=False)[2][:3]
        np.testing.assert_allclose(basis.numpy() @ basis.numpy().T, axes.T @ axes, atol=1e-8)
        np.testing.assert_allclose(basis.numpy().T @ basis.numpy(), np.eye(3), atol=1e-12)
    monkeypatch.setattr(projections, "NUMBERS", 7 * 12 * n_observed)
    pieces = projections._tangents(points, points[:30], 12, 3)
    torch.testing.assert_close(pieces @ pieces.mT, found @ found.mT, atol=1e-12, rtol=0)


def test_there_are_projections_to_more_numbers_than_there_are_neighbours():
    assert projections.KINDS[0][0] == 60
    x = np.random.default_rng(2).normal(size=(80, 66))
    found = least_folding(x, 62, 0, 0)
    assert found.encoder.shape == (62, 66)
    code = x @ found.encoder.numpy().T
    np.testing.assert_allclose(np.cov(code.T), np.eye(62), atol=1e-3)
