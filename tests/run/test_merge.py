"""Joining runs: which row of a trial is kept, and that nothing is lost, whatever is joined with what and however often."""

import hashlib
import json
from types import SimpleNamespace

import numpy as np
import pytest

from bench.plan.trials import plan
from bench.registry import UsageError
from bench.report import results
from bench.run import merge
from bench.run.store import Store
from bench.statuses import OK
from bench.train.outcomes import Outcome
from bench.train.rows import row as full_row
from tests.simulated import MANIFEST


def row(trial_id, finished_at, status="ok", **more):
    fixed = {"method": "vae", "dataset": "sparse-mixing", "role": "method", "seed": 0, "root_seed": 0, "code": "c"}
    return {"trial_id": trial_id, "status": status, "finished_at": finished_at, "mcc_spearman": 0.5, **fixed, **more}


def run_of(folder, packs, started_at="2026-01-01T00:00:00+00:00", planned=(), data_version=1, charts=(), **manifest):
    """A store with a part for each pack, whose ok trials have latents that tell the run and the trial."""
    store = Store(folder)
    for pack, rows in packs.items():
        latents = {
            f"{each['trial_id']}.{name}": np.full((3, 2), hash((folder.name, each["trial_id"])) % 1000)
            for each in rows
            for name in ("z", "z_hat")
            if each["status"] == OK
        }
        store.write_pack(pack, [each | {"pack_id": pack} for each in rows], latents)
    for chart in charts:
        store.write_chart(chart, {"a": np.full(2, hash(folder.name) % 1000)})
    command = MANIFEST["commands"][0] | {"started_at": started_at, "command": f"run_bench.py --name {folder.name}"}
    command |= {"data_version": data_version}
    store.write_manifest(
        MANIFEST | {"name": folder.name, "commands": [command], "methods": {}, "datasets": {}, "scores": {}} | manifest
    )
    store.plan([SimpleNamespace(trial_id=each, method="vae", dataset="sparse-mixing", code="c") for each in planned])
    return store


def joined(sources, target):
    """What `merge` says, with the target locked, as the command line does it."""
    sources = [Store(store.folder) for store in sources]
    merge.check(sources, target)
    with target.lock():
        return merge.merge(sources, target, results.merged(merge.manifests(sources, target)))


def scores(store):
    return {each["trial_id"]: (each["status"], each["mcc_spearman"]) for each in Store(store.folder).rows()}


def content(folder):
    """Every file of a run with what is in it; of arrays and of what is planned, what they hold, in any order."""
    found = {}
    for path in sorted(path for path in folder.rglob("*") if path.is_file() and path.name != ".lock"):
        if path.suffix == ".npz":
            with np.load(path) as file:
                found[path] = {key: file[key].tolist() for key in file.files}
        else:
            lines = path.read_text().splitlines()
            found[path] = sorted(lines) if path.name == "planned.csv" else lines
    return found


def test_rows_latents_charts_commands_and_plans_of_all_runs_are_in_the_joined_one(tmp_path):
    a = run_of(tmp_path / "a", {"p": [row("1", 1.0), row("2", 1.0)]}, planned=["1", "2", "5"], charts=["x"])
    b = run_of(tmp_path / "b", {"q": [row("3", 2.0)]}, "2026-01-02", planned=["3"], charts=["x", "y"])
    target = Store(tmp_path / "out")
    said = joined([b, a], target)
    assert set(scores(target)) == {"1", "2", "3"} and target.damages == []
    for store, pack in ((a, "p"), (b, "q")):
        arrays = store.pack_latents(pack)
        assert {k: v.tolist() for k, v in target.pack_latents(pack).items()} == {
            k: v.tolist() for k, v in arrays.items()
        }
    assert {path.stem for path in (tmp_path / "out" / "charts").iterdir()} == {"x", "y"}
    assert [command["command"][-1] for command in target.manifest()["commands"]] == ["a", "b"]
    assert target.manifest()["name"] == "out"
    assert set(target.planned().trial_id) == {"1", "2", "3", "5"}
    assert "3 trials, 3 of them added" in said[0] and said[1].startswith("planned and without a row yet: 1 trial;")


