"""Learning curves as event files, read back as TensorBoard reads them."""

import json
import socket
import struct
import sys

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


def records(path):
    """What the file of an offline run holds, as the package that wrote it names it: a log of LevelDB, in blocks of 32 KiB, after a head of 7 bytes."""
    Record = pytest.importorskip("wandb.proto.wandb_internal_pb2", reason="the extra wandb is not installed").Record
    content, found, at, own = path.read_bytes(), [], 7, b""
    while at < len(content):
        left = 32768 - at % 32768
        if left < 7:  # too little room for a head
            at += left
            continue
        _, length, kind = struct.unpack("<IHB", content[at : at + 7])
        own += content[at + 7 : at + 7 + length]
        at += 7 + length
        if kind in (1, 4):  # whole, or the last part
            found.append(Record.FromString(own))
            own = b""
    return found


def test_offline_runs_of_weights_and_biases_hold_curve_fields_and_scores_and_no_path_of_the_user(tmp_path, capsys):
    pytest.importorskip("wandb", reason="the extra wandb is not installed")
    trials = simulated_trials({"vae": 0.8, "pca": 0.5}, domains=(2,), violations=(0.0,), seeds=2)
    trials = trials.assign(dataset="file", path=str(tmp_path / "people.csv"))
    own = tmp_path / "run" / "wandb" / "mine"  # runs that a user may have there
    own.mkdir(parents=True)
    simulated_run(tmp_path / "run", trials)
    store = Store(tmp_path / "run")
    row = next(row for _, row in store.table().iterrows() if row.method == "vae")
    curve = {f"{row.trial_id}.curve": np.array([[32, 2.5, np.nan], [64, 1.5, 3.5]])}
    arrays = store.pack_latents(str(row.pack_id)) | curve
    store.write_pack(str(row.pack_id), store.packs()[str(row.pack_id)][0], arrays)
    for _ in range(2):
        assert main(["report", str(tmp_path / "run"), "--wandb"]) == 0
    assert "learning curves of 1 trial: wandb sync" in capsys.readouterr().out
    (path,) = (tmp_path / "run" / events.WANDB).glob("wandb/offline-run-*/run-*.wandb")
    found = records(path)
    (run,) = [record.run for record in found if record.HasField("run")]
    assert (run.run_id, run.run_group, run.project) == (row.trial_id, "run", events.PROJECT)
    config = {item.key: json.loads(item.value_json) for item in run.config.update}
    assert config["method"] == "vae" and config["n_latents"] == 4 and config["seed"] == row.seed
    assert config["path"] == "people.csv" and own.exists()
    looks = [
        {(item.key or item.nested_key[0]): json.loads(item.value_json) for item in record.history.item}
        for record in found
        if record.HasField("history")
    ]
    seen = [{name: look[name] for name in ("_step", "loss", "objective") if name in look} for look in looks]
    assert seen == [{"_step": 32, "loss": 2.5}, {"_step": 64, "loss": 1.5, "objective": 3.5}]
    summary = {
        (item.key or item.nested_key[0]): json.loads(item.value_json)
        for record in found
        for item in record.summary.update
    }
    assert summary["mcc_spearman"] == pytest.approx(row.mcc_spearman)
    assert socket.gethostname().encode() not in path.read_bytes() and str(tmp_path).encode() not in path.read_bytes()


def test_without_the_package_nothing_is_written_and_the_reader_is_told_how_to_get_it(tmp_path, capsys, monkeypatch):
    simulated_run(tmp_path / "run", simulated_trials({"vae": 0.8, "pca": 0.5}, domains=(2,), seeds=2))
    monkeypatch.setitem(sys.modules, "wandb", None)
    assert main(["report", str(tmp_path / "run"), "--wandb"]) == 2
    assert "pip install '.[wandb]'" in capsys.readouterr().err
    assert not (tmp_path / "run" / "leaderboard.md").exists()
