"""What training says while it runs, and that a pack goes on from what it said to the very rows that it would have had."""

import json

import numpy as np
import pytest

from bench.train import reporter as module
from bench.train.pack import run_pack
from bench.train.reporter import At, Progress, Reporter, Rows, State
from tests.packs import pack

TIMING = {"train_s", "score_s", "chart_s", "finished_at"}


@pytest.fixture
def says_all(monkeypatch):
    """Everything is said as soon as it is known."""
    for name in ("SECONDS_BETWEEN_STATES", "SECONDS_BETWEEN_NEWS"):
        monkeypatch.setattr(module, name, 0.0)
    monkeypatch.setattr(module, "STATE_SHARE", 1e9)
    monkeypatch.setattr("bench.train.pack.SECONDS_BETWEEN_ROWS", 0.0)


def listened(own, state=None):
    """What running a pack gives, and all that is said meanwhile."""
    events = []
    return run_pack(own, reporter=Reporter(events.append, state)), events


def assert_same(a, b):
    for row, other in zip(a.rows, b.rows, strict=True):
        first, second = ({k: v for k, v in each.items() if k not in TIMING} for each in (row, other))
        assert json.dumps(first) == json.dumps(second)
    assert a.latents.keys() == b.latents.keys()
    assert all(np.array_equal(a.latents[name], b.latents[name]) for name in a.latents)


@pytest.mark.parametrize("name", ["synergy-vae", "synergy-gan"])
def test_a_pack_goes_on_from_any_state_to_the_same_bits(says_all, name):
    own = pack(name, n_seeds=2, steps=200, restarts=4, start="random")
    whole, events = listened(own)
    states = [event.arrays for event in events if isinstance(event, State)]
    steps = [int(state["step"]) for state in states]
    # The race is after 32 steps: a state before it would have eight models, those after it have four.
    assert steps == [64, 96, 128, 160, 192] and {len(state["alive"]) for state in states} == {4}
    for state in (states[0], states[-1]):
        again, later = listened(own, state)
        assert_same(again, whole)
        steps_left = [int(e.arrays["step"]) for e in later if isinstance(e, State)]
        assert steps_left == [step for step in steps if step > int(state["step"])]


def test_a_state_before_the_race_goes_on_to_it(says_all):
    own = pack("ivae", n_seeds=2, steps=400, restarts=3, start="random")
    whole, events = listened(own)
    early = next(event.arrays for event in events if isinstance(event, State))
    assert int(early["step"]) == 32 and len(early["alive"]) == 6
    again, _ = listened(own, early)
    assert_same(again, whole)


def test_a_state_of_another_stack_is_left_aside(says_all):
    own, other = (pack("ivae", n_seeds=1, steps=100, start="random", width=width) for width in (16, 8))
    whole, _ = listened(own)
    state = next(event.arrays for event in listened(other)[1] if isinstance(event, State))
    for wrong in (state, {"step": np.array(3)}):
        assert_same(listened(own, wrong)[0], whole)


def test_progress_only_grows_and_estimators_say_their_rows_as_they_come(says_all):
    _, events = listened(pack("ivae", n_seeds=1, steps=200, restarts=2, start="random"))
    parts = [event.part for event in events if isinstance(event, Progress)]
    assert parts == sorted(parts) and 0.3 < parts[0] < 0.4 and 0.9 < parts[-1] <= 1
    own = pack("pca", n_seeds=3)
    finished, events = listened(own)
    said = [row for event in events if isinstance(event, Rows) for row in event.rows]
    assert said == finished.rows
    assert [event.slot for event in events if isinstance(event, At) and event.slot is not None][::2] == [0, 1, 2]
