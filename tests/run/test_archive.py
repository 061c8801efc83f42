"""What `submit` packs, and what reading an archive refuses: nothing of the machine goes in, and nothing that somebody made comes out."""

import getpass
import io
import json
import os
import socket
import struct
import tracemalloc
import zipfile
from pathlib import Path
from types import SimpleNamespace

import pytest

from bench import files
from bench.plan.identity import code_hash
from bench.registry import UsageError
from bench.run import archive
from bench.run.store import Store
from tests import archives, hostile
from tests.simulated import simulated_run, simulated_trials

LEVELS = {"vae": 0.6, "identity": 0.4}


@pytest.fixture
def store(tmp_path):
    own = simulated_run(tmp_path / "run", simulated_trials(LEVELS, domains=(2,), seeds=2))
    facts = {"methods": {}, "datasets": {}, "scores": {}}
    own.write_manifest(own.manifest() | facts)
    return own


@pytest.fixture
def packed(store, tmp_path):
    (tmp_path / "run.zip").write_bytes(archive.pack(store))
    return tmp_path / "run.zip"


def refusal(path, tmp_path):
    """The sentence with which an archive is refused, after which nothing is there."""
    with pytest.raises(UsageError) as error:
        archive.read(str(path), tmp_path / "read")
    assert not (tmp_path / "read").exists() and "\n" not in str(error.value)
    return str(error.value)


def test_what_was_packed_is_read_back_value_by_value(store, packed, tmp_path):
    own = archive.read(str(packed), tmp_path / "read")
    assert own.by == "" and own.plugins == {}
    by_trial = {row["trial_id"]: row for row in own.store.rows()}
    for row in store.rows():
        assert repr({**row, "traceback": None}) == repr(
            {name: by_trial[row["trial_id"]][name] for name in [*row, "traceback"]}
        )
    assert set(own.store.planned().trial_id) == set(store.planned().trial_id)


def test_the_same_run_gives_the_same_bytes_whatever_the_time_and_the_order_of_its_parts(store, monkeypatch):
    first = archive.pack(store, "Ann")
    monkeypatch.setattr("time.time", lambda: 0.0)
    rows = store.rows()
    for pack in list(store.packs()):
        (store.parts / f"{pack}.jsonl").unlink()
    store.write_pack("other", rows[::-1], {})
    assert archive.pack(Store(store.folder), "Ann") == first != archive.pack(store, "Bea")


def test_no_path_no_host_and_no_user_of_the_machine_is_in_an_archive(store, tmp_path):
    manifest = store.manifest()
    command = "run_bench.py --plugin '/home/ann lee/mine.py' --ray-address 10.0.0.7:6379 --shard 1/2 --ray-address=ray://secret:1"
    config = {
        "plugins": ["/home/ann lee/mine.py"],
        "shard": "1/2",
        "settings": {"a": {"b": "~/ann/x.csv,/home/ann/y.csv"}},
    }
    machine = {"system": "Linux-6.1.0-ann-laptop-x86_64", "processor": "A CPU", "cores": 4, "host": "ann-laptop"}
    store.write_manifest(
        manifest
        | {
            "commands": [manifest["commands"][0] | {"command": command, "config": config, "machine": machine}],
            "user": "ann",
        }
    )
    row = store.rows()[0]
    error = f"FileNotFoundError: '/home/ann/data.csv' is not there, see ~/ann/notes or {Path.home()}/a b/c"
    lines = f'File "/home/ann/mine.py", line 3, in {tmp_path}'
    failed = {
        **dict.fromkeys(row),
        **{k: row[k] for k in ("trial_id", "method", "dataset", "role", "seed", "root_seed", "code", "finished_at")},
    }
    store.add_rows("run-vae", [failed | {"status": "failed", "error": error, "traceback": lines}], {})
    (tmp_path / "run.zip").write_bytes(archive.pack(store))
    members = archives.members_of(tmp_path / "run.zip")
    text = b"".join(members.values()).decode()
    for word in (
        "ann/",
        "ann lee",
        "ann-laptop",
        "10.0.0.7",
        "secret",
        str(Path.home()),
        str(tmp_path),
        "6.1.0",
        '"user"',
    ):
        assert word not in text, word
    assert socket.gethostname() not in text and (len(getpass.getuser()) < 6 or getpass.getuser() not in text)
    (shared,) = (row for row in map(json.loads, members[archive.ROWS].splitlines()) if row["status"] == "failed")
    assert (shared["error"], shared["traceback"]) == ("FileNotFoundError", None)
    (command,) = json.loads(members[archive.MANIFEST])["commands"]
    assert command["command"] == "run_bench.py --plugin mine.py --shard 1/2" and command["config"]["plugins"] == [
        "mine.py"
    ]
    assert command["config"]["settings"]["a"]["b"] == "x.csv,y.csv"
    assert command["machine"] == {"system": "Linux", "processor": "A CPU", "cores": 4}


