"""Files of runs: upload URLs, listing, deletion. The bytes are in the object store."""

from __future__ import annotations

import mimetypes
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from engine.sandbox import clock
from engine.sandbox.context import Call
from engine.sandbox.database import tables
from engine.sandbox.graph import ids
from engine.sandbox.graph.connections import Connection, connection
from engine.sandbox.graph.execution import resolver
from engine.sandbox.projects import projects
from engine.sandbox.refusals import bad_request, not_found
from engine.sandbox.runs import runs
from engine.sandbox.runs.runs import Run
from engine.sandbox.storage.doomed import doom
from engine.sandbox.storage.objects import ObjectInfo

tables(
    """
    CREATE TABLE IF NOT EXISTS run_files (
        number INTEGER PRIMARY KEY AUTOINCREMENT, run INTEGER NOT NULL REFERENCES runs ON DELETE CASCADE,
        name TEXT NOT NULL, created INTEGER NOT NULL, UNIQUE (run, name)
    );
    """
)

DEFAULT_PAGE = 50
_NAME_MAX = 1024


@dataclass(frozen=True, slots=True)
class RunFile:
    """A file of a run, or the place where one may be put; its attributes answer the fields of ``File``.

    Attributes:
        number: None for a name that nobody has asked to upload.
        stored: None while there are no bytes.
    """

    typename: ClassVar[str] = "File"
    artifact: ClassVar[None] = None
    deleted_at: ClassVar[None] = None
    digest: ClassVar[None] = None
    is_reference: ClassVar[bool] = False
    upload_headers: ClassVar[tuple[str, ...]] = ()
    upload_multipart_urls: ClassVar[None] = None

    call: Call
    run: Run
    name: str
    number: int | None
    stored: ObjectInfo | None

    @property
    def id(self) -> str:
        return ids.encode("RunFile", self.number or 0)

    @property
    def display_name(self) -> str:
        return self.name

    @property
    def exists(self) -> bool:
        return self.stored is not None

    @property
    def size_bytes(self) -> int:
        return self.stored.size if self.stored else 0

    @property
    def md5(self) -> str | None:
        return self.stored.md5_b64 if self.stored else None

    @property
    def mimetype(self) -> str | None:
        return mimetypes.guess_type(self.name)[0]

    @property
    def updated_at(self) -> str | None:
        return clock.to_wire(self.stored.created) if self.stored else None

    @property
    def created_at(self) -> str | None:
        return self.updated_at

    @property
    def storage_path(self) -> str:
        return _key(self.run.number, self.name)

    @property
    def upload_url(self) -> str:
        return self.call.objects.upload_url(self.storage_path)

    @property
    def direct_url(self) -> str:
        return self.call.objects.download_url(self.storage_path)

    def url(self, *, upload: bool | None = None) -> str:
        """Where to GET the bytes from, or where to PUT them to."""
        return self.upload_url if upload else self.direct_url


def _key(run: int, name: str) -> str:
    return f"runs/{run}/{name}"


def check_file_name(name: str) -> None:
    """Refuse names that are no relative path.

    Raises:
        Refusal: 400.
    """
    if len(name) > _NAME_MAX or "\0" in name or any(part in ("", ".", "..") for part in name.split("/")):
        raise bad_request(f"invalid file name {name!r:.200}")


def find(call: Call, run: Run, names: Sequence[str]) -> list[RunFile]:
    """Files by name, in the order given; those that do not exist have nothing stored."""
    for name in names:
        check_file_name(name)
    numbers = {
        row["name"]: row["number"]
        for row in call.db.rows("SELECT name, number FROM run_files WHERE run = ?", (run.number,))
    }
    stored = call.objects.stats(_key(run.number, name) for name in names)
    return [RunFile(call, run, name, numbers.get(name), stored.get(_key(run.number, name))) for name in names]


