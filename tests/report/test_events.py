"""Learning curves as event files, read back as TensorBoard reads them."""

import struct

import numpy as np
import pytest
from tensorboardX.proto.event_pb2 import Event

from bench.cli import main
from bench.report import events
from bench.run.store import Store
from tests.simulated import simulated_run, simulated_trials


def scalars(path):
    """What an event file holds: (name, step, value). Records are framed by a length of 8 bytes and two checksums of 4."""
    content, found, at = path.read_bytes(), [], 0
    while at < len(content):
        (length,) = struct.unpack("<Q", content[at : at + 8])
        event = Event.FromString(content[at + 12 : at + 12 + length])
        found += [(value.tag, event.step, value.simple_value) for value in event.summary.value]
        at += 16 + length
    return found


def test_every_look_is_an_event_and_a_second_report_takes_the_place_of_the_first(tmp_path, capsys):
    trials = simulated_trials({"vae": 0.8, "pca": 0.5}, domains=(2,), violations=(0.0,), seeds=2)
    simulated_run(tmp_path / "run", trials)
    store = Store(tmp_path / "run")
    row = next(row for _, row in store.table().iterrows() if row.method == "vae")
    arrays = store.pack_latents(str(row.pack_id)) | {
        f"{row.trial_id}.curve": np.array([[32, 2.5, np.nan], [64, 1.5, 3.5]]),
        f"{row.trial_id}.curve.KL": np.array([0.5, 0.25]),
        f"{row.trial_id}.curve.of_another_length": np.array([0.5]),
    }
    store.write_pack(str(row.pack_id), store.packs()[str(row.pack_id)][0], arrays)
    for _ in range(2):
        assert main(["report", str(tmp_path / "run"), "--tensorboard"]) == 0
    assert "learning curves of 1 trial" in capsys.readouterr().out
    (path,) = (tmp_path / "run" / events.FOLDER).rglob("events.*")
    assert path.parent.name == row.trial_id and path.parent.parent.name == "vae"
    seen = [
        ("loss", 32, 2.5),
        ("loss", 64, 1.5),
        ("objective", 64, pytest.approx(3.5)),
        ("KL", 32, 0.5),
        ("KL", 64, 0.25),
    ]
    assert scalars(path) == seen
