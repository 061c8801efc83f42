import errno
import json
import os
import tracemalloc
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pyarrow as arrow
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pyarrow import parquet

from bench.registry import UsageError
from bench.run.store import COMPACTED, INDEX, ROW, TRIAL, Store, _table_of, settled, write_text
from bench.text import csv_text


def row(trial_id, finished_at, status="ok", **more):
    fixed = {"method": "vae", "dataset": "sparse-mixing", "role": "method", "seed": 0, "root_seed": 0, "code": "c"}
    return {"trial_id": trial_id, "status": status, "finished_at": finished_at, "score": 0.5, **fixed, **more}


def asked(trial_id, method="vae", dataset="sparse-mixing", code="c"):
    return SimpleNamespace(trial_id=trial_id, method=method, dataset=dataset, code=code)


def test_rows_come_back_as_they_were_written(tmp_path):
    store = Store(tmp_path)
    store.write_pack("p", [row("a", 1.0, per_latent=[0.1, np.float64(0.2)], none=None, count=np.int64(3))], {})
    assert store.rows() == [row("a", 1.0, per_latent=[0.1, 0.2], none=None, count=3)]
    assert store.damages == []


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


@pytest.mark.parametrize(
    ("limit", "again"), [(None, {"late", "later"}), (20, set()), (30, set()), (31, {"late"}), (100, {"late", "later"})]
)
def test_a_trial_whose_time_was_up_runs_again_under_a_higher_limit_only(tmp_path, limit, again):
    store = Store(tmp_path)
    rows = [row("late", 1.0, "timed-out", time_limit=30), row("later", 1.0, "timed-out", time_limit=60.0)]
    store.write_pack("p", [*rows, row("done", 1.0, time_limit=None)], {})
    assert store.finished(limit) == {"late", "later", "done"} - again


@pytest.mark.parametrize("former", [{"time_limit": None}, {}], ids=["none", "of an early version"])
def test_a_limit_may_be_set_where_a_run_had_none(tmp_path, former):
    store = Store(tmp_path)
    store.write_pack("p", [row("a", 1.0, **former), row("b", 1.0, "timed-out", **former)], {})
    assert store.finished(30) == {"a", "b"} and store.finished() == {"a"}
    assert [trial.trial_id for trial in store.missing([asked("a"), asked("c")], 30)] == ["c"]


