"""Bytes on disk, stored once per content and found by key.

    root/
    ├── objects.sqlite      key → blob, and the multipart uploads under way
    ├── blobs/ab/abcd…-12   content, named by its MD5 and size
    └── incoming/           what is still being received

A key points at a blob; several keys may point at the same one, and a blob goes when its last key goes.
An object becomes visible in one step, when it is complete. Everything here blocks: call it in a thread.
"""

from __future__ import annotations

import base64
import hashlib
import json
import secrets
import shutil
import sqlite3
import threading
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from engine.sandbox.storage.incoming import Incoming
from engine.sandbox.storage.s3_errors import S3Error

PIECE = 1024 * 1024
"""Bytes moved at once between disk, hash and socket."""

_SCHEMA = """
CREATE TABLE IF NOT EXISTS objects (
    key TEXT PRIMARY KEY, blob TEXT NOT NULL, size INTEGER NOT NULL, etag TEXT NOT NULL,
    content_type TEXT NOT NULL, created_ms INTEGER NOT NULL
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS objects_by_blob ON objects (blob);
CREATE TABLE IF NOT EXISTS uploads (id TEXT PRIMARY KEY, key TEXT NOT NULL, content_type TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS parts (
    upload TEXT NOT NULL REFERENCES uploads (id) ON DELETE CASCADE, number INTEGER NOT NULL,
    md5 TEXT NOT NULL, size INTEGER NOT NULL, PRIMARY KEY (upload, number)
) WITHOUT ROWID;
"""


@dataclass(frozen=True, slots=True)
class ObjectInfo:
    """What is known about a stored object.

    Attributes:
        size: bytes.
        md5_b64: MD5 of the whole content in base64, also for an object that came in parts.
        etag: without its quotes; the hex MD5, or ``<md5 of the parts' md5s>-<parts>``.
        created: Unix time in milliseconds.
    """

    key: str
    size: int
    md5_b64: str
    etag: str
    content_type: str
    created: int
    path: Path


@dataclass(frozen=True, slots=True)
class Part:
    """One part as the client names it when it completes an upload."""

    number: int
    etag: str


