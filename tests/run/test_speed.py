"""The pace of this machine, by which expected seconds become an estimate."""

from bench.plan.trials import Trial
from bench.run import speed
from datasets import datasets


def trial(dataset, **fields):
    return Trial(dataset, datasets[dataset].defaults | fields, "vae", {}, 0, 0)


def test_what_is_short_is_not_measured_but_images_are_which_take_far_longer_than_is_expected(monkeypatch):
    assert speed.pace(1.0, 1, trial("sparse-mixing")) == 1.0
    monkeypatch.setattr(speed, "N_CHUNKS", 2)
    small, large = (speed.pace(1.0, 1, trial("sprites", pixels=pixels)) for pixels in (16, 32))
    assert 1.5 < small < large