def test_facts_of_methods_data_sets_and_scores_of_all_runs_are_kept_those_of_the_newest_first(tmp_path):
    a = run_of(tmp_path / "a", {"p": [row("1", 1.0)]}, methods={"m": {"v": "old"}, "only-a": {}}, scores={"s": {}})
    b = run_of(tmp_path / "b", {"q": [row("2", 1.0)]}, "2026-01-02", methods={"m": {"v": "new"}}, datasets={"d": {}})
    for order in ([a, b], [b, a]):
        target = Store(tmp_path / f"out-{order[0].folder.name}")
        joined(order, target)
        manifest = target.manifest()
        assert manifest["methods"] == {"m": {"v": "new"}, "only-a": {}}
        assert manifest["datasets"] == {"d": {}} and manifest["scores"] == {"s": {}}


def test_joining_again_changes_nothing(tmp_path):
    a = run_of(tmp_path / "a", {"p": [row("1", 1.0), row("2", 9.0, "crashed")]}, planned=["1", "2"], charts=["x"])
    b = run_of(tmp_path / "b", {"p": [row("2", 2.0)], "q": [row("1", 0.5)]}, "2026-01-02", planned=["1"], charts=["x"])
    target = Store(tmp_path / "out")
    joined([a, b], target)
    before = content(target.folder)
    for sources in ([a, b], [b, a], [b]):
        joined(sources, Store(target.folder))
        assert content(target.folder) == before


def test_the_order_of_the_runs_does_not_matter(tmp_path):
    a = run_of(tmp_path / "a", {"p": [row("1", 2.0, mcc_spearman=0.9), row("2", 1.0, "crashed")]}, charts=["x"])
    b = run_of(tmp_path / "b", {"p": [row("1", 1.0, mcc_spearman=0.2), row("2", 0.5, "failed")]}, "2026-01-02")
    found = []
    for sources in ([a, b], [b, a]):
        target = Store(tmp_path / "-".join(store.folder.name for store in sources))
        joined(sources, target)
        found.append(scores(target))
    assert found[0] == found[1] == {"1": ("ok", 0.2), "2": ("failed", 0.5)}


def test_the_runs_that_are_joined_are_only_read(tmp_path):
    a = run_of(tmp_path / "a", {"p": [row("1", 1.0)]}, charts=["x"], planned=["1"])
    b = run_of(tmp_path / "b", {"p": [row("1", 2.0), row("2", 2.0)]}, "2026-01-02")
    (b.parts / "q.jsonl").write_text(json.dumps(row("3", 1.0)) + "\n{cut")
    before = {path: hashlib.sha256(path.read_bytes()).digest() for path in tmp_path.rglob("*") if path.is_file()}
    joined([a, b], Store(tmp_path / "out"))
    assert {path: hashlib.sha256(path.read_bytes()).digest() for path in before} == before
    assert {path for store in (a, b) for path in store.folder.rglob("*") if path.is_file()} == set(before)


def test_a_finished_row_of_the_run_that_is_added_to_stays_with_its_latents(tmp_path):
    target = run_of(tmp_path / "out", {"p": [row("1", 5.0, mcc_spearman=0.3)]})
    a = run_of(tmp_path / "a", {"p": [row("1", 1.0, mcc_spearman=0.9), row("2", 1.0)]}, "2026-01-02")
    own = target.pack_latents("p")["1.z"]
    said = joined([a], target)
    assert scores(target) == {"1": ("ok", 0.3), "2": ("ok", 0.5)}
    arrays = target.pack_latents("p")
    assert (arrays["1.z"] == own).all() and (arrays["2.z"] == a.pack_latents("p")["2.z"]).all()
    assert any("trained in several runs: 1 trial," in each and "by at most 0.6" in each for each in said)


