"""What can keep Ray from working: each trouble is made here, Ray meets it, and what is said of it says what to do."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from bench.registry import UsageError
from bench.run import ray_troubles

ROOT = Path(__file__).resolve().parents[2]
RAY_ENVIRONMENT = ("RAY_ADDRESS", "RAY_AUTH_MODE", "RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH", "RAY_TMPDIR", "TMPDIR")

# Starts or joins Ray as a run does, but without what is looked at before, so that Ray meets the trouble itself.
STARTS = """
import os, sys
import ray
from bench.run import ray_troubles

exec(os.environ.get("BEFORE", ""))
address = os.environ.get("CLUSTER")
own = {} if address else {"num_cpus": 1, "object_store_memory": 128 * 2**20, "include_dashboard": False}
try:
    ray.init(address=address, log_to_driver=False, logging_level="CRITICAL", **own)
except Exception as error:
    print(ray_troubles.explain(error, address))
"""


@pytest.fixture(autouse=True)
def plain(monkeypatch, tmp_path):
    """No variable of Ray, a home of its own, and a short temporary folder."""
    for name in RAY_ENVIRONMENT:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))


def said(**environment):
    """What is said of the error that Ray raises."""
    done = subprocess.run(
        [sys.executable, "-c", STARTS],
        env=os.environ | {"PYTHONPATH": str(ROOT), "RAY_USAGE_STATS_ENABLED": "0"} | environment,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_a_home_that_cannot_be_written_is_said_before_ray_starts_and_after(monkeypatch):
    monkeypatch.setenv("HOME", "/dev/null/home")
    with pytest.raises(UsageError, match=r"token in /dev/null/home/.ray \(Not a directory\): set HOME to"):
        ray_troubles.prepare(None)
    assert said() == ray_troubles.home_trouble()
    ray_troubles.prepare("10.0.0.1:6379")  # a cluster has its token, and Ray here makes none
    for name, value in (("RAY_AUTH_MODE", "disabled"), ("RAY_AUTH_TOKEN", "a" * 32)):
        with monkeypatch.context() as patch:
            patch.setenv(name, value)
            assert ray_troubles.home_trouble() is None


def test_a_home_with_a_token_need_not_be_writable(monkeypatch, tmp_path):
    (tmp_path / ".ray").mkdir()
    (tmp_path / ".ray" / "auth_token").write_text("a" * 32)
    monkeypatch.setattr(ray_troubles, "_not_writable", lambda _: "Read-only file system")
    assert ray_troubles.home_trouble() is None


def test_a_user_without_a_home_is_said(monkeypatch):
    """As in a container that runs as a number that no user has."""

    def nobody(_=None):
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr(Path, "home", nobody)
    assert ray_troubles.home_trouble().startswith("this user has no home folder")
    assert ray_troubles.explain(RuntimeError("Could not determine home directory.")) == ray_troubles.home_trouble()


@pytest.mark.parametrize("variable", ["RAY_TMPDIR", "TMPDIR"])
def test_a_temporary_path_too_long_for_a_socket_is_said_before_ray_starts_and_after(monkeypatch, variable, tmp_path):
    long = tmp_path / ("x" * 90)
    long.mkdir()
    monkeypatch.setenv(variable, str(long))
    with pytest.raises(UsageError, match=r"its sockets leave room for \d+: set RAY_TMPDIR"):
        ray_troubles.prepare(None)
    without = re.compile(r"for \d+")  # the room depends on the length of a process's number
    assert without.sub("", said()) == without.sub("", ray_troubles.temporary_trouble())
    ray_troubles.prepare("10.0.0.1:6379")


def test_a_path_is_too_long_where_ray_says_so_and_not_a_byte_before(monkeypatch):
    from ray._private.utils import validate_socket_filepath

    monkeypatch.setattr(ray_troubles, "_not_writable", lambda _: None)
    session = f"session_2026-11-27_17-55-23_893440_{os.getpid()}"
    for length in range(30, 60):
        folder = "/tmp/" + "x" * (length - 5)
        monkeypatch.setenv("RAY_TMPDIR", folder)
        try:
            validate_socket_filepath(f"{folder}/{ray_troubles.SCRATCH}12345678/{session}/sockets/plasma_store")
        except OSError:
            assert ray_troubles.temporary_trouble()
        else:
            assert ray_troubles.temporary_trouble() is None


def test_a_temporary_folder_that_cannot_be_written_is_said(monkeypatch):
    monkeypatch.setenv("RAY_TMPDIR", "/proc/nothing")
    assert "cannot be written" in ray_troubles.temporary_trouble()


def test_an_address_in_the_environment_is_not_joined_unless_auto_is_named(monkeypatch):
    monkeypatch.setenv("RAY_ADDRESS", "10.0.0.1:6379")
    assert "RAY_ADDRESS, 10.0.0.1:6379: unset it, or name --ray-address auto" in said()
    assert "RAY_ADDRESS is 10.0.0.1:6379 and is not used" in ray_troubles.address_note(None)
    ray_troubles.prepare("auto")
    assert os.environ["RAY_ADDRESS"] == "10.0.0.1:6379" and ray_troubles.address_note("auto") is None
    ray_troubles.prepare(None)
    assert "RAY_ADDRESS" not in os.environ and ray_troubles.address_note(None) is None


def test_a_token_that_is_asked_for_and_not_there_is_said():
    assert said(RAY_AUTH_MODE="token", CLUSTER="127.0.0.1:7099").startswith("RAY_AUTH_MODE is token, and there is no")
    assert "there is no token here" in said(RAY_AUTH_MODE="token", RAY_AUTH_TOKEN_PATH="/no/file")


def test_an_address_of_ray_client_is_said():
    assert "without ray://" in said(CLUSTER="ray://127.0.0.1:10001")


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (ConnectionRefusedError(111, "Connection refused"), "nothing that is Ray answers for the cluster at h:1"),
        (TimeoutError("timed out"), "nothing that is Ray answers"),
        (ConnectionError("Could not find any running Ray instance. Please specify"), "ray start --head"),
        (ModuleNotFoundError("No module named 'ray'", name="ray"), "--executor serial"),
        (ModuleNotFoundError("No module named 'torch.nn'", name="torch.nn"), "lacks the package 'torch'"),
    ],
)
def test_other_errors_have_a_sentence_too(error, message):
    assert message in ray_troubles.explain(error, "h:1")


def test_what_is_behind_an_error_is_looked_at_and_an_unknown_error_has_no_sentence():
    try:
        try:
            raise RuntimeError("ray.exceptions.AuthenticationError: RPC error: InvalidAuthToken: missing")
        except RuntimeError as error:
            raise ConnectionError("Failed to connect to Ray cluster at h:1") from error
    except ConnectionError as error:
        assert "asks for a token" in ray_troubles.explain(error, "h:1")
    assert ray_troubles.explain(KeyError("anything")) is None
