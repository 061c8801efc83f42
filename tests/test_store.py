import json

import numpy as np
import pytest

from bench.store import Store
from registry import UsageError


def row(trial_id, finished_at, status="ok", **more):
    return {"trial_id": trial_id, "status": status, "finished_at": finished_at, "score": 0.5, **more}


def test_rows_come_back_as_they_were_written(tmp_path):
    store = Store(tmp_path)
    store.write_pack("p", [row("a", 1.0, per_latent=[0.1, np.float64(0.2)], none=None, count=np.int64(3))], {})
    assert store.rows() == [row("a", 1.0, per_latent=[0.1, 0.2], none=None, count=3)]


def test_numbers_that_are_not_finite_become_null_in_valid_json(tmp_path):
    store = Store(tmp_path)
    store.write_pack("p", [row("a", 1.0, bad=float("nan"), worse=[np.inf])], {})
    text = (tmp_path / "parts" / "p.jsonl").read_text()
    assert "NaN" not in text and "Infinity" not in text
    assert json.loads(text)["bad"] is None and json.loads(text)["worse"] == [None]


def test_a_crashed_trial_is_not_finished_and_its_later_row_replaces_it(tmp_path):
    store = Store(tmp_path)
    store.write_pack("p", [row("a", 1.0, "crashed"), row("b", 1.0, "failed")], {})
    assert store.finished() == {"b"}
    store.write_pack("q", [row("a", 2.0)], {})
    assert store.finished() == {"a", "b"}
    assert [r["status"] for r in store.rows() if r["trial_id"] == "a"] == ["ok"]


def test_a_write_that_is_cut_off_leaves_nothing_behind_that_counts(tmp_path, monkeypatch):
    store = Store(tmp_path)
    store.write_pack("p", [row("a", 1.0)], {})

    def dies(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr("os.replace", dies)
    with pytest.raises(KeyboardInterrupt):
        store.write_pack("q", [row("b", 2.0)], {})
    assert store.finished() == {"a"}


def test_latents_come_back_by_trial(tmp_path):
    import pandas as pd

    store = Store(tmp_path)
    arrays = {"a.z": np.ones((3, 2)), "a.z_hat": np.zeros((3, 4)), "a.domains": np.arange(3), "b.z": np.zeros((3, 2))}
    store.write_pack("p", [row("a", 1.0)], arrays)
    latents = store.latents(pd.Series({"pack_id": "p", "trial_id": "a"}))
    assert np.array_equal(latents["z"], np.ones((3, 2))) and latents["z_hat"].shape == (3, 4)


def test_compacting_writes_the_same_table_as_parquet_and_csv(tmp_path):
    import pandas as pd

    store = Store(tmp_path)
    store.write_pack("p", [row("a", 1.0, field=3), row("b", 1.0)], {})
    table = store.compact()
    pd.testing.assert_frame_equal(pd.read_parquet(tmp_path / "trials.parquet"), table)
    assert pd.read_csv(tmp_path / "trials.csv").trial_id.tolist() == ["a", "b"]


def test_two_processes_cannot_write_one_run(tmp_path):
    with Store(tmp_path).lock(), pytest.raises(UsageError, match="another process"), Store(tmp_path).lock():
        pass
    with Store(tmp_path).lock():
        pass


def test_a_folder_without_a_run_is_said_so(tmp_path):
    with pytest.raises(UsageError, match="no run"):
        Store(tmp_path).manifest()
