"""Where things are in an archive, and how a file gets there: whole or not at all.

Version 2, described for people in ``docs/archive.md``:

    archive.json                                  what this directory is
    projects/P/project.json                       a project
    projects/P/runs/R.json                        a run: its record, and the digests of all that belongs to it
    projects/P/history/R.parquet                  its history in wide form; also points/ (its long form),
                                                  system-metrics/ and console/
    projects/P/artifacts/R/A.json                 an artifact version that it logged, if in no collection
    projects/P/collections/C.json                 a collection of artifact versions
    projects/P/portfolios/F.json                  a collection of links to versions of others
    projects/P/sweeps/S.json                      a sweep
    projects/P/views/V.json                       a report, a draft of one, or a saved view
    blobs/ab/abcd…                                bytes of files and lists of files, by SHA-256
    earlier/<any of the above>.<digest>           what was superseded

Version 1 had no collections, portfolios, sweeps and views.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final
from uuid import uuid4

from engine.archive.names import portable
from engine.errors import ConfigError, EngineError, IntegrityError, Outage, Side, Unsupported
from engine.records import Json, Namespace

FORMAT: Final = "transfer-engine archive"
VERSION: Final = 2
READABLE: Final = (1, 2)

COLLECTION: Final = "collection"
PORTFOLIO: Final = "portfolio"

_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EROFS)


def dumps(value: Json) -> str:
    """JSON with everything that Python's has: NaN, integers of any length, lone surrogates."""
    return json.dumps(value, separators=(",", ":"))


@contextmanager
def disk_errors(side: Side, subject: str) -> Iterator[None]:
    """Errors of the file system, as ours."""
    try:
        yield
    except OSError as error:
        said = f"{error.strerror or error}"
        if error.errno in _FULL:
            raise Outage(
                f"the archive cannot be written: {said}",
                side=side,
                subject=subject,
                remedy="make room and start again; what arrived is kept",
                exc=error,
            ) from error
        raise EngineError(f"the archive: {said}", side=side, subject=subject, exc=error) from error


@dataclass(frozen=True, slots=True)
class RunPlace:
    """The files of one run."""

    project: Path
    stem: str

    @property
    def record(self) -> Path:
        return self.project / "runs" / f"{self.stem}.json"

    def table(self, part: str) -> Path:
        """Of ``history``, ``points``, ``system-metrics`` or ``console``."""
        return self.project / part / f"{self.stem}.parquet"

    @property
    def artifacts(self) -> Path:
        return self.project / "artifacts" / self.stem


@dataclass(frozen=True, slots=True)
class CollectionPlace:
    """The files of one collection.

    Attributes:
        arriving: for what has arrived of versions that the record does not tell of yet.
    """

    record: Path
    arriving: Path

    def arrived(self, number: int) -> Path:
        return self.arriving / f"{number}.json"