class Blobs:
    """The storage below the object store.

    Args:
        root: directory to keep everything in; created if missing.
        min_part_size: smallest size in bytes of every part but the last; S3 demands 5 MiB.
    """

    def __init__(self, root: Path, *, min_part_size: int = 0) -> None:
        self._blobs = root / "blobs"
        self._incoming = root / "incoming"
        self._min_part_size = min_part_size
        # What was being received when an earlier process died can never be completed, except parts.
        for folder in (self._blobs, self._incoming):
            folder.mkdir(parents=True, exist_ok=True)
        for leftover in self._incoming.glob("*.tmp"):
            leftover.unlink()
        self._lock = threading.RLock()
        self._db = sqlite3.connect(root / "objects.sqlite", check_same_thread=False, isolation_level=None)
        self._db.execute("PRAGMA journal_mode = WAL")
        self._db.execute("PRAGMA synchronous = NORMAL")
        self._db.execute("PRAGMA foreign_keys = ON")
        self._db.executescript(_SCHEMA)

    def close(self) -> None:
        """Release the database; nothing may be called afterwards."""
        with self._lock:
            self._db.close()

    # -- objects

    def receive(self) -> Incoming:
        """Start to receive a body; leave its ``with`` block to discard what was not kept."""
        return Incoming(self._incoming / f"{secrets.token_hex(12)}.tmp")

    def keep(self, key: str, body: Incoming, content_type: str) -> ObjectInfo:
        """Make a received body the object at ``key``, replacing what was there."""
        return self._publish(key, body, body.md5, content_type)

    def put(self, key: str, data: bytes, content_type: str = "application/octet-stream") -> ObjectInfo:
        """Store a small object in one go."""
        with self.receive() as body:
            body.write(data)
            return self.keep(key, body, content_type)

    def stat(self, key: str) -> ObjectInfo | None:
        """What is known about the object at ``key``, None if there is none."""
        return self.stats([key]).get(key)

    def stats(self, keys: Iterable[str]) -> dict[str, ObjectInfo]:
        """The same for many keys; missing ones are left out."""
        with self._lock:
            rows = self._db.execute(
                "SELECT key, blob, size, etag, content_type, created_ms FROM objects "
                "WHERE key IN (SELECT value FROM json_each(?))",
                (json.dumps(list(keys)),),
            ).fetchall()
        found = {}
        for name, blob, size, etag, content_type, created in rows:
            md5_b64 = base64.b64encode(bytes.fromhex(blob.partition("-")[0])).decode()
            found[name] = ObjectInfo(name, size, md5_b64, etag, content_type, created, self._path(blob))
        return found

    def stored_bytes(self, prefixes: Iterable[str]) -> int:
        """Bytes of all objects whose keys begin with one of these, which end in a slash."""
        # The character after the slash bounds each range.
        bounds = json.dumps([[prefix, prefix.removesuffix("/") + "0"] for prefix in prefixes])
        with self._lock:
            (total,) = self._db.execute(
                "SELECT sum(size) FROM json_each(?) CROSS JOIN objects "
                "ON objects.key >= json_extract(value, '$[0]') AND objects.key < json_extract(value, '$[1]')",
                (bounds,),
            ).fetchone()
        return total or 0

    def open(self, key: str) -> IO[bytes]:
        """The object's bytes as an open file; it stays readable if the object is deleted meanwhile.

        Raises:
            S3Error: ``NoSuchKey``.
        """
        with self._lock:  # between the look-up and the opening nobody may delete the blob
            info = self.stat(key)
            if info is None:
                raise no_such_key(key)
            return info.path.open("rb")

    def read(self, key: str) -> bytes:
        """The whole object; for manifests and other small things.

        Raises:
            S3Error: ``NoSuchKey``.
        """
        with self.open(key) as file:
            return file.read()

    def delete(self, keys: Iterable[str]) -> None:
        """Forget objects; like S3, no error where there is none."""
        with self._lock:
            with self._transaction():
                rows = self._db.execute(
                    "DELETE FROM objects WHERE key IN (SELECT value FROM json_each(?)) RETURNING blob",
                    (json.dumps(list(keys)),),
                ).fetchall()
            self._drop_unused({blob for (blob,) in rows})

    # -- multipart uploads

    def create_upload(self, key: str, content_type: str = "application/octet-stream") -> str:
        """Start a multipart upload and return its id."""
        upload = secrets.token_urlsafe(24)
        with self._transaction():
            self._db.execute("INSERT INTO uploads VALUES (?, ?, ?)", (upload, key, content_type))
        (self._incoming / upload).mkdir()
        return upload

    def keep_part(self, key: str, upload: str, number: int, body: Incoming) -> None:
        """Make a received body part ``number`` of an upload; sent again, it replaces the earlier one.

        Raises:
            S3Error: ``NoSuchUpload``, or ``InvalidArgument`` for a number outside 1…10000.
        """
        if not 1 <= number <= 10_000:
            raise S3Error("InvalidArgument", "Part number must be an integer between 1 and 10000, inclusive")
        body.finish()
        with self._transaction():
            self._content_type_of(key, upload)
            self._db.execute(
                "INSERT OR REPLACE INTO parts VALUES (?, ?, ?, ?)", (upload, number, body.md5, body.size)
            )
            body.path.replace(self._incoming / upload / str(number))

    def complete_upload(self, key: str, upload: str, parts: Sequence[Part]) -> ObjectInfo:
        """Join the parts into the object.

        Raises:
            S3Error: ``NoSuchUpload``, ``InvalidPart`` (absent, or another ETag), ``InvalidPartOrder``,
                ``EntityTooSmall``.
        """
        with self._lock:
            content_type = self._content_type_of(key, upload)
            stored = {
                number: (md5, size)
                for number, md5, size in self._db.execute(
                    "SELECT number, md5, size FROM parts WHERE upload = ?", (upload,)
                )
            }
        self._check_parts(parts, stored)
        md5s = b"".join(bytes.fromhex(stored[part.number][0]) for part in parts)
        etag = f"{hashlib.md5(md5s, usedforsecurity=False).hexdigest()}-{len(parts)}"
        with self.receive() as body:
            for part in parts:
                with (self._incoming / upload / str(part.number)).open("rb") as file:
                    for piece in pieces(file):
                        body.write(piece)
            info = self._publish(key, body, etag, content_type)
        self.abort_upload(key, upload)
        return info

    def abort_upload(self, key: str, upload: str) -> None:
        """Discard an upload and its parts.

        Raises:
            S3Error: ``NoSuchUpload``.
        """
        with self._transaction():
            self._content_type_of(key, upload)
            self._db.execute("DELETE FROM uploads WHERE id = ?", (upload,))
        shutil.rmtree(self._incoming / upload)

    def drop_abandoned(self, before_s: float) -> None:
        """Discard the multipart uploads that nothing came for since a Unix time, and bytes of no object.

        For the start, while nobody uploads.
        """
        known = dict(self._db.execute("SELECT id, key FROM uploads"))
        for folder in self._incoming.iterdir():
            key = known.pop(folder.name, None)
            if key is None:
                shutil.rmtree(folder)  # completed or discarded by a process that died before this step
            elif folder.stat().st_mtime < before_s:
                self.abort_upload(key, folder.name)
        with self._transaction():
            # Left are uploads whose process died before their folder was made.
            self._db.executemany("DELETE FROM uploads WHERE id = ?", ((upload,) for upload in known))
        for folder in self._blobs.iterdir():
            used = self._db.execute(
                "SELECT DISTINCT blob FROM objects WHERE blob >= ? AND blob < ?",
                (folder.name, folder.name + "~"),
            )
            for blob in {path.name for path in folder.iterdir()} - {blob for (blob,) in used}:
                self._path(blob).unlink()

    def _check_parts(self, parts: Sequence[Part], stored: dict[int, tuple[str, int]]) -> None:
        numbers = [part.number for part in parts]
        if not parts:
            raise S3Error("InvalidArgument", "You must specify at least one part")
        if numbers != sorted(set(numbers)):
            raise S3Error("InvalidPartOrder", "The list of parts was not in ascending order.")
        for part in parts:
            md5, size = stored.get(part.number, ("", 0))
            if md5 != part.etag.strip('"').lower():
                raise S3Error(
                    "InvalidPart",
                    "One or more of the specified parts could not be found. The part may not have been "
                    "uploaded, or the specified entity tag may not match the part's entity tag.",
                    PartNumber=part.number,
                )
            if part is not parts[-1] and size < self._min_part_size:
                raise S3Error(
                    "EntityTooSmall",
                    "Your proposed upload is smaller than the minimum allowed size",
                    PartNumber=part.number,
                )

    def _content_type_of(self, key: str, upload: str) -> str:
        row = self._db.execute(
            "SELECT content_type FROM uploads WHERE id = ? AND key = ?", (upload, key)
        ).fetchone()
        if row is None:
            raise S3Error("NoSuchUpload", "The specified multipart upload does not exist.", UploadId=upload)
        return str(row[0])

    # -- inside

    def _publish(self, key: str, body: Incoming, etag: str, content_type: str) -> ObjectInfo:
        body.finish()
        blob = f"{body.md5}-{body.size}"
        path = self._path(blob)
        created = time.time_ns() // 1_000_000
        with self._lock:
            with self._transaction():
                old = self._db.execute("SELECT blob FROM objects WHERE key = ?", (key,)).fetchone()
                if not path.exists():
                    path.parent.mkdir(exist_ok=True)
                    body.path.replace(path)
                self._db.execute(
                    "INSERT OR REPLACE INTO objects VALUES (?, ?, ?, ?, ?, ?)",
                    (key, blob, body.size, etag, content_type, created),
                )
            self._drop_unused(old or ())
        md5_b64 = base64.b64encode(bytes.fromhex(body.md5)).decode()
        return ObjectInfo(key, body.size, md5_b64, etag, content_type, created, path)

    def _drop_unused(self, blobs: Iterable[str]) -> None:
        # After the commit: a crash in between leaves bytes without an object, never the reverse.
        for blob in blobs:
            if self._db.execute("SELECT 1 FROM objects WHERE blob = ? LIMIT 1", (blob,)).fetchone() is None:
                self._path(blob).unlink(missing_ok=True)

    def _path(self, blob: str) -> Path:
        return self._blobs / blob[:2] / blob

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        with self._lock:
            self._db.execute("BEGIN IMMEDIATE")
            try:
                yield
            except BaseException:
                self._db.execute("ROLLBACK")
                raise
            self._db.execute("COMMIT")


def pieces(file: IO[bytes]) -> Iterator[bytes]:
    """A file from where it stands to its end, piece by piece."""
    while piece := file.read(PIECE):
        yield piece


def no_such_key(key: str) -> S3Error:
    """The error for a key that holds no object."""
    return S3Error("NoSuchKey", "The specified key does not exist.", Key=key)
