"""Artifacts on a disk that this machine sees."""

from __future__ import annotations

import os
import stat
from collections import deque
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import anyio
from anyio.to_thread import run_sync

from engine.errors import AuthError, CommError, EngineError, IntegrityError, NotFound, Side
from engine.records import ArtifactEntry, Blob

if TYPE_CHECKING:
    from engine.transfer.context import Context

PIECE = 1024 * 1024
"""Bytes read at once."""


class _Found(NamedTuple):
    """A name in a directory."""

    name: str
    is_directory: bool = False
    linked: bool = False
    size: int = 0
    skip: tuple[str, str] | None = None
    """Why it is left out: the kind of loss and its explanation."""


class LocalArtifacts:
    """The files below a directory.

    A symbolic link is followed if it stays inside of the root, so that a run cannot make the engine
    read files that are not its artifacts. A directory that was reached by a link is searched, links to
    directories in it are not, so that no circle of links is endless.
    """

    def __init__(self, root: Path, context: Context) -> None:
        self._root = root
        self._context = context

    async def entries(self) -> AsyncGenerator[ArtifactEntry]:
        """All files, directory by directory, the upper ones first.

        Raises:
            NotFound: the store that the root belongs to is not there.
            EngineError: a directory could not be listed; raised after all others were.
        """
        if not await run_sync(self._root.is_dir):
            if await run_sync(self._root.exists):
                raise NotFound("the artifact root is no directory", side=Side.SOURCE, subject=str(self._root))
            await run_sync(self._explain_absence)
            return
        failure: EngineError | None = None
        real_root = await run_sync(os.path.realpath, self._root)
        todo: deque[tuple[str, bool]] = deque([("", False)])
        while todo:
            directory, linked = todo.popleft()
            try:
                names = await run_sync(_scan, str(self._root / directory), real_root, linked)
            except OSError as error:
                failure = failure or _error_of(error, self._root / directory)
                continue
            for found in names:
                path = f"{directory}/{found.name}" if directory else found.name
                if found.skip is not None:
                    self._context.lose(found.skip[0], f"artifact {path!r} in {self._root}", found.skip[1])
                elif found.is_directory:
                    todo.append((path, found.linked))
                else:
                    yield ArtifactEntry(
                        path=self._logical(path),
                        size=found.size,
                        locator=path,
                        local_path=self._root / path,
                    )
        if failure is not None:
            raise failure

    async def read(self, blob: Blob, offset: int = 0) -> AsyncGenerator[bytes]:
        """The bytes of a file.

        Raises:
            AuthError: the file may not be read.
            NotFound: it is gone.
            IntegrityError: its length is not the one that was listed.
        """
        path = blob.local_path or self._root / blob.locator
        position = offset
        try:
            async with await anyio.open_file(path, "rb", buffering=0) as file:
                await file.seek(offset)
                while piece := await file.read(PIECE):
                    position += len(piece)
                    yield piece
        except OSError as error:
            raise _error_of(error, path) from error
        if blob.size is not None and position != max(blob.size, offset):
            raise IntegrityError(
                f"the file has {position} bytes now and had {blob.size} when it was listed",
                side=Side.SOURCE,
                subject=str(path),
                remedy="is the run still writing? transfer it again when it has ended",
            )

    def _logical(self, path: str) -> str:
        """The name as text; bytes that are no UTF-8 are written out, because no JSON can carry them."""
        try:
            path.encode()
        except UnicodeEncodeError:
            text = path.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
            self._context.lose(
                "name_not_utf8", f"artifact {text!r}", "bytes that are no UTF-8 are written as \\xNN"
            )
            return text
        return path

    def _explain_absence(self) -> None:
        """Decide what a missing root means: a run without artifacts, or a store that is gone.

        MLflow makes directories when the first artifact is logged, ``<store>/<experiment>/<run>/artifacts``
        all at once if need be. So a run has no artifacts if any of the first three is there. If only the
        directory that the store would be in is there, nothing tells a store that never had an artifact
        from one that was moved, which is declared. If that is missing too, the path belongs to another
        machine or time.
        """
        parents = list(self._root.parents)
        if any(parent.is_dir() for parent in parents[:3] if parent.name):
            return
        remedy = f"say where it is with --artifact-root {self._root}=NEW, or with a prefix of both"
        if len(parents) > 3 and parents[3].is_dir():
            self._context.lose(
                "artifact_root_absent",
                str(self._root),
                f"no artifacts were ever logged there, or they were moved away; if so, {remedy}",
            )
            return
        raise NotFound(
            "the artifact root does not exist on this machine",
            side=Side.SOURCE,
            subject=str(self._root),
            remedy=remedy,
        )


def _scan(directory: str, real_root: str, in_link: bool) -> list[_Found]:
    with os.scandir(directory) as entries:
        return sorted((_look(entry, real_root, in_link) for entry in entries), key=lambda found: found.name)


def _look(entry: os.DirEntry[str], real_root: str, in_link: bool) -> _Found:
    linked = entry.is_symlink()
    if linked:
        target = os.path.realpath(entry.path)
        if os.path.commonpath((target, real_root)) != real_root:
            return _Found(entry.name, skip=("symlink_skipped", "it points outside of the artifact root"))
    try:
        status = entry.stat()
    except FileNotFoundError:
        return _Found(entry.name, skip=("symlink_skipped", "it points to nothing"))
    except OSError as error:
        return _Found(entry.name, skip=("symlink_skipped", f"it cannot be followed: {error.strerror}"))
    if stat.S_ISDIR(status.st_mode):
        if linked and in_link:
            return _Found(entry.name, skip=("symlink_skipped", "a link to a directory inside of another"))
        return _Found(entry.name, is_directory=True, linked=linked or in_link)
    if not stat.S_ISREG(status.st_mode):
        return _Found(entry.name, skip=("special_file_skipped", "it is no regular file"))
    return _Found(entry.name, size=status.st_size)


def _error_of(error: OSError, path: Path) -> EngineError:
    kind: type[EngineError] = CommError
    message, remedy = f"the file cannot be read: {error.strerror or error}", None
    if isinstance(error, PermissionError):
        kind, message, remedy = AuthError, "the file may not be read", "run as a user who may read it"
    elif isinstance(error, FileNotFoundError):
        kind, message = NotFound, "the file is gone"
    return kind(message, side=Side.SOURCE, subject=str(path), remedy=remedy, exc=error)
