"""What artifact versions contain: entries, the blobs behind them, and where both are stored."""

from __future__ import annotations

import base64
import binascii
from dataclasses import dataclass

from engine.sandbox.database import Database, tables
from engine.sandbox.refusals import bad_request

tables("""
CREATE TABLE IF NOT EXISTS artifact_manifests (
    number INTEGER PRIMARY KEY AUTOINCREMENT,
    artifact INTEGER NOT NULL REFERENCES artifacts (number) ON DELETE CASCADE,
    type TEXT NOT NULL, digest TEXT NOT NULL, name TEXT NOT NULL, base INTEGER, created_ms INTEGER NOT NULL
);
CREATE INDEX IF NOT EXISTS artifact_manifests_by_artifact ON artifact_manifests (artifact);
CREATE TABLE IF NOT EXISTS artifact_entries (
    artifact INTEGER NOT NULL REFERENCES artifacts (number) ON DELETE CASCADE, path TEXT NOT NULL,
    digest TEXT NOT NULL, size INTEGER NOT NULL, ref TEXT, birth INTEGER,
    PRIMARY KEY (artifact, path)
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS artifact_entries_by_birth ON artifact_entries (birth, digest);
CREATE TABLE IF NOT EXISTS artifact_blobs (
    project INTEGER NOT NULL REFERENCES projects (number) ON DELETE CASCADE, md5 TEXT NOT NULL,
    birth INTEGER NOT NULL REFERENCES artifacts (number) ON DELETE CASCADE,
    PRIMARY KEY (project, md5, birth)
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS artifact_blobs_by_birth ON artifact_blobs (birth);
""")


@dataclass(frozen=True, slots=True)
class Entry:
    """One path of a version.

    Attributes:
        digest: MD5 in base64 of a stored file; whatever the client chose for a reference.
        ref: URI of a reference, which is not stored here.
        birth: number of the version that the bytes were stored for first; None for a reference.
    """

    path: str
    digest: str
    size: int
    ref: str | None
    birth: int | None


def hex_digest(md5_b64: str) -> str:
    """An MD5 in base64 as hex.

    Raises:
        Refusal: 400, it is no MD5.
    """
    try:
        digest = base64.b64decode(md5_b64, validate=True)
    except (binascii.Error, ValueError):
        digest = b""
    if len(digest) != 16:
        raise bad_request(f"{md5_b64!r} is not an MD5 in base64")
    return digest.hex()


def blob_key(birth: int, md5_b64: str) -> str:
    """Where the bytes of a file are stored."""
    return f"artifacts/{birth}/{hex_digest(md5_b64)}"


def manifest_key(artifact: int, manifest: int) -> str:
    """Where a manifest is stored."""
    return f"artifacts/{artifact}/manifests/{manifest}"


def entries_of(db: Database, artifact: int) -> dict[str, Entry]:
    """All entries of a committed version, by path."""
    rows = db.rows(
        "SELECT path, digest, size, ref, birth FROM artifact_entries WHERE artifact = ? ORDER BY path",
        (artifact,),
    )
    return {row["path"]: Entry(*row) for row in rows}