@pytest.mark.parametrize("pack", ["p", "q"])
@pytest.mark.parametrize(
    ("former", "status"),
    [
        (row("1", 9.0, "crashed"), "ok"),
        (row("1", 9.0, "timed-out", time_limit=30.0), "ok"),
        (row("1", 9.0, "timed-out", time_limit=30.0), "failed"),
    ],
)
def test_what_is_finished_replaces_what_would_be_trained_again_even_if_that_is_later(tmp_path, former, status, pack):
    target = run_of(tmp_path / "out", {"p": [former, row("2", 1.0)]})
    joined([run_of(tmp_path / "a", {pack: [row("1", 1.0, status)]})], target)
    assert {key: value[0] for key, value in scores(target).items()} == {"1": status, "2": "ok"}
    assert Store(target.folder).finished() == {"1", "2"} and "2.z" in target.pack_latents("p")


def test_of_two_rows_whose_time_was_up_that_with_the_higher_limit_counts(tmp_path):
    limits = {"a": 30.0, "b": 60.0, "c": None}
    runs = [run_of(tmp_path / n, {"p": [row("1", 1.0, "timed-out", time_limit=v)]}) for n, v in limits.items()]
    for sources, limit in ((runs[:2], 60.0), (runs, None)):
        target = Store(tmp_path / f"out-{len(sources)}")
        joined(sources, target)
        assert [each["time_limit"] for each in target.rows()] == [limit]


def test_the_better_of_two_finished_rows_is_not_preferred(tmp_path):
    """That would be the best of several tries, which no method here has."""
    a = run_of(tmp_path / "a", {"p": [row("1", 1.0, "diverged", mcc_spearman=None)]})
    b = run_of(tmp_path / "b", {"p": [row("1", 2.0, "ok", mcc_spearman=0.99)]})
    target = Store(tmp_path / "out")
    joined([a, b], target)
    assert scores(target) == {"1": ("diverged", None)}


def test_a_pack_that_two_runs_have_in_part_is_whole_in_the_joined_one(tmp_path):
    a = run_of(tmp_path / "a", {"p": [row("1", 1.0), row("2", 1.0, "crashed")]})
    b = run_of(tmp_path / "b", {"p": [row("1", 1.0, "crashed"), row("2", 1.0)]})
    target = Store(tmp_path / "out")
    joined([a, b], target)
    assert {key: value[0] for key, value in scores(target).items()} == {"1": "ok", "2": "ok"}
    for each in target.rows():
        kept = target.pack_latents(each["pack_id"])[f"{each['trial_id']}.z"]
        source = a if each["trial_id"] == "1" else b
        assert (kept == source.pack_latents("p")[f"{each['trial_id']}.z"]).all()


@pytest.mark.parametrize("where", ["a", "out"])
def test_whole_rows_of_a_damaged_part_are_kept_and_the_damage_is_said(tmp_path, where):
    stores = {name: run_of(tmp_path / name, {f"p-{name}": [row(name, 1.0)]}) for name in ("a", "out")}
    damaged = json.dumps(row("whole", 1.0)) + "\n{cut off"
    (stores[where].parts / "half.jsonl").write_text(damaged)
    said = joined([stores["a"]], Store(tmp_path / "out"))
    assert set(scores(stores["out"])) == Store(tmp_path / "out").finished() == {"a", "out", "whole"}
    assert any(f"{where}/parts/half.jsonl, line 2 is left out" in each for each in said)
    if where == "out":
        assert (tmp_path / "out" / "damaged" / "half.jsonl").read_text() == damaged
    assert Store(tmp_path / "out").rows() and not Store(tmp_path / "out").damages


def test_latents_and_charts_that_cannot_be_read_are_said_and_stop_nothing(tmp_path):
    a = run_of(tmp_path / "a", {"p": [row("1", 1.0)]}, charts=["x"])
    (a.representation_folder / "p.npz").write_bytes(b"PK\x03\x04 cut off")
    (a.folder / "charts" / "x.npz").write_bytes(b"")
    target = Store(tmp_path / "out")
    said = joined([a], target)
    assert set(scores(target)) == {"1"} and not (tmp_path / "out" / "charts").exists()
    assert sum("cannot be read" in each for each in said) == 2


def test_latents_of_the_run_that_cannot_be_read_are_not_overwritten(tmp_path):
    target = run_of(tmp_path / "out", {"p": [row("1", 1.0), row("2", 1.0, "crashed")]})
    (target.representation_folder / "p.npz").write_bytes(b"PK\x03\x04 cut off")
    joined([run_of(tmp_path / "a", {"p": [row("2", 1.0)]})], target)
    assert (target.representation_folder / "p.npz").read_bytes() == b"PK\x03\x04 cut off"
    assert set(scores(target)) == {"1", "2"}