ERRORS = [
    ("failed", "OSError: file:///home/ann/data.csv (mine.py, line 3, fit)", "OSError"),
    ("failed", "FileNotFoundError: No such file:/home/ann/x", "FileNotFoundError"),
    ("failed", "ParserError: '/home/ann lee/secret project/x.csv'", "ParserError"),
    ("crashed", "KeyError: data/ann/x.csv", "KeyError"),
    ("failed", "BrokenContract: C:\\Users\\ann\\x", "BrokenContract"),
    ("failed", "StopIteration: ann", "StopIteration"),
    ("failed", "home of ann: Error", None),
    ("failed", "/home/ann/Error: Error", None),
    ("failed", "ann: a word and no error", None),
    ("failed", "ann", None),
    ("failed", None, None),
    ("diverged", "every restart of ann's became NaN", None),
    ("not-applicable", "mine has no meaning without /home/ann/x", None),
    ("ok", "ValueError: a score of ann's", None),
]


@pytest.mark.parametrize(("status", "error", "expected"), ERRORS)
def test_of_an_error_its_type_alone_is_shared(status, error, expected):
    row = {"status": status, "error": error, "traceback": "File '/home/ann/mine.py'"}
    assert archive.shared_error(row) == {"error": expected, "traceback": None}
    assert archive.shared_error(row | archive.shared_error(row))["error"] == expected  # as who merges it does again


def test_sources_of_plug_ins_go_along_as_text_under_the_hash_of_what_they_do(store, tmp_path):
    (tmp_path / "mine.py").write_text("A = 1\n")
    (tmp_path / "run.zip").write_bytes(archive.pack(store, plugins=[str(tmp_path / "mine.py")]))
    own = archive.read(str(tmp_path / "run.zip"), tmp_path / "read")
    assert own.plugins == {f"plugins/{code_hash('A = 1')}.py": b"A = 1\n"}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("missing", "is not finished: 1 of 9 trials have no row, and 0 crashed"),
        ("crashed", "is not finished: 0 of 8 trials have no row, and 1 crashed"),
        ("archive", "came in an archive of somebody else's"),
        ("damaged", "cannot be read whole: run/parts"),
        ("table", "only the table was kept"),
        ("nothing", "none has a row"),
        ("file", "is on a file of yours"),
    ],
)
def test_a_run_of_which_others_could_check_nothing_is_one_sentence(store, change, message):
    rows = store.rows()
    if change == "missing":
        code = store.planned().code[0]
        store.plan(
            [
                SimpleNamespace(trial_id=each, method="vae", dataset="sparse-mixing", code=code)
                for each in [*store.planned().trial_id, "x"]
            ]
        )
    elif change == "damaged":
        (store.parts / "run-vae.jsonl").write_text("{")
    elif change == "table":
        store.compact()
        [path.unlink() for path in store.parts.iterdir()], store.parts.rmdir()
    elif change == "nothing":
        [path.unlink() for path in store.parts.iterdir()]
    else:
        more = {
            "crashed": {"status": "crashed"},
            "archive": {"archive": "a"},
            "file": {"dataset": "file", "path": "/x.csv"},
        }[change]
        store.add_rows(f"run-{rows[0]['method']}", [rows[0] | more], {})
    with pytest.raises(UsageError, match=message):
        archive.pack(Store(store.folder))
    if change in ("missing", "crashed"):
        assert archive.pack(Store(store.folder), unfinished=True)


@pytest.mark.parametrize("by", ["a\nb", "\x1b[2J", "x" * 201, " a", "a\u202eb"])
def test_a_name_that_is_no_line_is_refused_when_it_is_packed_and_when_it_is_read(store, packed, tmp_path, by):
    with pytest.raises(UsageError, match="--by"):
        archive.pack(store, by)
    archives.tampered(packed, tmp_path / "other.zip", by=by)
    assert "who submitted it is not one line" in refusal(tmp_path / "other.zip", tmp_path)


# --- what nobody should have made


@pytest.mark.parametrize("kind", [kind for kind in hostile.NO_FILES if kind != "folder"])
def test_what_is_no_file_is_one_sentence_and_is_not_waited_for(tmp_path, kind):
    hostile.NO_FILES[kind](tmp_path / "run.zip")
    assert refusal(tmp_path / "run.zip", tmp_path)


