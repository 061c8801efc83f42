"""The chart: what is lossless and what is not, what models take from it, and what is kept."""

import dataclasses

import numpy as np
import pytest
import torch
from sklearn.linear_model import LinearRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import PolynomialFeatures

from bench.plan.charts import budget, chart_of, charts_of, pack_charts
from bench.plan.packs import Pack
from bench.plan.trials import Trial
from bench.registry import CHANGES, SPARSITY
from bench.train import chart
from bench.train.chart import Atlas
from bench.train.data import standardised
from bench.train.engine import Job, Stack
from bench.train.errors import Diverged
from bench.train.stacked import jobs_of
from datasets import Split, datasets
from methods import Shape, methods
from tests.packs import pack, rows_of

SETTINGS = {"steps": 320, "batch_size": 64, "width": 16, "depth": 2}
STARTING = [entry.name for entry in methods if "start" in entry.fields]


def seeds(start):
    return start, 100 + start


def linear_data(n_latents, n_observed=6, n=600, noise=0.1, seed=0):
    """Training and held-out points, standardised, of latents mixed linearly."""
    rng = np.random.default_rng(seed)
    mixing = np.linalg.qr(rng.normal(size=(n_observed, n_latents)))[0] * 2
    z = rng.uniform(-1.7, 1.7, size=(2 * n, n_latents))
    x = z @ mixing.T + noise * rng.normal(size=(2 * n, n_observed))
    x = (x - x[:n].mean(axis=0)) / x[:n].std(axis=0)
    domains = rng.integers(0, 2, 2 * n)
    return tuple(Split(x[part], domains[part], z[part]) for part in (slice(n), slice(n, None)))


def fitted(data, n_latents, **more):
    return chart.fit({0: data}, Shape(6, n_latents, 10), SETTINGS, [seeds], **more)[0]


@pytest.fixture(scope="module")
def linear():
    data = linear_data(3)
    return data, fitted(data, 3)


def code_of(found, points):
    with torch.no_grad():
        return found.model().encoder(torch.as_tensor(points.x, dtype=torch.float32)).numpy()


def test_a_chart_of_linear_data_loses_nothing_and_its_certificate_says_so(linear):
    (points, held_out), found = linear
    code = code_of(found, points)
    np.testing.assert_allclose(code.mean(axis=0), 0, atol=1e-4)
    np.testing.assert_allclose(code.std(axis=0), 1, atol=1e-3)
    probe = make_pipeline(PolynomialFeatures(2), LinearRegression()).fit(code, points.z)
    assert probe.score(code_of(found, held_out), held_out.z) > 0.95
    assert found.facts["chart_met"] and found.facts["chart_starts"] == chart.N_STARTS
    assert 0 < found.facts["chart_nmse"] < 0.05


def test_a_chart_with_a_unit_too_few_has_no_certificate_however_many_its_starts(monkeypatch):
    monkeypatch.setattr(chart, "ROUNDS", 3)
    found = fitted(linear_data(3), 2)
    assert found.facts["chart_met"] is False and found.facts["chart_starts"] == 3 * chart.N_STARTS
    assert found.facts["wide_nmse"] < found.facts["chart_nmse"] / 5


def test_more_starts_are_tried_only_where_the_certificate_is_not_met(monkeypatch):
    monkeypatch.setattr(chart, "ROUNDS", 2)
    lossless, folded = linear_data(2), linear_data(4)
    found = chart.fit({3: lossless, 7: folded}, Shape(6, 2, 10), SETTINGS, [seeds] * 8)
    assert {place: own.facts["chart_met"] for place, own in found.items()} == {3: True, 7: False}
    assert found[7].facts["chart_starts"] == 2 * found[3].facts["chart_starts"]


def test_where_there_are_as_many_latents_as_observed_variables_the_error_alone_decides():
    found = fitted(linear_data(6, noise=0.0), 6)
    assert found.facts["wide_nmse"] is None and found.facts["chart_met"] == (
        found.facts["chart_nmse"] < chart.NEGLIGIBLE
    )
    assert found.facts["chart_met"]


def test_a_chart_that_diverges_is_missing_and_leaves_the_others_alone():
    points, held_out = linear_data(2)
    wrong = Split(np.full_like(points.x, np.nan), points.domains, points.z)
    found = chart.fit({0: (wrong, wrong), 1: (points, held_out)}, Shape(6, 2, 10), SETTINGS, [seeds] * 2)
    assert list(found) == [1]


