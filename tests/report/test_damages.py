"""What a killed process, a full disk, an editor or another program can do to a run's folder: nothing of it ends in a traceback."""

import io
import json
import os
import shutil
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from rich.console import Console

from bench.files import read_bytes
from bench.registry import UsageError
from bench.report import compare, leaderboard, pairs, recovery, results, synergy, write
from bench.run.store import COMMAND, MANIFEST, TRIAL, Store
from datasets.oracle import NO, PROMISES, YES
from tests.simulated import simulated_run, simulated_trials

LEVELS = {"vae": 0.6, "flow-vae": 0.7, "sparse-vae": 0.7, "synergy-vae": 0.9, "random": 0.4}
PART = "parts/run-vae.jsonl"  # of the 8 trials of one method
N_TRIALS, N_PART = 40, 8


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    trials = simulated_trials(LEVELS, domains=(2, 3), seeds=2).assign(penalty="l1")
    trials["mcc_per_latent"] = [[score] * 2 for score in trials.mcc_spearman]
    for promise in PROMISES:
        trials[promise] = [[YES, NO]] * len(trials)
    return simulated_run(tmp_path_factory.mktemp("whole") / "run", trials).folder


@pytest.fixture
def run(whole, tmp_path):
    return shutil.copytree(whole, tmp_path / "run")


def lines(folder):
    return (folder / PART).read_bytes().splitlines(keepends=True)


def edit(folder, **columns):
    """Writes the part anew with other values in its second row; without the column where the value is `...`."""
    rows = [json.loads(line) for line in lines(folder)]
    rows[1] = {name: value for name, value in (rows[1] | columns).items() if value is not ...}
    (folder / PART).write_text("".join(json.dumps(row) + "\n" for row in rows))


def read(folder):
    return results.gather([Store(folder)])


def report(folder):
    """Reads a run, and makes every table of it."""
    own = read(folder)
    (board,) = leaderboard.boards(own).values()
    leaderboard.render(board, own)
    pairs.table(own)
    synergy.verdicts(own, synergy.table(own))
    recovery.table(own)
    results.example(own)
    return own


def resume(folder):
    """How many trials train when the run's command is given again, and what it says."""
    store = Store(folder)
    asked = [SimpleNamespace(trial_id=trial) for trial in store.planned().trial_id]
    expected = len(Store(folder).missing(asked))  # as a dry run says, which moves nothing
    with store.lock():
        missing = store.missing(asked)
    assert len(missing) == expected
    return len(missing), store.damages


def first_lines(data, n):
    return b"".join(data.splitlines(keepends=True)[:n])