def test_arrays_that_would_run_code_when_read_are_not_read(tmp_path):
    a = run_of(tmp_path / "a", {"p": [row("1", 1.0)]})

    class Runs:
        def __reduce__(self):
            return (print, ("executed",))

    np.savez(a.representation_folder / "p.npz", **{"1.z": np.array([Runs()], dtype=object)})
    said = joined([a], Store(tmp_path / "out"))
    assert any("a/representations/p.npz cannot be read ('1.z' is of type object" in each for each in said)


def test_runs_on_other_data_are_refused_before_anything_is_written(tmp_path):
    a = run_of(tmp_path / "a", {"p": [row("1", 1.0)]})
    b = run_of(tmp_path / "b", {"q": [row("2", 1.0)]}, "2026-01-02", data_version=2)
    target = Store(tmp_path / "out")
    with pytest.raises(UsageError, match="not on the same data"):
        results.merged(merge.manifests([a, b], target))


def test_a_run_that_is_being_written_is_not_added_to(tmp_path):
    a, target = run_of(tmp_path / "a", {"p": [row("1", 1.0)]}), run_of(tmp_path / "out", {})
    with Store(target.folder).lock(), pytest.raises(UsageError, match="being written by another process"):
        joined([a], target)


@pytest.mark.parametrize("which", ["source", "target"])
def test_a_run_of_which_only_the_table_was_kept_is_refused(tmp_path, which):
    a, target = run_of(tmp_path / "a", {"p": [row("1", 1.0)]}), run_of(tmp_path / "out", {"q": [row("2", 1.0)]})
    kept = {"source": a, "target": target}[which]
    kept.compact()
    (kept.parts / ("p.jsonl" if which == "source" else "q.jsonl")).unlink()
    kept.parts.rmdir()
    with pytest.raises(UsageError, match="only the table was kept"):
        joined([a], target)


def test_a_manifest_without_facts_is_refused(tmp_path):
    a = run_of(tmp_path / "a", {"p": [row("1", 1.0)]})
    a.write_manifest({k: v for k, v in a.manifest().items() if k != "methods"})
    with pytest.raises(UsageError, match="says nothing of its methods"):
        joined([a], Store(tmp_path / "out"))


def test_a_run_without_rows_joins(tmp_path):
    """A shard that had nothing to do."""
    a, b = run_of(tmp_path / "a", {"p": [row("1", 1.0)]}), run_of(tmp_path / "b", {}, "2026-01-02")
    target = Store(tmp_path / "out")
    joined([a, b], target)
    assert set(scores(target)) == {"1"} and len(target.manifest()["commands"]) == 2


def test_a_merge_that_is_killed_loses_nothing_and_is_done_by_the_next(tmp_path, monkeypatch):
    a = run_of(tmp_path / "a", {f"p{n}": [row(str(n), 1.0)] for n in range(4)}, charts=["x"])
    old = [row("0", 9.0, "crashed"), row("own", 1.0)]
    whole = run_of(tmp_path / "whole", {"q": old})
    joined([a], whole)
    for at in range(1, 6):  # the pack of the run, and four new ones
        target = run_of(tmp_path / f"out-{at}", {"q": old})
        n_writes, write = [0], merge.Store.write_pack

        def dies(store, *words, n_writes=n_writes, at=at, write=write):
            n_writes[0] += 1
            if n_writes[0] == at:
                raise KeyboardInterrupt
            return write(store, *words)

        with monkeypatch.context() as patch:
            patch.setattr(merge.Store, "write_pack", dies)
            with pytest.raises(KeyboardInterrupt):
                joined([a], target)
            assert "own" in Store(target.folder).finished()
        joined([a], Store(target.folder))
        assert scores(target) == scores(whole)


