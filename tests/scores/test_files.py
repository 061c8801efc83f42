"""Latents that were estimated elsewhere, read for `score`."""

import warnings

import numpy as np
import pytest

from bench.registry import UsageError
from bench.scores.files import read
from bench.scores.metrics import evaluate
from tests import hostile

Z = np.random.default_rng(0).normal(size=(400, 2))


@pytest.fixture
def saved(tmp_path):
    def save(**arrays):
        np.savez(tmp_path / "latents.npz", **arrays)
        return str(tmp_path / "latents.npz")

    return save


def test_the_halves_share_no_point_and_are_the_same_again(saved):
    path = saved(z=np.arange(201.0)[:, None], z_hat=np.zeros((201, 1)))
    validation, test = read(path)
    assert (
        sorted([*validation.z[:, 0], *test.z[:, 0]]) == list(range(201)) and abs(len(validation.z) - len(test.z)) == 1
    )
    np.testing.assert_array_equal(read(path)[0].z, validation.z)


def test_rows_stay_together_and_domains_may_have_any_whole_numbers(saved):
    domain = np.arange(400) % 3
    validation, test = read(saved(z=Z, z_hat=np.column_stack([Z, domain]), domain=np.array([7.0, -2, 40])[domain]))
    for half in (validation, test):
        np.testing.assert_array_equal(half.z, half.z_hat[:, :2])
        np.testing.assert_array_equal(half.domains, np.array([1, 0, 2])[half.z_hat[:, 2].astype(int)])


def test_a_perfect_estimate_of_a_time_in_whole_seconds_scores_one(saved):
    seconds = (1.7e9 + np.round(60 * Z)).astype(int)
    assert evaluate(*read(saved(z=seconds, z_hat=Z)))["mcc_spearman"] > 0.99


def test_an_estimate_that_is_constant_in_single_precision_counts_zero(saved):
    z_hat = np.column_stack([Z[:, 0], 5 * (1 + 1e-7 * Z[:, 1])]).astype(np.float32)
    assert evaluate(*read(saved(z=Z, z_hat=z_hat)))["mcc_spearman"] == pytest.approx(0.5)


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"z": Z}, "no array 'z_hat'"),
        ({"z": Z, "z_hat": Z[:80]}, "400 and 80 rows"),
        ({"z": Z[:9], "z_hat": Z[:9]}, "9 points; at least 50"),
        ({"z": np.full((90, 2), np.nan), "z_hat": Z[:90]}, "not finite"),
        ({"z": Z[:, 0], "z_hat": Z}, "must be"),
        ({"z": Z.astype(str), "z_hat": np.full((400, 1), "a")}, "could not convert"),
        ({"z": Z, "z_hat": Z, "domain": np.arange(400)}, "no domain of the validation split"),
        ({"z": Z, "z_hat": Z, "domain": np.where(Z[:, 0] > 2, np.nan, 1)}, "domain is missing in row"),
        ({"z": np.array(1.0), "z_hat": Z}, "a single value"),
    ],
)
def test_what_is_wrong_is_one_sentence_that_names_the_file(arrays, message, saved):
    with pytest.raises(UsageError, match=rf"latents\.npz.*{message}"):
        read(saved(**arrays))


def test_what_is_no_file_is_said():
    with pytest.raises(UsageError, match="not an .npz file"):
        read("nowhere.npz")


@pytest.mark.parametrize("factor", [1e306, 1e-310, np.float64(3e38), 1e-40, 1e101])
def test_latents_near_the_ends_of_a_float_score_as_any_others(factor, saved):
    z_hat = Z + 0.3 * np.random.default_rng(1).normal(size=Z.shape)
    usual = evaluate(*read(saved(z=Z, z_hat=z_hat)))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = evaluate(*read(saved(z=factor * Z, z_hat=z_hat)))
        other = evaluate(*read(saved(z=Z, z_hat=factor * z_hat)))
    for name in ("mcc_spearman", "mcc_pearson", "r2_block", "r2_linear", "r2_component"):
        assert found[name] == pytest.approx(usual[name], abs=1e-3)
        assert other[name] == pytest.approx(usual[name], abs=1e-3)


def test_what_double_precision_cannot_hold_is_a_sentence(saved):
    with warnings.catch_warnings(), pytest.raises(UsageError, match="not finite"):
        warnings.simplefilter("error")
        read(saved(z=Z.astype(np.longdouble) * np.longdouble("1e400"), z_hat=Z))


@pytest.mark.parametrize("kind", hostile.NO_FILES)
def test_what_is_no_file_is_a_sentence_and_not_waited_for(kind, tmp_path):
    hostile.NO_FILES[kind](tmp_path / "latents.npz")
    with pytest.raises(UsageError, match=r"latents\.npz is not an \.npz file that can be read \(.+\)"):
        read(str(tmp_path / "latents.npz"))


def test_no_rows_are_a_sentence(saved):
    with pytest.raises(UsageError, match="z has no rows"):
        read(saved(z=Z[:0], z_hat=Z[:0]))