def test_a_write_that_is_cut_off_leaves_nothing_behind(tmp_path, monkeypatch):
    store = Store(tmp_path)
    store.write_pack("p", [row("a", 1.0)], {})

    def dies(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr("os.replace", dies)
    with pytest.raises(KeyboardInterrupt):
        store.write_pack("q", [row("b", 2.0)], {})
    assert store.finished() == {"a"}
    assert [path.name for path in store.parts.iterdir()] == ["p.jsonl"]


def test_a_full_disk_leaves_what_was_there_and_no_half_file(tmp_path, monkeypatch):
    write_text(tmp_path / "a.txt", "before")

    def full(_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(OSError, match="No space left"):
        write_text(tmp_path / "a.txt", "after")
    assert [path.name for path in tmp_path.iterdir()] == ["a.txt"] and (tmp_path / "a.txt").read_text() == "before"


def test_latents_come_back_by_trial(tmp_path):
    store = Store(tmp_path)
    arrays = {"a.z": np.ones((3, 2)), "a.z_hat": np.zeros((3, 4)), "a.domains": np.arange(3), "b.z": np.zeros((3, 2))}
    store.write_pack("p", [row("a", 1.0)], arrays)
    latents = store.latents(pd.Series({"pack_id": "p", "trial_id": "a"}))
    assert np.array_equal(latents["z"], np.ones((3, 2))) and latents["z_hat"].shape == (3, 4)


def test_compacting_writes_the_same_table_as_parquet_and_csv(tmp_path):
    store = Store(tmp_path)
    store.write_pack("p", [row("a", 1.0, field=3), row("b", 1.0)], {})
    table = store.compact()
    pd.testing.assert_frame_equal(pd.read_parquet(tmp_path / "trials.parquet"), table)
    assert pd.read_csv(tmp_path / "trials.csv").trial_id.tolist() == ["a", "b"]


@pytest.mark.parametrize(
    ("values", "texts"),
    [
        ([0.1, "l1", None], ["0.1", "l1", None]),
        ([True, 0.5, 1], ["true", "0.5", "1"]),
        ([[1, 2], 3, "x"], ["[1, 2]", "3", "x"]),
        ([{}, {}, None], ["{}", "{}", None]),
        ([10**30, 1, None], [str(10**30), "1", None]),
        ([[1, "x"], [2.5], None], ['[1, "x"]', "[2.5]", None]),
    ],
)
def test_a_column_of_mixed_type_is_text_in_the_table_and_stops_no_compaction(tmp_path, values, texts):
    store = Store(tmp_path)
    store.write_pack("p", [row(str(n), n, mixed=value) for n, value in enumerate(values)], {})
    table = store.compact()
    assert [None if pd.isna(text) else text for text in table.mixed] == texts
    kept = pd.read_parquet(tmp_path / "trials.parquet").mixed
    assert [None if pd.isna(text) else text for text in kept] == texts


def test_columns_of_one_type_stay_as_they_are():
    frame = pd.DataFrame(
        {"number": [1, 2], "text": ["a", None], "lists": [[1.0], None], "truth": [True, None], "empty": [None, None]}
    )
    pd.testing.assert_frame_equal(settled(frame), frame)


def test_half_a_character_in_an_error_stops_nothing(tmp_path):
    """Python keeps bytes that are no text, of a file's name say, as halves of characters, which no file of ours may hold."""
    store = Store(tmp_path)
    store.write_pack("p", [row("a", 1.0, "failed", error="no file \udcff", other="a pair: 😀")], {})
    table = store.compact()
    assert table.error[0] == "no file ?" and table.other[0] == "a pair: 😀"


def test_two_processes_cannot_write_one_run(tmp_path):
    with Store(tmp_path).lock(), pytest.raises(UsageError, match="another process"), Store(tmp_path).lock():
        pass
    with Store(tmp_path).lock():
        pass


def test_a_folder_that_cannot_be_written_is_one_sentence(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(UsageError, match="cannot be written"), Store(tmp_path / "file" / "run").lock():
        pass
    (tmp_path / "run" / ".lock").mkdir(parents=True)
    with pytest.raises(UsageError, match="cannot be written"), Store(tmp_path / "run").lock():
        pass


def test_what_is_raised_under_the_lock_is_the_callers(tmp_path):
    with pytest.raises(OSError, match="mine"), Store(tmp_path).lock():
        raise OSError("mine")


def test_a_folder_without_a_run_is_said_so(tmp_path):
    assert not Store(tmp_path).has_manifest()
    with pytest.raises(UsageError, match="no run"):
        Store(tmp_path).manifest()


def test_rows_of_a_search_need_no_data_set(tmp_path):
    own = {"trial_id": "a", "method": "vae", "status": "stopped", "finished_at": 1.0, "history": [{"stage": 0}]}
    Store(tmp_path, ROW).write_pack("a", [own], {})
    assert Store(tmp_path, ROW).rows() == [own]
    assert Store(tmp_path, ROW).compact().history[0][0]["stage"] == 0
    assert Store(tmp_path).rows() == []


class TestPlan:
    def planned(self, folder):
        return Store(folder).planned().values.tolist()

    def test_what_is_planned_comes_back_once_each(self, tmp_path):
        assert self.planned(tmp_path) == [] and list(Store(tmp_path).planned()) == [
            "trial_id", "method", "dataset", "code",
        ]  # fmt: skip
        Store(tmp_path).plan([asked("a"), asked("b", 'a "quoted", method')])
        Store(tmp_path).plan([asked("c", dataset="other"), asked("a")])
        assert sorted(self.planned(tmp_path)) == [
            ["a", "vae", "sparse-mixing", "c"],
            ["b", 'a "quoted", method', "sparse-mixing", "c"],
            ["c", "vae", "other", "c"],
        ]

    def test_other_code_replaces_what_was_planned_of_that_method_on_that_data_set(self, tmp_path):
        Store(tmp_path).plan([asked("a"), asked("b", dataset="other"), asked("c", "ivae")])
        Store(tmp_path).plan([asked("d", code="new")])
        assert sorted(each[0] for each in self.planned(tmp_path)) == ["b", "c", "d"]

    @pytest.mark.parametrize(
        ("text", "left", "message"),
        [
            (b"", [], "planned.csv, line 1"),
            (b"\xff\xfe\x00", [], "planned.csv cannot be read"),
            (b"trial_id,method,dataset,code\na,vae,x,c\nb,va", ["a"], "planned.csv, line 3"),
            (b"trial_id,method,dataset,code\n\na,vae,x,c\n", ["a"], "planned.csv, line 2"),
            (b"a,vae,x,c\n", ["a"], "planned.csv, line 1"),
        ],
    )
    def test_a_damaged_plan_is_said_and_what_can_be_read_of_it_counts(self, tmp_path, text, left, message):
        (tmp_path / "planned.csv").write_bytes(text)
        store = Store(tmp_path)
        assert store.planned().trial_id.tolist() == left
        assert len(store.damages) == 1 and message in store.damages[0]
        store.plan([asked("new", "ivae")])
        assert Store(tmp_path).planned().trial_id.tolist() == [*left, "new"]


class TestIndex:
    """What `finished` keeps of parts that it has read, so as not to read a million rows again."""

    @pytest.fixture
    def store(self, tmp_path, monkeypatch):
        monkeypatch.setattr("bench.run.store.SETTLED_NS", 0)
        store = Store(tmp_path)
        for name in "abc":
            store.write_pack(name, [row(name, 1.0), row(f"{name}-again", 1.0, "crashed")], {})
        with store.lock():
            assert store.finished() == {"a", "b", "c"}
        return store

    def read(self, store, monkeypatch, limit=None):
        """What is finished, and the parts that were read for that."""
        read, parts = Store._read, []
        monkeypatch.setattr(Store, "_read", lambda own, path: parts.append(path.stem) or read(own, path))
        found = Store(store.folder).finished(limit)
        monkeypatch.setattr(Store, "_read", read)
        return found, sorted(parts)

    def test_a_part_that_is_as_it_was_is_not_read_again(self, store, monkeypatch):
        assert self.read(store, monkeypatch) == ({"a", "b", "c"}, [])
        store.write_pack("d", [row("d", 1.0), row("a", 2.0, "crashed")], {})
        assert self.read(store, monkeypatch) == ({"b", "c", "d"}, ["d"])
        (store.parts / "c.jsonl").unlink()
        assert self.read(store, monkeypatch) == ({"b", "d"}, ["d"])

    def test_one_of_the_same_size_and_time_that_was_changed_is(self, store, monkeypatch):
        path = store.parts / "b.jsonl"
        times = path.stat()
        path.write_bytes(path.read_bytes().replace(b'"ok"', b'"??"'))
        os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))
        assert path.stat().st_size == times.st_size and path.stat().st_mtime_ns == times.st_mtime_ns
        assert self.read(store, monkeypatch) == ({"a", "c"}, ["b"])

    def test_a_part_that_is_just_written_is_read_the_next_time(self, store, monkeypatch):
        monkeypatch.setattr("bench.run.store.SETTLED_NS", 10**12)
        with store.lock():
            store.finished()
        assert self.read(store, monkeypatch) == ({"a", "b", "c"}, ["a", "b", "c"])

    def test_a_damaged_index_or_one_of_other_rules_counts_for_nothing(self, store, monkeypatch):
        text = (store.folder / INDEX).read_bytes()
        for at in range(0, len(text), 5):
            for damaged in (text[:at], text[:at] + bytes([text[at] ^ 1]) + text[at + 1 :]):
                (store.folder / INDEX).write_bytes(damaged)
                assert self.read(store, monkeypatch) == ({"a", "b", "c"}, ["a", "b", "c"])
        (store.folder / INDEX).write_bytes(text)
        assert self.read(store, monkeypatch)[1] == []
        monkeypatch.setattr("bench.run.store.MAYBE", {})
        assert self.read(store, monkeypatch)[1] == ["a", "b", "c"]

    def test_what_is_no_file_in_its_place_is_not_waited_for(self, store, monkeypatch):
        (store.folder / INDEX).unlink()
        os.mkfifo(store.folder / INDEX)
        assert self.read(store, monkeypatch)[1] == ["a", "b", "c"]
        with store.lock():
            store.finished()
        assert self.read(store, monkeypatch)[1] == []

    def test_reading_without_the_lock_writes_none(self, store):
        (store.folder / INDEX).unlink()
        Store(store.folder).finished()
        assert not (store.folder / INDEX).exists()

    def test_limits_of_time_count_as_they_do_without_it(self, store, monkeypatch):
        store.write_pack("d", [row("d", 1.0, "timed-out", time_limit=30)], {})
        with store.lock():
            store.finished()
        for limit, finished in ((None, False), (30, True), (31, False)):
            found, parts = self.read(store, monkeypatch, limit)
            assert parts == [] and ("d" in found) == finished


NUMBERS = [0, -1, 2**53, 2**63 - 1, 2**64, 10**30, -(10**19), 1.5, -0.0, 1e308, 5e-324, 0.1, True, None]
VALUES = st.recursive(
    st.sampled_from(NUMBERS) | st.floats() | st.integers() | st.text(max_size=5) | st.just("\ud800"),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=6,
)


@settings(max_examples=150, deadline=None)
@given(
    st.lists(
        st.dictionaries(st.sampled_from(["x", *TRIAL, "error", "train_s"]), VALUES, max_size=4), min_size=1, max_size=3
    )
)
def test_rows_are_read_fast_as_they_are_read_with_care(tmp_path_factory, changes):
    store = Store(tmp_path_factory.mktemp("run"))
    store.parts.mkdir()
    rows = [row(str(number), 1.0) | change for number, change in enumerate(changes)]
    path = store.parts / "p.jsonl"
    path.write_text("".join(json.dumps(each) + "\n" for each in rows))
    found = store._read(path)
    careful = Store(store.folder)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("bench.run.store.are_whole", lambda *_: False)
        assert repr(careful._read(path)) == repr(found) and careful.damages == store.damages


class TestCompacted:
    """The tables that stand for the parts for as long as these have not changed."""

    OTHERS = {
        "numbers": [0.1, None, 1e-7],
        "counts": [1, 2, None],
        "truths": [True, None, False],
        "texts": ["a", None, "=1"],
        "nothing": [None, None, None],
        "scores": [[0.1, None], None, []],
        "verdicts": [["yes", "no"], ["yes", "no"], None],
        "sizes": [[1, 2], [1, 2], [0]],
        "mixed": [1, "a", None],
    }

    @pytest.fixture
    def store(self, tmp_path, monkeypatch):
        monkeypatch.setattr("bench.run.store.SETTLED_NS", 0)
        store = Store(tmp_path)
        for number, name in enumerate("abc"):
            others = {key: values[number] for key, values in self.OTHERS.items()}
            store.write_pack(name, [row(name, 3.0 - number, **others), row("twice", number)], {})
        return store

    def read(self, store, monkeypatch):
        """The table, and how many parts were read for it."""
        read, parts = Store._read, []
        monkeypatch.setattr(Store, "_read", lambda own, path: parts.append(path) or read(own, path))
        table = Store(store.folder).table()
        monkeypatch.setattr(Store, "_read", read)
        return table, len(parts)

    def test_it_is_the_table_of_the_parts_and_these_are_not_read(self, store, monkeypatch):
        of_parts, n_parts = self.read(store, monkeypatch)
        assert n_parts == 3
        store.compact()
        found, n_parts = self.read(store, monkeypatch)
        assert n_parts == 0
        pd.testing.assert_frame_equal(found.fillna(np.nan), of_parts.fillna(np.nan))
        assert csv_text(found) == csv_text(of_parts) == (store.folder / "trials.csv").read_text()

    def test_a_report_under_the_lock_reads_the_parts_once(self, store, monkeypatch):
        read, parts = Store._read, []
        monkeypatch.setattr(Store, "_read", lambda own, path: parts.append(path) or read(own, path))
        with store.lock():
            store.table()
            store.compact()
            assert len(parts) == 3
            store.write_pack("d", [row("d", 9.0)], {})
            assert len(store.compact()) == 5
        with store.lock():
            times = (store.folder / "trials.csv").stat().st_mtime_ns
            store.compact()
        assert (store.folder / "trials.csv").stat().st_mtime_ns == times

    @pytest.mark.parametrize("change", ["part", "new part", "no part", "table", "text", "mark", "rules"])
    def test_after_any_change_the_parts_are_read_again(self, store, monkeypatch, change):
        store.compact()
        if change == "part":
            store.write_pack("a", [row("a", 3.0), row("more", 4.0)], {})
        elif change == "new part":
            store.write_pack("d", [row("d", 4.0)], {})
        elif change == "no part":
            (store.parts / "a.jsonl").unlink()
        elif change == "rules":
            monkeypatch.setattr("bench.run.store.MAYBE", {})
        else:
            path = store.folder / {"table": "trials.parquet", "text": "trials.csv", "mark": COMPACTED}[change]
            path.write_bytes(path.read_bytes()[:-1])
        rows = Store(store.folder).rows()
        table, n_parts = self.read(store, monkeypatch)
        assert n_parts == len(list(store.parts.iterdir())) and table.trial_id.tolist() == [r["trial_id"] for r in rows]
        store.compact()
        assert self.read(store, monkeypatch)[1] == 0

    def test_parts_that_were_just_written_or_are_damaged_are_read_again(self, store, monkeypatch):
        monkeypatch.setattr("bench.run.store.SETTLED_NS", 10**12)
        store.compact()
        assert self.read(store, monkeypatch)[1] == 3
        monkeypatch.setattr("bench.run.store.SETTLED_NS", 0)
        with open(store.parts / "a.jsonl", "a") as file:
            file.write("no JSON\n")
        store.compact()
        assert self.read(store, monkeypatch)[1] == 3

    @pytest.mark.parametrize("value", [[1, 2.5], [[1.0]], {"a": 1}])
    def test_values_that_a_file_of_tables_does_not_keep_are_read_from_the_parts(self, store, monkeypatch, value):
        store.write_pack("d", [row("d", 4.0, odd=value)], {})
        store.compact()
        assert self.read(store, monkeypatch)[1] == 4

    def test_many_rows_become_the_same_table_in_several_steps(self, store, monkeypatch):
        whole = Store(store.folder).table()
        monkeypatch.setattr("bench.run.store.CHUNK", 1)
        found = Store(store.folder).table()
        order = found.set_index("trial_id").loc[whole.trial_id].reset_index()[list(whole)]
        assert csv_text(order) == csv_text(whole)
        assert found.finished_at.is_monotonic_increasing and found.mixed.dropna().tolist() == ["a", "1"]


@pytest.mark.parametrize("kind", ["texts", "lists", "parts of lists"])
def test_a_parquet_file_that_claims_one_long_text_for_every_row_is_not_read(tmp_path, monkeypatch, kind):
    texts = arrow.DictionaryArray.from_arrays(arrow.array([0] * 500, arrow.int32()), arrow.array(["a" * 10**6]))
    lists = arrow.ListArray.from_arrays(arrow.array(range(501), arrow.int32()), texts)
    of_parts = arrow.ListArray.from_arrays(
        arrow.array(range(501), arrow.int32()), arrow.StructArray.from_arrays([texts], ["a"])
    )
    column = {"texts": texts, "lists": lists, "parts of lists": of_parts}[kind]
    path = tmp_path / "run" / "latents" / "t.parquet"
    path.parent.mkdir(parents=True)
    parquet.write_table(arrow.table({"z_hat_0": column}), path, compression="zstd", store_schema=False)
    assert path.stat().st_size < 3000
    monkeypatch.setattr("bench.run.store.largest", lambda: 10**8)
    monkeypatch.setattr(pd, "read_parquet", lambda *_: pytest.fail("it was read"))
    with pytest.raises(UsageError, match="its 0.466 GiB are more than the 95.4 MiB that may be read"):
        Store(tmp_path / "run").every_latent({"trial_id": "t", "method": "vae"})


def test_the_latents_of_many_points_are_read_whose_labels_repeat(tmp_path, monkeypatch):
    labels = pd.Categorical(["north", "south"] * 50_000)
    table = pd.DataFrame({"domain": labels, "text": ["a", "b"] * 50_000, "z_hat_0": np.arange(100_000) / 7})
    path = tmp_path / "run" / "latents" / "t.parquet"
    path.parent.mkdir(parents=True)
    table.to_parquet(path)
    monkeypatch.setattr("bench.run.store.largest", lambda: 10**7)
    pd.testing.assert_frame_equal(Store(tmp_path / "run").every_latent({"trial_id": "t", "method": "vae"}), table)


def test_a_table_does_not_keep_the_lists_of_python_that_it_was_made_of():
    def rows(n):
        return [
            {"trial_id": "a", "error": None, "scores": [number + k / 100 for k in range(60)]} for number in range(n)
        ]

    _table_of(rows(1))  # once before, so that what is imported and kept is not counted
    tracemalloc.start()
    table = _table_of(rows(2000))
    held, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert table["error"].dtype == object and isinstance(table["scores"].dtype, pd.ArrowDtype)
    assert held < 0.1 * 2000 * 60 * 24  # bytes of Python's floats; Arrow's are not traced