# What is in the part, of its whole text: how many of its rows can still be read, and what is said.
DAMAGES = {
    "empty": (lambda text: b"", 0, "vae.jsonl is empty"),
    "only a line's end": (lambda text: b"\n", 0, "line 1 is left out: the line is blank"),
    "a blank line": (lambda text: first_lines(text, 2) + b"\n" + text, 8, "line 3 is left out: the line is blank"),
    "a blank line at the end": (lambda text: text + b"\n", 8, "line 9 is left out: the line is blank"),
    "spaces": (lambda text: text + b"   \t\n", 8, "line 9 is left out: the line is blank"),
    "garbage": (lambda text: text + b"Killed\n", 8, "line 9 is left out: the line is cut off, or no JSON"),
    "binary": (lambda text: bytes(range(256)) * 9, 0, "line 1 is left out: the line is cut off, or no JSON"),
    "zeros, as after a crash of the machine": (lambda text: first_lines(text, 3) + b"\0" * 512, 3, "line 4 is left out: the line is cut off, or no JSON"),
    "no text": (lambda text: text.replace(b'"method"', b'"meth\xffod"', 1), 7, "line 1 is left out: the line is cut off, or no JSON"),
    "a number": (lambda text: text + b"3\n", 8, "line 9 is left out: it is no table"),
    "a list": (lambda text: b"[" + text.replace(b"\n", b",").removesuffix(b",") + b"]", 0, "line 1 is left out: it is no table"),
    "a text": (lambda text: b'"rows"\n', 0, "line 1 is left out: it is no table"),
    "null": (lambda text: b"null\n" + text, 8, "line 1 is left out: it is no table"),
    "an empty table": (lambda text: b"{}\n" + text, 8, "line 1 is left out: 'trial_id' is missing"),
    "another program's table": (lambda text: b'{"loss": 1}\n' + text, 8, "line 1 is left out: 'trial_id' is missing"),
    "two rows on a line": (lambda text: text.replace(b"\n", b"", 1), 6, "line 1 is left out: the line is cut off, or no JSON"),
    "very deep JSON": (lambda text: text + b"[" * 100_000, 8, "line 9 is left out: the line is cut off, or no JSON"),
    "two damages": (lambda text: b"x\n" + text + b"y\n", 8, "line 1 is left out: the line is cut off, or no JSON (and 1 more)"),
    **{
        f"cut off after {tenth} tenths": (
            lambda text, tenth=tenth: text[: len(text) * tenth // 10 - 3],
            None,
            ": the line is cut off, or no JSON",
        )
        for tenth in range(1, 11)
    },
}  # fmt: skip


@pytest.mark.parametrize("damage", DAMAGES)
def test_of_a_damaged_part_whole_rows_count_and_its_trials_train_again(run, damage):
    change, n_rows, message = DAMAGES[damage]
    text = (run / PART).read_bytes()
    (run / PART).write_bytes(change(text))
    n_rows = change(text).count(b"\n") if n_rows is None else n_rows
    own = read(run)
    assert len(own.trials) == N_TRIALS - N_PART + n_rows
    assert own.missing == ({"vae": N_PART - n_rows} if n_rows < N_PART else {})
    (said,) = own.damages
    assert said.startswith("run/parts/run-vae.jsonl") and message in said
    damaged = (run / PART).read_bytes()
    n_missing, said = resume(run)
    assert n_missing == N_PART and "is now in damaged/, and its trials are trained again" in said[-1]
    assert (run / "damaged" / "run-vae.jsonl").read_bytes() == damaged and not (run / PART).exists()
    (run / PART).write_bytes(text)  # they were
    assert resume(run) == (0, []) and not read(run).damages


@pytest.mark.parametrize("column", TRIAL)
def test_a_row_without_a_column_that_every_row_has_is_left_out(run, column):
    edit(run, **{column: ...})
    own = read(run)
    assert len(own.trials) == N_TRIALS - 1
    assert own.damages == [f"run/{PART}, line 2 is left out: {column!r} is missing"]
    assert resume(run)[0] == N_PART


@pytest.mark.parametrize(
    ("column", "value"),
    [
        ("trial_id", 3), ("trial_id", None), ("trial_id", float("nan")), ("trial_id", ["a"]), ("trial_id", True),
        ("method", 3), ("method", None), ("method", {"name": "vae"}), ("dataset", None), ("dataset", []),
        ("code", 7), ("role", "king"), ("role", ["method"]), ("role", None), ("status", "fine"), ("status", {}), ("status", None),
        ("seed", "0"), ("seed", 0.5), ("seed", True), ("seed", None), ("seed", 2**80), ("root_seed", []), ("root_seed", "zero"),
        ("finished_at", "today"), ("finished_at", None), ("finished_at", float("nan")), ("finished_at", float("inf")),
        ("finished_at", 10**400), ("finished_at", False),
        ("error", 3), ("error", ["a"]), ("train_s", "2 s"), ("train_s", [2.0]), ("time_limit", "none"), ("pack_id", 5),
        ("has_truth", "yes"), ("has_truth", 1), ("mcc_spearman", "0.9"), ("mcc_spearman", [0.9]), ("mcc_spearman", float("inf")),
    ],
)  # fmt: skip
def test_a_row_with_a_wrong_type_where_every_row_has_another_is_left_out(run, column, value):
    edit(run, **{column: value})
    own = read(run)
    assert len(own.trials) == N_TRIALS - 1 and len(own.damages) == 1
    assert f"{PART}, line 2 is left out: " in own.damages[0] and column in own.damages[0]
    assert resume(run)[0] == N_PART


@pytest.mark.parametrize("limit", [None, 30.0])
def test_a_row_may_lack_what_an_early_version_did_not_write(run, limit):
    edit(run, error=..., train_s=..., time_limit=..., has_truth=..., pack_id=...)
    own = read(run)
    assert len(own.trials) == N_TRIALS and not own.damages
    assert Store(run).missing([SimpleNamespace(trial_id=trial) for trial in own.trials.trial_id], limit) == []


@pytest.mark.parametrize(
    "columns",
    [
        {"domains": "three"}, {"domains": [2, 3]}, {"domains": {"n": 2}}, {"domains": None}, {"domains": ...}, {"domains": True},
        {"violation": {}}, {"violation": "0.5"}, {"violation": 10**30}, {"twins": []}, {"twins": [[1], [2, 3]]}, {"n_latents": "4"},
        {"penalty": 0.1}, {"penalty": ["l1"]}, {"penalty": None}, {"alpha": "much"}, {"alpha": [1, "x"]}, {"steps": "100"},
        {"r2_block": "0.9"}, {"r2_block": [0.1]}, {"r2_block": True}, {"r2_block": {}}, {"objective": "low"}, {"recon_nmse": 1e100},
        {"mcc_spearman": 1e100}, {"mcc_spearman": None}, {"mcc_within": ...}, {"consistency": 10**400},
        {"mcc_per_latent": "none"}, {"mcc_per_latent": 0.5}, {"mcc_per_latent": [0.1]}, {"mcc_per_latent": [[0.1], [0.2, 0.3]]},
        {"mcc_per_latent": ["a", "b"]}, {"mcc_per_latent": [None, None]}, {"mcc_per_latent": []}, {"mcc_per_latent": {"0": 1}},
        {"promised_both": "yes"}, {"promised_both": ["yes"]}, {"promised_both": [1, 2]}, {"promised_both": []}, {"promised_both": None},
        {"promised_both": ["maybe", {}]}, {"trial_id": "vae-2-0.0-0"}, {"method": "nosuch"}, {"dataset": "nosuch"}, {"code": "other"},
        {"method": ""}, {"pack_id": "nosuch"}, {"pack_id": "../../x"}, {"": 1}, {"more": "a column"}, {"error": "a\u2028b\n<b>"},
        {"label": 3}, {"seed": -1}, {"error": "\udcff"}, {"status": "failed", "error": ""}, {"train_s": -1},
    ],
)  # fmt: skip
def test_odd_values_elsewhere_stop_no_report_and_no_resumed_run(run, columns):
    edit(run, **columns)
    own = report(run)
    assert N_TRIALS - 1 <= len(own.trials) <= N_TRIALS
    assert resume(run)[0] <= 1
    table = Store(run).compact()
    assert pd.read_parquet(run / "trials.parquet").shape == table.shape


@pytest.mark.parametrize(
    "columns", [{"domains": "three"}, {"domains": [2]}, {"penalty": 0.1}, {"steps": "100"}, {"code": "other"}]
)
def test_a_run_with_odd_values_can_be_compared_with_one_without(run, whole, columns):
    edit(run, **columns)
    text, _ = compare.render(read(whole), read(run))
    assert "B - A" in text


def test_the_same_trial_twice_counts_once_and_the_last_one_counts(run):
    rows = [json.loads(line) for line in lines(run)]
    again = [row | {"mcc_spearman": 0.0, "finished_at": row["finished_at"] + 1} for row in rows]
    (run / PART).write_text("".join(json.dumps(row) + "\n" for row in [*again, *rows]))
    own = read(run)
    assert len(own.trials) == N_TRIALS and not own.damages
    assert (own.trials[own.trials.method == "vae"].mcc_spearman == 0).all()


def test_a_folder_or_a_dead_link_in_the_place_of_a_part_is_said_and_set_aside(run):
    (run / PART).unlink()
    (run / PART).mkdir()
    (run / "parts" / "link.jsonl").symlink_to("nowhere")
    own = read(run)
    assert len(own.trials) == N_TRIALS - N_PART and len(own.damages) == 2
    assert f"run/{PART} cannot be read (Is a directory)" in own.damages
    assert resume(run)[0] == N_PART
    assert sorted(path.name for path in (run / "damaged").iterdir()) == ["link.jsonl", "run-vae.jsonl"]


def test_a_part_that_may_not_be_read_is_said(run, monkeypatch):
    """As root every file can be read; so the system is made to refuse."""

    def refuse(path):
        if path.name == "run-vae.jsonl":
            raise PermissionError(13, os.strerror(13))
        return read_bytes(path)

    monkeypatch.setattr("bench.run.store.read_bytes", refuse)
    assert read(run).damages == [f"run/{PART} cannot be read (Permission denied)"]


def test_parts_of_one_name_that_are_set_aside_one_after_the_other_are_all_kept(run):
    text = (run / PART).read_bytes()
    for _ in range(3):
        (run / PART).write_bytes(text[:-5])
        resume(run)
    assert len(list((run / "damaged").iterdir())) == 3


def test_other_files_among_the_parts_are_nothing_to_a_run(run):
    (run / "parts" / ".run-vae.jsonl.123").write_text("half a ro")  # a write that was killed
    (run / "parts" / "notes.txt").write_text("mine")
    assert len(read(run).trials) == N_TRIALS and resume(run) == (0, [])


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda run: shutil.rmtree(run / "parts"), "no finished trials yet"),
        (lambda run: [path.unlink() for path in (run / "parts").iterdir()], "no finished trials yet"),
        (lambda run: [path.write_bytes(b"") for path in (run / "parts").iterdir()], "yet that can be read: run/parts/"),
        (lambda run: (shutil.rmtree(run / "parts"), (run / "parts").write_text("x")), "parts cannot be read"),
    ],
)
def test_a_run_of_which_nothing_can_be_read_is_one_sentence(run, damage, message):
    damage(run)
    with pytest.raises(UsageError, match=message):
        read(run)