@dataclass(frozen=True, slots=True)
class Layout:
    """One archive; ``side`` is whose errors these are."""

    root: Path
    side: Side

    # -- the archive itself ----------------------------------------------------------------------

    def facts(self) -> dict[str, Any] | None:
        """What ``archive.json`` says; None if there is no archive yet, in a place where one can be made.

        Raises:
            ConfigError: there is something else.
            Unsupported: its version is not known.
        """
        path = self.root / "archive.json"
        if path.is_file():
            try:
                facts = json.loads(path.read_bytes())
            except ValueError as error:
                raise IntegrityError("archive.json is damaged", side=self.side, subject=str(path)) from error
            if not isinstance(facts, dict) or facts.get("format") != FORMAT:
                raise ConfigError("this is no archive", side=self.side, subject=str(path))
            if facts.get("version") not in READABLE:
                raise Unsupported(
                    f"the archive has layout {facts.get('version')}, and this engine knows {VERSION}",
                    side=self.side,
                    subject=str(self.root),
                    remedy="use the version of transfer-engine that wrote it, or a newer one",
                )
            return facts
        if self.root.exists():
            if not self.root.is_dir():
                raise ConfigError("this is a file, no directory", side=self.side, subject=str(self.root))
            if any(not found.name.startswith(".") for found in self.root.iterdir()):
                raise ConfigError(
                    "this directory holds something else than an archive",
                    side=self.side,
                    subject=str(self.root),
                    remedy="name an empty or a new one",
                )
        return None

    # -- places ----------------------------------------------------------------------------------

    def project(self, namespace: Namespace) -> Path:
        # The entity apart from the project, because either may hold slashes.
        return self.root / "projects" / portable(f"{namespace.entity}\0{namespace.project}".lstrip("\0"))

    def run(self, namespace: Namespace, run_id: str) -> RunPlace:
        return RunPlace(self.project(namespace), portable(run_id))

    def collection(self, namespace: Namespace, type_name: str, name: str) -> CollectionPlace:
        record = self.thing(namespace, COLLECTION, f"{type_name}\0{name}")
        project = self.project(namespace).name
        return CollectionPlace(record, self.root / ".arriving" / project / record.stem)

    def things(self, namespace: Namespace, kind: str) -> Path:
        """Records of ``collection``, ``portfolio``, ``sweep`` or ``view`` of a project."""
        return self.project(namespace) / f"{kind}s"

    def thing(self, namespace: Namespace, kind: str, thing_id: str) -> Path:
        return self.things(namespace, kind) / f"{portable(thing_id)}.json"

    def blob(self, digest: str) -> Path:
        """Bytes by their SHA-256.

        Raises:
            IntegrityError: this is none.
        """
        if len(digest) != 64 or not set(digest) <= set("0123456789abcdef"):
            raise IntegrityError(f"{digest!r} is no digest", side=self.side, subject=str(self.root))
        return self.root / "blobs" / digest[:2] / digest

    @property
    def staging(self) -> Path:
        """For what is being written; on the same file system, so that it can be renamed."""
        return self.root / ".staging"

    def temporary(self) -> Path:
        self.staging.mkdir(parents=True, exist_ok=True)
        return self.staging / uuid4().hex

    def damaged(self, path: Path, error: Exception) -> IntegrityError:
        """What to raise where a file of ours does not say what it should."""
        return IntegrityError(
            f"a record of the archive is damaged: {error}",
            side=self.side,
            subject=str(path),
            remedy="export it again, or restore the archive from a copy",
            exc=error,
        )

    # -- writing ---------------------------------------------------------------------------------

    def write(self, path: Path, content: bytes) -> None:
        """Return when a small file is there, whole and on disk; what was there before goes to ``earlier``."""
        if path.is_file() and path.read_bytes() == content:
            return
        staged = self.temporary()
        with staged.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        self.place(staged, path)

    def place(self, staged: Path, path: Path) -> None:
        """Put a file that is on disk where it belongs; what is there goes to ``earlier``."""
        path.parent.mkdir(parents=True, exist_ok=True)
        self.set_aside(path)
        staged.replace(path)
        sync_directory(path.parent)

    def set_aside(self, path: Path) -> None:
        """Keep what is there, beside the archive proper; it stays where it is."""
        if not path.is_file():
            return
        kept = self.earlier(path, sha256_of(path))
        if kept.exists():
            return
        kept.parent.mkdir(parents=True, exist_ok=True)
        try:
            os.link(path, kept)
        except OSError:  # a file system without links
            copy = self.temporary()
            shutil.copyfile(path, copy)
            copy.replace(kept)
        sync_directory(kept.parent)

    def earlier(self, path: Path, digest: str) -> Path:
        """Where a file is kept whose place another one took."""
        return self.root / "earlier" / f"{path.relative_to(self.root)}.{digest[:16]}"

    def checked(self, path: Path, digest: str) -> Path:
        """The file with this content: in its place, or superseded while somebody still refers to it.

        Raises:
            IntegrityError: neither.
        """
        for candidate in (path, self.earlier(path, digest)):
            if candidate.is_file() and sha256_of(candidate) == digest:
                return candidate
        raise IntegrityError(
            "a file of the archive is missing or damaged",
            side=self.side,
            subject=str(path),
            remedy="export it again, or restore the archive from a copy",
        )


def sha256_of(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def sync_file(path: Path) -> None:
    """Return when the content is on disk."""
    with path.open("rb+") as file:
        os.fsync(file.fileno())


def sync_directory(path: Path) -> None:
    """Return when the names in it are on disk, where a directory can be synced."""
    if os.name == "nt":
        return
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
