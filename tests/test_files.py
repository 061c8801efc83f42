"""Files that anybody may have written are read without waiting, running out of memory or executing anything."""

import io
import zipfile

import numpy as np
import pytest

from bench import files
from bench.files import NoArrays, open_file, read_arrays, read_bytes
from tests import hostile
from tests.hostile import HEADER, Z, archive, npy


@pytest.fixture
def path(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    yield tmp_path / "a.npz"
    assert not (tmp_path / "executed").exists()


@pytest.mark.parametrize("kind", hostile.NO_FILES)
def test_what_is_no_file_is_an_error_and_is_not_waited_for(path, kind):
    hostile.NO_FILES[kind](path)
    for read in (open_file, read_bytes, read_arrays):
        with pytest.raises(OSError) as refused:
            read(path)
        assert refused.value.strerror
    with pytest.raises(OSError, match="null"):
        open_file("a\0b")


def test_a_file_that_is_larger_than_the_memory_may_hold_is_refused_unread(path, monkeypatch):
    with open(path, "wb") as file:
        file.truncate(2**43)  # of which the disk holds nothing
    with pytest.raises(OSError, match="8.19e\\+03 GiB are more than the .* GiB that may be read"):
        read_bytes(path)
    monkeypatch.setattr(files, "largest", lambda: 2)
    path.write_bytes(b"abc")
    assert read_bytes(path) == b"abc"
    path.write_bytes(bytes(2**21))
    with pytest.raises(OSError, match="may be read"):
        read_bytes(path)


def test_a_quarter_of_the_free_memory_may_be_read():
    assert 2**20 < files.largest() < 2**45


@pytest.mark.parametrize(
    "array",
    [Z, np.asfortranarray(Z), Z.astype(">f4"), np.arange(5), np.array([True]), np.array(["a", "bc"]), np.array(3.5), Z[:0]],
)  # fmt: skip
def test_plain_arrays_come_back_as_they_were(path, array):
    for save in (np.savez, np.savez_compressed):
        save(path, array=array, other=Z)
        found = read_arrays(path)
        assert list(found) == ["array", "other"]
        np.testing.assert_array_equal(found["array"], array)
        assert found["array"].dtype == array.dtype and found["array"].flags.f_contiguous == array.flags.f_contiguous
        assert list(read_arrays(path, lambda name: name == "other")) == ["other"]


@pytest.mark.parametrize("name", hostile.headers())
@pytest.mark.parametrize("version", [(1, 0), (2, 0), (3, 0), (9, 9)])
def test_a_header_that_is_none_is_refused_before_memory_is_taken(path, name, version):
    archive(path, [("z.npy", npy(hostile.headers()[name], version=version))])
    with pytest.raises(NoArrays) as refused:
        read_arrays(path)
    assert len(str(refused.value)) < 1000


def test_a_size_that_no_memory_holds_is_said_in_numbers(path):
    archive(path, [("z.npy", npy(hostile.headers()["43 TB"]))])
    with pytest.raises(
        NoArrays, match=r"'z' claims the shape \(2700000000000, 2\), which is 43200000000000 bytes, and holds 960"
    ):
        read_arrays(path)


def test_a_bomb_is_refused_by_what_it_would_unpack_to(path, monkeypatch):
    monkeypatch.setattr(files, "largest", lambda: 2**20)
    np.savez_compressed(path, z=np.zeros(2**18))
    assert path.stat().st_size < 2**13
    with pytest.raises(NoArrays, match="its arrays take 2 MiB, more than the 1 MiB that may be read"):
        read_arrays(path)
    hostile.bomb(path)
    with pytest.raises(NoArrays, match="GiB"):
        read_arrays(path)


def test_a_member_that_unpacks_to_more_than_it_says_is_refused(path):
    archive(path, [("z.npy", npy(HEADER, Z.tobytes() + bytes(2**20)))])
    text = bytearray(path.read_bytes())
    at = text.index(b"PK\1\2")
    text[at + 24 : at + 28] = (len(npy())).to_bytes(4, "little")
    path.write_bytes(text)
    with pytest.raises(NoArrays):
        read_arrays(path)


@pytest.mark.parametrize(
    ("members", "message"),
    [
        ([("z.npy", npy()), ("z.npy", npy())], "two arrays called 'z'"),
        ([("z.npy", npy()), ("z", npy())], "two arrays called 'z'"),
        ([("z.npy", npy(data=Z.tobytes()[:-1]))], "holds 959"),
        ([("z.npy", b"")], "damaged"),
        ([("z.npy", b"\x93NUM")], "damaged"),
        ([("z.npy", b"some text that is no array at all")], "damaged"),
        ([("z.npy", b"\x93NUMPY\1\0\xff\xff{")], "damaged"),
        ([("z.npy", b"\x93NUMPY\2\0\xff\xff\xff\xff{")], "damaged"),
    ],
)
def test_what_is_in_an_archive_and_no_array_is_said(path, members, message):
    with pytest.warns(UserWarning) if members[0] in members[1:] else io.StringIO():
        archive(path, members)
    with pytest.raises(NoArrays, match=message):
        read_arrays(path)


def test_an_array_in_a_folder_of_the_archive_is_not_the_one_of_that_name(path):
    archive(path, [("../z.npy", npy()), ("a/z.npy", npy())])
    assert list(read_arrays(path)) == ["../z", "a/z"] and read_arrays(path, lambda name: name == "z") == {}


def test_objects_are_not_unpickled(path):
    np.savez(path, z=np.array([hostile.Runs()] * 2, dtype=object))
    with pytest.raises(NoArrays, match="of type object"):
        read_arrays(path)


def test_every_cut_and_every_flipped_byte_of_an_archive_is_an_array_or_an_error(path):
    whole = hostile.saved(z=Z[:5])
    for at in range(0, len(whole), 7):
        flipped = bytearray(whole)
        flipped[at] ^= 0xFF
        for text in (whole[:at], bytes(flipped)):
            path.write_bytes(text)
            try:
                assert read_arrays(path, lambda name: name == "z").keys() <= {"z"}
            except (OSError, NoArrays) as error:
                assert str(error)


def test_a_password_or_an_unknown_packing_is_said(path):
    archive(path, [("z.npy", npy())])
    for change in ((8, b"\x63\0"), (6, b"\1\0")):
        text = bytearray(path.read_bytes())
        for signature, shift in ((b"PK\3\4", 0), (b"PK\1\2", 2)):
            at = text.index(signature) + change[0] + shift
            text[at : at + 2] = change[1]
        path.with_name("b.npz").write_bytes(text)
        with pytest.raises(NoArrays):
            read_arrays(path.with_name("b.npz"))
    assert zipfile.is_zipfile(path)