NO_ARCHIVES = {
    "nothing": (b"", "no zip file"),
    "a text": (b"trial_id,method\n" * 100, "no zip file"),
    "a zip of nothing": (b"PK\5\6" + bytes(18), "no zip file"),
    "only its first letters": (b"PK\3\4" + bytes(100), "it is cut off"),
}


@pytest.mark.parametrize("name", NO_ARCHIVES)
def test_what_is_no_archive_is_one_sentence(tmp_path, name):
    content, message = NO_ARCHIVES[name]
    (tmp_path / "run.zip").write_bytes(content)
    assert message in refusal(tmp_path / "run.zip", tmp_path)


def test_an_archive_that_is_cut_off_or_in_which_a_byte_is_another_one_is_one_sentence_wherever_that_is(
    packed, tmp_path
):
    whole = packed.read_bytes()
    n_whole = 0
    for place in range(0, len(whole), max(1, len(whole) // 150)):
        packed.write_bytes(whole[:place])
        assert refusal(packed, tmp_path)
        packed.write_bytes(whole[:place] + bytes([whole[place] ^ 0xFF]) + whole[place + 1 :])
        try:
            archive.read(str(packed), tmp_path / f"read-{place}")
            n_whole += 1  # a byte of which nothing depends, as of a time
        except UsageError as error:
            assert "\n" not in str(error)
    assert n_whole < 30


NAMES = [
    "../x",
    "/tmp/x",
    "plugins/../../x.py",
    "plugins/mine.py",
    "rows.jsonl/x",
    "C:\\x",
    "README",
    "plugins/",
    "a\x1b[2J",
]


@pytest.mark.parametrize("name", NAMES)
def test_a_member_that_nobody_expects_is_one_sentence(packed, tmp_path, name):
    members = archives.members_of(packed)
    archives.write(packed, [*archives.sealed(members | {name: b"x"}).items()])
    assert "which no such archive has" in refusal(packed, tmp_path) and not (tmp_path.parent / "x").exists()


def with_info(members, **changes):
    """A zip file whose first member has other attributes."""
    written = io.BytesIO()
    with zipfile.ZipFile(written, "w", zipfile.ZIP_DEFLATED) as file:
        for number, (name, content) in enumerate(members.items()):
            info = zipfile.ZipInfo(name)
            info.compress_type = zipfile.ZIP_DEFLATED
            for key, value in changes.items() if not number else ():
                setattr(info, key, value)
            file.writestr(info, content)
    return written.getvalue()


def test_a_link_in_an_archive_is_one_sentence(packed, tmp_path):
    packed.write_bytes(with_info(archives.members_of(packed), external_attr=0o120777 << 16))
    assert "is no file" in refusal(packed, tmp_path)


def test_another_way_of_packing_is_one_sentence(packed, tmp_path):
    packed.write_bytes(with_info(archives.members_of(packed), compress_type=zipfile.ZIP_BZIP2))
    assert "packed in another way" in refusal(packed, tmp_path)


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_two_members_of_one_name_are_one_sentence(packed, tmp_path):
    members = archives.members_of(packed)
    archives.write(packed, [*members.items(), (archive.ROWS, b"{}\n")])
    assert "two members called 'rows.jsonl'" in refusal(packed, tmp_path)


@pytest.mark.parametrize("name", [archive.ABOUT, archive.MANIFEST, archive.PLANNED, archive.ROWS])
def test_a_member_that_is_absent_is_one_sentence(packed, tmp_path, name):
    archives.write(packed, [(k, v) for k, v in archives.members_of(packed).items() if k != name])
    assert f"it has no {name}" in refusal(packed, tmp_path)


def test_a_wrong_checksum_is_one_sentence(packed, tmp_path):
    members = archives.members_of(packed)
    archives.write(packed, (members | {archive.ROWS: members[archive.ROWS].replace(b"0.", b"1.", 1)}).items())
    assert "the checksum of 'rows.jsonl'" in refusal(packed, tmp_path)


ABOUTS = {
    b"{": "no JSON",
    b"[" * 100_000: "no JSON",
    b"[]": "no table of names and values",
    b'{"format": 1, "by": "", "sha256": 3}': "'sha256' is not a table",
    b'{"format": 2, "by": "", "sha256": {}}': "it is of format 2",
    b'{"format": 1, "by": "", "sha256": {"x": "y"}}': "the checksum of",
}


@pytest.mark.parametrize("about", ABOUTS, ids=range(len(ABOUTS)))
def test_what_is_said_of_an_archive_and_is_not_so_is_one_sentence(packed, tmp_path, about):
    archives.write(packed, (archives.members_of(packed) | {archive.ABOUT: about}).items())
    assert ABOUTS[about] in refusal(packed, tmp_path)


def test_a_small_file_that_unpacks_to_much_is_refused_before_it_is_unpacked(packed, tmp_path, monkeypatch):
    monkeypatch.setattr(files, "largest", lambda: 10 * 2**20)
    monkeypatch.setattr(archive, "largest", lambda: 10 * 2**20)
    members = archives.members_of(packed)
    archives.write(packed, archives.sealed(members | {archive.ROWS: b" " * 50_000_000}).items())
    assert packed.stat().st_size < 100_000
    monkeypatch.setattr(zipfile.ZipFile, "open", lambda *_: pytest.fail("it was unpacked"))
    assert "its members take 47.7 MiB, more than the 1 MiB that may be read" in refusal(packed, tmp_path)


@pytest.mark.parametrize("claimed", [0, 10, 10_000])
def test_a_member_that_unpacks_to_more_than_it_claims_is_refused_without_being_unpacked(packed, tmp_path, claimed):
    archives.write(packed, (archives.members_of(packed) | {archive.ROWS: bytes(100_000_000)}).items())
    text = bytearray(packed.read_bytes())
    place = text.index(archive.ROWS.encode(), text.index(b"PK\1\2")) - 46
    assert text[place + 24 : place + 28] == struct.pack("<I", 100_000_000)
    text[place + 24 : place + 28] = struct.pack("<I", claimed)
    packed.write_bytes(text)
    tracemalloc.start()
    try:
        sentence = refusal(packed, tmp_path)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert "it is damaged (Bad CRC-32" in sentence
    assert peak < 5_000_000, peak


def test_a_directory_of_very_many_members_is_refused_before_it_is_read(packed, tmp_path, monkeypatch):
    archives.write(packed, [(f"{number}", b"") for number in range(101)])
    monkeypatch.setattr(zipfile, "ZipFile", lambda *_: pytest.fail("it was read"))
    assert "it claims 101 members" in refusal(packed, tmp_path)


def test_a_directory_that_is_said_to_be_elsewhere_is_refused_before_it_is_read(packed, tmp_path, monkeypatch):
    text = packed.read_bytes()
    locator = b"PK\6\7" + struct.pack("<LQL", 0, 0, 1)
    packed.write_bytes(text[:-22] + locator + text[-22:])
    monkeypatch.setattr(zipfile, "ZipFile", lambda *_: pytest.fail("it was read"))
    assert "no zip file as `submit` writes it" in refusal(packed, tmp_path)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        (archive.MANIFEST, b"{}", "is no manifest of a run: 'name' is missing"),
        (archive.MANIFEST, b"[" * 50_000, "no JSON"),
        (archive.ROWS, b"", "is empty"),
        (archive.ROWS, b'{"trial_id": 1}\n', "line 1 is left out: 'trial_id' is not a text"),
        (archive.ROWS, b"{" * 50_000, "line 1 is left out"),
        (archive.ROWS, b'{"trial_id": "a", "mcc_spearman": ' + b"9" * 10_000 + b"}\n", "line 1 is left out"),
        (archive.PLANNED, b"\xff\xfe", "planned.csv cannot be read"),
        (archive.PLANNED, b"a,b\n1,2\n", "planned.csv, line 1 is left out"),
    ],
    ids=range(8),
)
def test_a_member_that_is_not_what_its_name_says_is_one_sentence(packed, tmp_path, name, content, message):
    archives.write(packed, archives.sealed(archives.members_of(packed) | {name: content}).items())
    with pytest.raises(UsageError, match="is no archive of a run") as error:
        archive.read(str(packed), tmp_path / "read")
    assert (
        message in str(error.value) and "\n" not in str(error.value) and str(tmp_path / "read") not in str(error.value)
    )
    assert {path.name for path in tmp_path.iterdir()} == {"run", "run.zip", "read"}


def test_a_file_that_is_no_archive_is_not_taken_for_one_that_may_be_replaced(packed, tmp_path):
    (tmp_path / "other.zip").write_bytes(b"mine")
    archives.write(tmp_path / "foreign.zip", [("a", b"b")])
    assert archive.is_ours(packed)
    assert not archive.is_ours(tmp_path / "other.zip") and not archive.is_ours(tmp_path / "foreign.zip")
    assert (
        not archive.is_archive(str(tmp_path))
        and not archive.is_archive(str(tmp_path / "no"))
        and os.path.exists(packed)
    )
