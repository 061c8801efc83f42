"""Latents that were estimated elsewhere, read for `score`."""

import numpy as np
import pytest

from bench.registry import UsageError
from bench.scores.files import read
from bench.scores.metrics import evaluate

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
        ({"z": Z, "z_hat": Z, "domain": Z[:, 0]}, "domain must be integers"),
        ({"z": np.array(1.0), "z_hat": Z}, "a single value"),
    ],
)
def test_what_is_wrong_is_one_sentence_that_names_the_file(arrays, message, saved):
    with pytest.raises(UsageError, match=rf"latents\.npz.*{message}"):
        read(saved(**arrays))


def test_what_is_no_file_is_said():
    with pytest.raises(UsageError, match="not an .npz file"):
        read("nowhere.npz")
