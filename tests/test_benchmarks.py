"""The device benchmark works on a CPU, and every part of it reports whatever becomes of the others. The engine's compares two commits."""

import json
import os
from contextlib import contextmanager

import pytest

from benchmarks import device, engine
from tests.conftest import long

pytestmark = long


def die():
    os._exit(3)


def raise_memory_error():
    raise MemoryError


def test_speed_and_memory_are_measured_and_a_pack_that_fails_is_a_row():
    failed, one, two = device.speed(["no-such-method"], [1], "cpu", 0.0) + device.speed(["vae"], [2, 1], "cpu", 0.0)
    assert "there is no method" in failed["error"]
    for row, models in ((one, 1), (two, 2)):
        assert row["models"] == models and row["model-steps/s"] > 1 and row["memory, MiB"] > 50
        assert row["model-steps/s"] * row["ms per step"] / 1000 == pytest.approx(models, rel=0.1)


def test_a_process_that_dies_or_runs_out_of_memory_is_a_row_and_the_next_call_has_another():
    with device.Process() as process:
        assert process(raise_memory_error) == {"error": "out of memory"}
        assert "died" in process(die)["error"]
        assert process(abs, -2) == 2


def test_without_a_gpu_scores_are_compared_between_sizes_of_packs(monkeypatch):
    monkeypatch.setattr(device, "COMPARED", ("vae", "no-such-method"))
    *rows, failed = device.scores("cpu", steps=32)
    assert [row["score"] for row in rows] == ["mcc_spearman", "objective"] and "there is no method" in failed["error"]
    for row in rows:
        assert row["trials"] == 10 and "packs of 5" in row["compared"]
        assert 0 <= float(row["median difference"]) <= float(row["greatest"]) < 0.1


def test_a_job_that_fails_says_why_and_one_that_takes_too_long_is_stopped():
    (row,) = device.main_job(["--grid", "domain=2"], "cpu", None)
    assert "code 2" in row["error"] and "did you mean 'domains'" in row["error"]
    (row,) = device.main_job(["list"], "cpu", 0.01)
    assert row["result"] == "stopped before it was done"


def test_every_part_reports_though_another_fails(tmp_path, capsys, monkeypatch):
    def fail(*_):
        raise RuntimeError("CUDA error | an\nillegal address")

    monkeypatch.setattr(device, "speed", lambda *_: [{"models": 1}, {"models": 8, "error": "out of memory"}])
    monkeypatch.setattr(device, "scores", fail)
    monkeypatch.setattr(device, "main_job", lambda *_: [{"seconds": 3}])
    assert device.main(["--quick", "--device", "cpu", "--out", str(tmp_path / "found.json")]) == 0
    out = capsys.readouterr().out
    assert "| models | error |\n| --- | --- |\n| 1 |  |\n| 8 | out of memory |" in out
    assert "| RuntimeError: CUDA error / an illegal address |" in out and "| 3 |" in out
    found = json.loads((tmp_path / "found.json").read_text())
    assert found["machine"]["device"] == "cpu" and found["Main job"] == [{"seconds": 3}]


def test_a_gpu_that_is_not_there_is_one_sentence(capsys, monkeypatch):
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    with pytest.raises(SystemExit, match="2"):
        device.main(["--device", "cuda"])
    assert "torch sees no CUDA device here" in capsys.readouterr().err


def test_the_engine_is_measured_beside_another_commit_and_its_matrix_products(capsys, monkeypatch):
    revisions = []

    @contextmanager
    def here(revision):
        revisions.append(revision)
        yield engine.ROOT

    monkeypatch.setattr(engine, "checked_out", here)
    assert engine.main(["--against", "HEAD", "--methods", "ivae", "--models", "2", "--rounds", "1"]) == 0
    assert revisions == ["HEAD"]
    titles, _, row = capsys.readouterr().out.splitlines()
    found = dict(zip(titles.split(" | "), row.split(" | "), strict=True))
    assert float(found["model-steps/s"]) > 1 and 0.1 < float(found["times as fast"]) < 10
    assert 0 < float(found["part that bare products take"]) < 1


def test_the_parts_of_a_job_share_its_time():
    job = "--grid domains=2 --grid violation=0 --grid steps=32 --profile quick --seeds 1 --executor serial --methods vae,pca"
    rows = engine.shares([*job.split(), "--start", "random", "--name", "shares"])
    seconds = {row["part"]: float(row["s"]) for row in rows}
    assert list(seconds) == [*engine.PARTS, "the rest"]
    assert all(seconds[part] > 0 for part in ("data", "training", "scoring", "report"))
