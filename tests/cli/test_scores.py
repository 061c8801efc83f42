"""`score` with all metrics, and the file that it writes."""

import numpy as np
import pandas as pd
import pytest

from bench.cli import main
from bench.scores import ON_DEMAND, SCORES, files, load_all, metrics
from tests.conftest import long

Z = np.random.default_rng(0).normal(size=(120, 2))


@pytest.fixture
def latents(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    np.savez("latents.npz", z=Z, z_hat=np.column_stack([Z[:, 1], -Z[:, 0], np.ones(120)]))
    return tmp_path


@pytest.mark.usefixtures("latents")
def test_all_metrics_are_said_and_written_with_their_definitions(capsys):
    assert main(["score", "latents.npz", "--metrics", "all", "--out", "scores.csv"]) == 0
    said = capsys.readouterr().out
    table = pd.read_csv("scores.csv").set_index("score")
    load_all()
    assert set(ON_DEMAND) <= set(table.index) and "written: scores.csv" in said
    for name, record in ON_DEMAND.items():
        assert f"{name} " in said and record.definition in table.definition[name]
    computed, _ = metrics.Evaluation(*files.read("latents.npz")).scores(ON_DEMAND)
    for name, value in computed.items():
        assert float(table.value[name]) == pytest.approx(value)
    assert float(table.value["mcc_spearman_signed"]) == pytest.approx(1)


@pytest.mark.usefixtures("latents")
def test_without_being_asked_for_the_scores_are_the_usual_ones(capsys):
    assert main(["score", "latents.npz", "--out", "scores.csv"]) == 0
    assert not set(pd.read_csv("scores.csv").score) & set(ON_DEMAND)
    assert set(pd.read_csv("scores.csv").score) <= set(SCORES)
    assert "tmex" not in capsys.readouterr().out


@pytest.mark.usefixtures("latents")
@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--out", "scores.txt"], "name a .csv file in a folder that exists"),
        (["--out", "nowhere/scores.csv"], "name a .csv file in a folder that exists"),
        (["--metrics", "every"], "choose from 'usual', 'all'"),
    ],
)
def test_a_mistake_is_one_sentence(words, message, capsys):
    assert main(["score", "latents.npz", *words]) == 2
    assert message in capsys.readouterr().err


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("seed", [pytest.param(seed, marks=() if seed < 8 else long) for seed in range(30)])
def test_ties_and_constants_of_few_points_give_numbers_without_a_warning(seed):
    rng, few_values = np.random.default_rng(seed), [0.0, 1.0, 1.0 + 1e-9, -3.5, 1e4, 1e30]
    shapes = [(25, width) for width in rng.integers(1, 4, 2)]

    def column(shape):
        if rng.random() < 0.3:
            return rng.choice(few_values, shape)
        values = np.full(shape, rng.choice(few_values))
        values.flat[rng.integers(values.size, size=rng.integers(4))] = rng.choice(few_values)
        return values

    draw = [metrics.Encoded(*map(column, shapes), np.zeros(25, int)) for _ in range(2)]
    found, wrong = metrics.Evaluation.of(*draw).scores(ON_DEMAND)
    values = {name: value for name, value in found.items() if value is not None}
    assert not wrong and len(values) >= len(ON_DEMAND) - 4
    for name, value in values.items():
        low, high = ON_DEMAND[name].range
        assert np.isfinite(value) and low - 1e-9 <= value <= high + 1e-9, (name, value)