def test_a_map_turns_the_code_and_the_decoder_turns_it_back(linear):
    (points, _), found = linear
    matrix = np.array([[1.0, 0.5, 0], [-0.3, 2, 0], [0.1, 0, -1]])
    start = found.start(0, matrix, points.x)
    with torch.no_grad():
        code, plain = start.encoder(start.x).numpy(), code_of(found, points)
        np.testing.assert_allclose(code, plain @ matrix.T, atol=1e-4)
        reconstructed = found.model().decoder(torch.as_tensor(plain))
        torch.testing.assert_close(start.decoder(start.encoder(start.x)), reconstructed, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(start.residual, start.x - reconstructed, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("name", STARTING)
def test_a_method_encodes_and_decodes_as_the_chart_it_starts_from(linear, name):
    (points, _), found = linear
    method = methods[name].make({"width": 16, "steps": 64})
    start = found.start(0, np.eye(3), points.x)
    stack = Stack(method, Shape(6, 3, 10), [Job(points, 0, 0, start=start), Job(points, 1, 1, start=start)])
    encoded = stack.encode([points, points])
    for own in encoded:
        np.testing.assert_allclose(own, code_of(found, points), atol=1e-4)
    with torch.no_grad():
        expected = start.decoder(torch.as_tensor(encoded[0])).numpy()
    np.testing.assert_allclose(stack.decode(encoded)[0], expected, atol=1e-3)


def test_a_chart_that_sees_the_latents_has_them_as_its_code_and_no_map_turns_it():
    data = linear_data(3)
    found = fitted(data, 3, sees_latents=True)
    code, z = code_of(found, data[1]), data[1].z
    assert all(np.corrcoef(code[:, i], z[:, i])[0, 1] > 0.98 for i in range(3))
    place, matrix = found.choose({CHANGES, SPARSITY}, 0, 5)
    assert place == 0
    np.testing.assert_array_equal(matrix, np.eye(3))
    assert found.facts["chart_met"] is None and found.facts["chart_starts"] == 1


def test_the_first_restarts_take_the_map_that_suits_on_one_chart_each_and_further_ones_a_random_rotation(linear):
    _, found = linear
    cheap, dear = (dataclasses.replace(found.charts[0], costs={"both": cost, "sparsity": -cost}) for cost in (1.0, 2.0))
    found = dataclasses.replace(found, charts=[dear, cheap])
    chosen = [found.choose({CHANGES, SPARSITY}, k, seed=k) for k in range(6)]
    assert [place for place, _ in chosen] == [1, 0, 1, 0, 1, 0]
    for k in (0, 1):
        np.testing.assert_array_equal(chosen[k][1], cheap.maps["both"])
    for k in (2, 3, 4, 5):
        np.testing.assert_allclose(chosen[k][1] @ chosen[k][1].T, np.eye(3), atol=1e-12)
    assert found.choose({SPARSITY}, 0, 0)[0] == 0
    np.testing.assert_array_equal(found.choose(set(), 0, 0)[1], cheap.maps["neither"])


def test_what_is_kept_of_a_chart_is_the_chart(linear):
    (points, _), found = linear
    again = Atlas.of_arrays(found.arrays())
    assert again.facts == found.facts and again.shape == found.shape and len(again.charts) == len(found.charts)
    np.testing.assert_array_equal(code_of(again, points), code_of(found, points))
    for chart_again, own in zip(again.charts, found.charts, strict=True):
        assert chart_again.costs == own.costs
        for corner, matrix in own.maps.items():
            np.testing.assert_array_equal(chart_again.maps[corner], matrix)
    broken = found.arrays()
    broken["0/weights/encoder.mlp.linear.weight"] = np.zeros((1, 1), np.float32)
    with pytest.raises(RuntimeError):
        Atlas.of_arrays(broken)


# --- of trials


def test_methods_of_one_backbone_and_budget_share_a_chart_and_no_other_seed_or_data_set_does():
    packs = [pack(name) for name in ("vae", "synergy-vae", "gan", "flow", "tcl", "pca")]
    specs = charts_of(trial for own in packs for trial in own.trials)
    assert len(specs) == 2 and len({spec.chart_id for spec in specs}) == 2  # one for each data seed
    assert chart_of(pack("tcl").trials[0]) is chart_of(pack("pca").trials[0]) is None
    assert chart_of(pack("vae", start="random").trials[0]) is None
    one = chart_of(pack("vae").trials[0])
    for changes in ({"width": 8}, {"steps": 400}, {"start": "truth"}, {"depth": 1}, {"batch_size": 32}):
        assert chart_of(pack("vae", **changes).trials[0]).chart_id != one.chart_id
    for changes in ({"learning_rate": 0.1}, {"restarts": 3}, {"beta": 2.0}):
        assert chart_of(pack("vae", **changes).trials[0]).chart_id == one.chart_id
    assert one.seeds(0) != one.seeds(1) and one.seeds(0) != specs[1].seeds(0)
    assert [len(own.specs) for own in pack_charts(specs)] == [2]


def test_a_chart_has_the_backbone_of_its_method_and_a_part_of_its_steps():
    method = methods["vae"].make({"steps": 3000, "width": 8, "depth": 1, "batch_size": 16})
    assert budget(method) == {"steps": 2240, "batch_size": 16, "width": 8, "depth": 1}


def test_rows_say_what_became_of_the_chart_and_what_is_given_is_not_trained_again(monkeypatch):
    small = pack("flow-vae")
    (own, other) = (chart_of(trial) for trial in small.trials)
    known = dict(zip((own.chart_id, other.chart_id), chart.train([own, other]), strict=True))
    monkeypatch.setattr(chart, "train", None)
    from bench.train.pack import run_pack

    rows = run_pack(small, charts=known).rows
    assert [row["status"] for row in rows] == ["ok", "ok"]
    for row, found in zip(rows, known.values(), strict=True):
        assert {name: row[name] for name in found.facts} == found.facts
    (plain,) = rows_of(pack("flow-vae", n_seeds=1, start="random"))
    assert plain["chart_nmse"] is plain["chart_met"] is None


def test_a_trial_whose_chart_cannot_be_trained_says_why(monkeypatch):
    monkeypatch.setattr(chart, "_trained", {})
    monkeypatch.setattr(chart, "train", lambda specs, device: [Diverged("every start was lost")])
    assert {(row["status"], row["error"]) for row in rows_of(pack("vae"))} == {("diverged", "every start was lost")}


def test_the_oracle_start_needs_the_truth():
    trial = pack("vae", start="truth").trials[0]
    assert standardised(trial)
    from methods import DataFacts

    assert "the data have none" in trial.make_method().skip(DataFacts(4, 2, 2, has_truth=False))
    assert Pack((trial,)).is_stacked


IMAGE = Shape(3 * 8 * 8, 5, 2, image=(3, 8, 8))


def images(n_axes=30, n=400):
    """Images, flat, of `n_axes` independent directions, each of its own variance."""
    rng = np.random.default_rng(0)
    axes = np.linalg.qr(rng.normal(size=(IMAGE.n_observed, n_axes)))[0]
    return (rng.normal(size=(n, n_axes)) * np.linspace(9, 1, n_axes) @ axes.T + 2).astype(np.float32)


def principal(x, n):
    """Scores of the leading axes, white, by a singular value decomposition, and the images of them within the range of x."""
    mean = x.mean(axis=0)
    left, values, right = np.linalg.svd(x - mean, full_matrices=False)
    low, high = x.min(), x.max()
    image = mean + left[:, :n] * values[:n] @ right[:n]
    return left[:, :n] * np.sqrt(len(x) - 1), low + (high - low) / (
        1 + np.exp(4 / (high - low) * ((low + high) / 2 - image))
    )


@pytest.mark.parametrize("name", ["vae", "synergy-gan"])
def test_models_of_images_start_as_their_principal_components(name):
    x = images()
    method = methods[name].make(methods[name].defaults | {"width": 8, "steps": 0})
    start = chart.linear(IMAGE, budget(method), x, 0, 1)
    scores, image = principal(x, IMAGE.n_latents)
    np.testing.assert_allclose(start.residual, x - image, atol=2e-2)
    split = Split(x, np.arange(len(x)) % 2, np.zeros((len(x), 0)))
    stack = Stack(method, IMAGE, [Job(split, 1, 2, start=start)])
    code = stack.encode([split])[0]
    np.testing.assert_allclose(np.abs(np.corrcoef(code.T, scores.T)[:5, 5:]), np.eye(5), atol=0.03)
    np.testing.assert_allclose(stack.decode([code])[0], image, atol=2e-2)


def test_further_restarts_on_images_start_from_a_rotation_of_the_same_code():
    x = images()
    first, second = (chart.linear(IMAGE, {"width": 8, "depth": 2}, x, restart, 1) for restart in (0, 1))
    with torch.no_grad():
        one, other = first.encoder(first.x).numpy(), second.encoder(second.x).numpy()
    turn = np.linalg.lstsq(one, other, rcond=None)[0]
    np.testing.assert_allclose(turn @ turn.T, np.eye(5), atol=1e-3)
    assert np.abs(turn).max() < 0.99
    np.testing.assert_allclose(second.residual, first.residual, atol=1e-3)


def test_where_images_have_fewer_axes_than_latents_the_others_start_at_nothing():
    x = images(n_axes=3)
    start = chart.linear(IMAGE, {"width": 8, "depth": 2}, x, 0, 1)
    np.testing.assert_allclose(start.residual, x - principal(x, 3)[1], atol=2e-2)


@pytest.mark.parametrize(("start", "is_linear"), [("chart", True), ("random", False)])
def test_a_trial_on_images_starts_linear_unless_it_is_to_start_at_random(start, is_linear):
    fields = datasets["coloured-digits"].defaults | {"size": 8, "n_samples": 500, "n_latents": 3}
    trial = Trial("coloured-digits", fields, "vae", methods["vae"].defaults | {"start": start}, 0, 0)
    (job,) = jobs_of(trial, standardised(trial), 1, 0, None)
    assert (job.start is not None) == is_linear and chart_of(trial) is None