def test_shards_that_are_not_there_yet_are_named():
    def commands(*shards):
        return [{"config": {"shard": shard}} for shard in shards]

    assert merge.absent_shards(commands("1/3", "3/3")) == ["not here yet: 1 shard of 3 (2)"]
    assert merge.absent_shards(commands("1/3", "3/3", "2/3", "1/3")) == []
    assert merge.absent_shards(commands("1/3", None)) == merge.absent_shards([{"config": {}}]) == []
    assert merge.absent_shards(commands("5/4", 7, "1/20"))[0].endswith(
        "not here yet: 19 shards of 20 (2, 3, 4, 5, 6, 7, 8, 9, 10, 11, ...)"
    )


# --- identities


def real_row(trial):
    return json.loads(json.dumps(full_row(trial, 0, Outcome(OK), {})))


@pytest.mark.parametrize("dataset", ["sparse-mixing", "modulated-sources", "style-content", "dictionary"])
def test_rows_of_this_code_have_the_identity_that_their_fields_give(dataset):
    trials, _ = plan(dataset, {}, {}, ["pca", "vae", "synergy-vae", "supervised", "flow"], 2, 3)
    assert merge.identities([real_row(trial) for trial in trials]) == []


def test_rows_of_other_code_and_rows_that_were_edited_are_counted():
    (one, two, three), _ = plan("sparse-mixing", {}, {"sparse-mixing": {"violation": 0.0}}, ["vae"], 3, 0)
    rows = [real_row(one), real_row(two) | {"code": "before"}, real_row(three) | {"domains": 4}]
    other, edited = merge.identities(rows)
    assert other.startswith("of other code than this project's: 1 trial;") and edited.startswith(
        "the fields of 1 trial do"
    )
    assert merge.identities([real_row(one) | {"method": "no-such"}, row("short", 1.0)]) == []


# --- rows of archives, whose times are the word of whoever made them


THEIRS = {"archive": "a" * 16}


@pytest.mark.parametrize("finished_at", [0.0, 1.5, 4e9])
@pytest.mark.parametrize("theirs_in_target", [False, True])
def test_a_row_of_an_archive_makes_way_for_ones_own_whenever_it_says_that_it_was_finished(
    tmp_path, finished_at, theirs_in_target
):
    own = run_of(tmp_path / "own", {"p": [row("1", 2.0, mcc_spearman=0.3)]})
    theirs = run_of(tmp_path / "theirs", {"q": [row("1", finished_at, mcc_spearman=0.9, **THEIRS)]})
    source, target = (own, theirs) if theirs_in_target else (theirs, own)
    for _ in range(2):
        joined([source], target)
        assert scores(target) == {"1": ("ok", 0.3)} and target.table().mcc_spearman.tolist() == [0.3]


@pytest.mark.parametrize("finished_at", [0.0, 1.5, 4e9])
def test_a_report_of_several_runs_has_ones_own_row_and_not_that_of_an_archive(tmp_path, finished_at):
    own = row("1", 2.0, mcc_spearman=0.3, domains=2)
    theirs = own | {"finished_at": finished_at, "mcc_spearman": 0.9, **THEIRS}
    runs = [run_of(tmp_path / "own", {"p": [own]}), run_of(tmp_path / "theirs", {"q": [theirs]}, "2099-01-01")]
    codes = {"vae on sparse-mixing": "c"}
    for store in runs:
        manifest = store.manifest()
        store.write_manifest(manifest | {"commands": [manifest["commands"][0] | {"code": codes}]})
    for order in (runs, runs[::-1]):
        assert results.gather([Store(store.folder) for store in order]).trials.mcc_spearman.tolist() == [0.3]
    both = run_of(tmp_path / "both", {"p": [own], "q": [theirs]})
    assert scores(both) == {"1": ("ok", 0.3)} and both.table().mcc_spearman.tolist() == [0.3]


def test_of_two_archives_the_one_that_is_there_or_named_first_counts_whatever_their_times(tmp_path):
    first = run_of(tmp_path / "first", {"p": [row("1", 9.0, mcc_spearman=0.3, **THEIRS)]})
    second = run_of(tmp_path / "second", {"q": [row("1", 0.0, mcc_spearman=0.9, archive="b")]})
    target = Store(tmp_path / "out")
    for sources in ([first, second], [second]):
        joined(sources, target)
        assert scores(target) == {"1": ("ok", 0.3)}
