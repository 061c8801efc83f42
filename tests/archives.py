"""Archives that somebody changed, for tests of what reads them."""

import hashlib
import json
import zipfile

from bench.run import archive


def members_of(path):
    with zipfile.ZipFile(path) as file:
        return {info.filename: file.read(info) for info in file.infolist()}


def write(path, members):
    """An archive with these members, as (name, content)."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        for name, content in members:
            file.writestr(name, content)
    return path


def sealed(members, by="", version=archive.FORMAT):
    """The members with checksums that are right."""
    sums = {name: hashlib.sha256(content).hexdigest() for name, content in members.items() if name != archive.ABOUT}
    return {**members, archive.ABOUT: json.dumps({"format": version, "by": by, "sha256": sums}).encode()}


def tampered(path, out, row=None, manifest=None, where=lambda row: True, by=""):
    """The archive with `row` done to the first row that is meant, and `manifest` to the manifest, as one who knows the format would do it."""
    members = members_of(path)
    rows = [json.loads(line) for line in members[archive.ROWS].splitlines()]
    if row:
        row(next(each for each in rows if where(each)))
    about = json.loads(members[archive.MANIFEST])
    if manifest:
        manifest(about)
    members[archive.ROWS] = b"".join(json.dumps(each).encode() + b"\n" for each in rows)
    members[archive.MANIFEST] = json.dumps(about).encode()
    return write(out, sealed(members, by).items())