# --- representations


def archive(run):
    return next((run / "representations").glob("run-vae.npz"))


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda path: path.unlink(), "vae.npz is missing"),
        (lambda path: shutil.rmtree(path.parent), "vae.npz is missing"),
        (lambda path: (path.unlink(), path.mkdir()), "vae.npz cannot be read (Is a directory)"),
        (lambda path: path.write_bytes(b""), "vae.npz cannot be read"),
        (lambda path: path.write_bytes(b"PK\3\4 and no more"), "vae.npz cannot be read"),
        (lambda path: path.write_text('{"z": 1}'), "vae.npz cannot be read"),
        (lambda path: np.save(path.open("wb"), np.zeros(3)), "vae.npz cannot be read"),
        (lambda path: np.savez(path, other=np.zeros(3)), "vae.npz does not hold the latents of vae-"),
        *(
            (lambda path, part=part: path.write_bytes(path.read_bytes()[: path.stat().st_size * part // 5]), "vae.npz cannot be read")
            for part in range(1, 5)
        ),
    ],
)  # fmt: skip
def test_latents_that_cannot_be_read_are_left_out_and_said(run, damage, message):
    damage(archive(run))
    own = results.gather([Store(run)])
    latents, where = results.example(own)
    assert "vae" not in latents and where
    assert any(message in damage for damage in own.damages)
    assert len(own.trials) == N_TRIALS and resume(run) == (0, [])  # the scores are there


@pytest.mark.parametrize(
    "arrays",
    [
        {"z": np.zeros(5)},
        {"z": np.zeros((4, 3))},
        {"z": np.zeros((5, 3)).astype(str)},
        {"z_hat": np.zeros((5, 2, 2))},
        {"domains": np.zeros((5, 1))},
        {"domains": np.array([None] * 5)},
        {"support": np.zeros((3, 9), bool)},
        {"strength": np.zeros(3)},
        {"z": np.zeros((0, 3)), "z_hat": np.zeros((0, 3)), "domains": np.zeros(0)},
    ],
)
def test_arrays_that_are_no_latents_are_left_out_and_said(run, arrays):
    trials = [json.loads(line)["trial_id"] for line in lines(run)]
    whole = {"z": np.zeros((5, 3)), "z_hat": np.zeros((5, 3)), "domains": np.zeros(5)} | arrays
    np.savez(archive(run), **{f"{trial}.{name}": array for trial in trials for name, array in whole.items()})
    own = results.gather([Store(run)])
    assert "vae" not in results.example(own)[0] and len(own.damages) == 1


# --- the manifest


def manifest_cuts():
    return {
        f"cut off after {tenth} tenths": (lambda text, tenth=tenth: text[: len(text) * tenth // 10])
        for tenth in range(1, 10)
    }


@pytest.mark.parametrize(
    "change",
    [
        pytest.param(change, id=name)
        for name, change in {
            **manifest_cuts(),
            "empty": lambda text: b"",
            "null": lambda text: b"null",
            "a list": lambda text: b"[" + text + b"]",
            "a text": lambda text: b'"manifest"',
            "a number": lambda text: b"3",
            "an empty table": lambda text: b"{}",
            "binary": lambda text: bytes(range(256)),
            "very deep": lambda text: b"[" * 100_000,
            "no commands": lambda text: json.dumps(json.loads(text) | {"commands": []}).encode(),
            "commands are a table": lambda text: json.dumps(json.loads(text) | {"commands": {"a": 1}}).encode(),
            "a command is a text": lambda text: json.dumps(json.loads(text) | {"commands": ["run_bench.py"]}).encode(),
        }.items()
    ],
)
def test_a_manifest_that_cannot_be_read_is_one_sentence_that_says_how_to_go_on(run, change):
    (run / "manifest.json").write_bytes(change((run / "manifest.json").read_bytes()))
    with pytest.raises(UsageError, match=r"manifest.json is .*; restore it, or move it away") as refused:
        read(run)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("key", [*MANIFEST, *(f"commands.{key}" for key in COMMAND)])
@pytest.mark.parametrize("value", [..., None, [1]], ids=["missing", "null", "a list"])
def test_a_manifest_with_a_wrong_type_is_one_sentence(run, key, value):
    manifest = json.loads((run / "manifest.json").read_text())
    table = manifest["commands"][0] if key.startswith("commands.") else manifest
    table[key.removeprefix("commands.")] = value
    if value is ...:
        del table[key.removeprefix("commands.")]
    (run / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(UsageError, match="manifest.json is no manifest of a run"):
        read(run)


def test_a_folder_in_the_place_of_the_manifest_is_one_sentence(run):
    (run / "manifest.json").unlink()
    (run / "manifest.json").mkdir()
    with pytest.raises(UsageError, match="manifest.json cannot be read"):
        read(run)


def test_a_manifest_that_was_moved_away_leaves_the_finished_trials_finished(run):
    (run / "manifest.json").unlink()
    assert not Store(run).has_manifest() and resume(run) == (0, [])


# --- a table that was kept


@pytest.fixture
def kept(run):
    Store(run).compact()
    shutil.rmtree(run / "parts")
    return run


@pytest.mark.parametrize("part", [0, 1, 5, 9])
def test_a_kept_table_that_cannot_be_read_is_one_sentence(kept, part):
    text = (kept / "trials.parquet").read_bytes()
    (kept / "trials.parquet").write_bytes(text[: len(text) * part // 10])
    with pytest.raises(UsageError, match="trials.parquet is no table that can be read"):
        read(kept)


def test_rows_of_a_kept_table_that_are_none_are_left_out_and_said(kept):
    table = pd.read_parquet(kept / "trials.parquet")
    table.loc[3, "code"] = None
    table.loc[5, "status"] = "fine"
    table.to_parquet(kept / "trials.parquet")
    own = read(kept)
    assert len(own.trials) == N_TRIALS - 2
    assert own.damages == ["run/trials.parquet, row 4 is left out: 'code' is not a text (and 1 more)"]
    table.drop(columns="seed").to_parquet(kept / "trials.parquet")
    with pytest.raises(UsageError, match="'seed' is missing"):
        read(kept)


# --- the whole report


def test_the_report_of_a_damaged_run_says_what_is_wrong_where_it_is_read(run, tmp_path):
    (run / PART).write_bytes(b"".join(lines(run)[:5]) + b'{"trial_id": "va')
    (run / "representations" / "run-random.npz").unlink()
    told = io.StringIO()
    write.write(results.gather([Store(run)]), tmp_path / "out", Console(file=told))
    page = (tmp_path / "out" / "report.html").read_text()
    for text in (told.getvalue(), page):
        assert "line 6 is left out: the line is cut off, or no JSON" in text and "run-random.npz is missing" in text
        assert "3 of 40 planned trials have no result yet (vae 3)" in text
    assert "3 of 40 planned trials" in (tmp_path / "out" / "leaderboard.md").read_text()