def doom_files(call: Call, run: int) -> None:
    """Delete the bytes of all files of the run of this number with the transaction under way."""
    names = call.db.all("SELECT name FROM run_files WHERE run = ?", (run,))
    doom(call.db, call.objects, (_key(run, row["name"]) for row in names))


def all_of(call: Call, run: Run) -> list[RunFile]:
    """All files of a run that have arrived, by name."""
    rows = call.db.all("SELECT name FROM run_files WHERE run = ? ORDER BY name", (run.number,))
    return [file for file in find(call, run, [row["name"] for row in rows]) if file.exists]


def mark_uploaded(call: Call, run: Run, names: Sequence[str]) -> None:
    """Take note that files were uploaded.

    The object store is part of this server, so what has arrived is known without being told; names that
    were never asked for are kept, as a client may have used an older URL.
    """
    for name in names:
        check_file_name(name)
    now = clock.now_ms()
    call.db.execute_many(
        "INSERT OR IGNORE INTO run_files (run, name, created) VALUES (?, ?, ?)",
        ((run.number, name, now) for name in names),
    )


@resolver("Mutation.createRunFiles")
def create_run_files(_root: None, call: Call, *, given: dict[str, Any]) -> dict[str, Any]:
    run = runs.writable(call, given["entityName"], given["projectName"], given["runName"])
    mark_uploaded(call, run, given["files"])
    return {
        "clientMutationId": given.get("clientMutationId"),
        "runID": run.id,
        "uploadHeaders": [],
        "files": find(call, run, given["files"]),
    }


@resolver("Mutation.markRunFilesUploaded")
def mark_run_files_uploaded(_root: None, call: Call, *, given: dict[str, Any]) -> dict[str, Any]:
    run = runs.writable(call, given["entityName"], given["projectName"], given["runName"])
    mark_uploaded(call, run, given["files"])
    return {"clientMutationId": given.get("clientMutationId"), "success": True}


@resolver("Mutation.deleteFiles")
def delete_files(_root: None, call: Call, *, given: dict[str, Any]) -> dict[str, Any]:
    for id_ in given["files"]:
        row = call.db.one("SELECT run, name FROM run_files WHERE number = ?", (ids.decode("RunFile", id_),))
        if row is None:
            raise not_found(f"file {id_!r} not found")
        run = runs.of_number(call, row["run"])
        projects.require_member(call, run.project_number)
        if given.get("projectId") not in (None, run.project_number):
            raise bad_request(f"file {id_!r} is not in project {given['projectId']}")
        call.db.execute("DELETE FROM run_files WHERE run = ? AND name = ?", (run.number, row["name"]))
        doom(call.db, call.objects, [_key(run.number, row["name"])])
    return {"clientMutationId": given.get("clientMutationId"), "success": True}


@resolver("Run.files")
def run_files(
    run: Run,
    call: Call,
    *,
    names: list[str] | None = None,
    pattern: str | None = None,
    content_type: list[str] | None = None,
    first: int | None = None,
    **page: Any,
) -> Connection:
    found = find(call, run, list(dict.fromkeys(names))) if names else all_of(call, run)
    if pattern is not None:
        like = _like(pattern)
        found = [file for file in found if like.fullmatch(file.name)]
    if content_type is not None:
        found = [file for file in found if file.mimetype in content_type]
    first = first if first is not None or page.get("last") is not None else DEFAULT_PAGE
    return {**connection(found, lambda file: [file.name], first=first, **page), "uploadHeaders": []}


@resolver("Run.fileCount")
def file_count(run: Run, call: Call) -> int:
    return len(all_of(call, run))


@resolver("Run.storageBytes")
def storage_bytes(run: Run, call: Call) -> int:
    return sum(file.size_bytes for file in all_of(call, run))


def _like(pattern: str) -> re.Pattern[str]:
    """SQL's LIKE: ``%`` is any text, ``_`` any character."""
    parts = {"%": ".*", "_": "."}
    return re.compile("".join(parts.get(letter) or re.escape(letter) for letter in pattern), re.DOTALL)
