"""What can keep Ray from working, in sentences that say what to do: looked for before it starts, or read off its errors.

Nothing here imports Ray. The texts that errors are told apart by are those of Ray 2.60.
"""

from __future__ import annotations

import os
import re
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from bench.registry import UsageError

SCRATCH = "sb-"  # begins the name of the temporary folder that Ray is given
SOCKET_BYTES = 103 if sys.platform == "darwin" else 107  # the longest path of a Unix socket
TOKEN = "~/.ray/auth_token on the cluster's head, which `ray get-auth-token` prints there"
SET_TOKEN = f"copy {TOKEN}, to the same file here, and set RAY_AUTH_MODE=token"


def prepare(address: str | None) -> None:
    """To call before Ray is started here, or joined at `address`. Raises UsageError for what would keep it from working.

    Without an address RAY_ADDRESS is dropped, with which Ray would join a cluster that no option names, and refuse the settings of one
    of its own. `--ray-address auto` takes it.
    """
    for trouble in (home_trouble(address), temporary_trouble(address)):
        if trouble:
            raise UsageError(trouble)
    if not address:
        os.environ.pop("RAY_ADDRESS", None)


def address_note(address: str | None) -> str | None:
    """Says that RAY_ADDRESS is set and not used, before `prepare` drops it."""
    found = os.environ.get("RAY_ADDRESS")
    if not found or address in ("auto", found):
        return None
    return f"RAY_ADDRESS is {found} and is not used: name --ray-address auto to train there"


def home_trouble(address: str | None = None) -> str | None:
    """Ray keeps a token in ~/.ray, unless it is told not to; it makes one where it starts a cluster of its own."""
    if address or os.environ.get("RAY_AUTH_MODE", "token").lower() != "token":
        return None
    if os.environ.get("RAY_AUTH_TOKEN") or os.environ.get("RAY_AUTH_TOKEN_PATH"):
        return None
    then = (
        "set HOME to a folder that can be written, or RAY_AUTH_MODE=disabled where nobody else can reach this machine"
    )
    try:
        folder = Path.home() / ".ray"
    except RuntimeError:
        return f"this user has no home folder, where Ray keeps its token: {then}"
    if (folder / "auth_token").is_file():
        return None
    reason = _not_writable(folder)
    return f"Ray cannot keep its token in {folder} ({reason}): {then}" if reason else None


def temporary_trouble(address: str | None = None) -> str | None:
    """Ray has its sockets in its temporary folder, and the path of a socket must be short. A cluster has them already."""
    if address:
        return None
    folder = Path(os.environ.get("RAY_TMPDIR") or os.environ.get("TMPDIR") or "/tmp")
    room = SOCKET_BYTES - len(
        f"/{SCRATCH}12345678/session_2026-01-01_00-00-00_000000_{os.getpid()}/sockets/plasma_store"
    )
    length = len(os.fsencode(folder.absolute()))
    then = "set RAY_TMPDIR to another folder, as RAY_TMPDIR=/tmp"
    if length > room:
        return f"the path of Ray's temporary folder {folder} has {length} bytes, and its sockets leave room for {room}: {then}"
    reason = _not_writable(folder)
    return f"Ray's temporary folder {folder} cannot be written ({reason}): {then}" if reason else None


def _not_writable(folder: Path) -> str | None:
    """Why no file can be made in a folder, which is made if it is not there."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            return None
    except OSError as error:
        return error.strerror or type(error).__name__


def explain(error: BaseException, address: str | None = None) -> str | None:
    """What an error of Ray means and what to do, in one sentence; None for one that is not known here.

    `address` is that of the cluster, as it was asked for. The errors behind the error are looked at too.
    """
    for each in _chain(error):
        found = _explain(each, str(each), f"the cluster at {address}" if address else "Ray")
        if found:
            return found
    return None


def _explain(error: BaseException, text: str, cluster: str) -> str | None:
    if "InvalidAuthToken" in text:
        if os.environ.get("RAY_AUTH_MODE", "").lower() != "token":
            return f"{cluster} asks for a token, and none is sent to a named address unless RAY_AUTH_MODE is set: {SET_TOKEN}"
        return f"the token here is not that of {cluster}: {SET_TOKEN}"
    if type(error).__name__ == "AuthenticationError":
        return f"RAY_AUTH_MODE is token, and there is no token here for {cluster}: {SET_TOKEN}"
    versions = re.findall(r"Ray: (\S+)\s+Python: (\S+)", text) if "Version mismatch" in text else []
    if len(versions) == 2:
        theirs, own = (f"Ray {ray} on Python {python}" for ray, python in versions)
        return f"{cluster} runs {theirs}, and this is {own}: install the same versions on both"
    if "AF_UNIX path length" in text:
        return temporary_trouble() or "the path of Ray's temporary folder is too long for a socket: set RAY_TMPDIR=/tmp"
    if "must not be provided" in text and "existing cluster" in text:
        return f"Ray wants to join the cluster at RAY_ADDRESS, {os.environ.get('RAY_ADDRESS')}: unset it, or name --ray-address auto"
    if "Ray Client requires" in text:
        return f"{cluster} is named by the port of Ray Client: name that of the head, as HOST:6379, without ray://"
    if "Could not find any running Ray instance" in text:
        return "no Ray runs on this machine: start it by `ray start --head`, or leave --ray-address out"
    absent = re.search(r"ModuleNotFoundError: No module named '(\w+)", f"{type(error).__name__}: {text}")
    if absent and absent[1] == "ray":
        return "Ray is not installed here: install what constraints.txt names, or take --executor serial"
    if absent:
        return f"a node of {cluster} lacks the package {absent[1]!r}: install there what constraints.txt names"
    is_home = "Could not determine home directory" in text or ".ray" in Path(str(getattr(error, "filename", ""))).parts
    if is_home:
        return (
            home_trouble()
            or "Ray keeps its token in the folder .ray of HOME, which is not usable: set HOME to one that can be written"
        )
    if isinstance(error, ConnectionError | TimeoutError) or "Failed to connect to" in text:
        return f"nothing that is Ray answers for {cluster}: is its head up, and can this machine reach its port?"
    return None


def _chain(error: BaseException) -> Iterator[BaseException]:
    """The error, and those that led to it, the first cause first: it says most. Of a task's error, what the task raised."""
    found: list[BaseException] = []
    todo: list[BaseException | None] = [error]
    while todo:
        each = todo.pop()
        if isinstance(each, BaseException) and each not in found:
            found.append(each)
            todo += [each.__context__, each.__cause__, getattr(each, "cause", None)]
    return reversed(found)
