"""Looking around in a directory that others may have filled: what is there, as it is, and nothing outside."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import yaml

from engine.errors import AuthError, CommError, EngineError, NotFound, Side
from engine.mlflow.text import Lose
from engine.records import Json

_Loader: type[yaml.SafeLoader] = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


class Disk:
    """Reads below one root. Symbolic links that lead out of it are passed over, and declared."""

    def __init__(self, root: Path, lose: Lose) -> None:
        self.root = Path(os.path.realpath(root))
        self._lose = lose

    def directories(self, path: Path) -> list[Path]:
        """The directories in a directory, by name; none if it is not there."""
        return [Path(entry.path) for entry in self._entries(path) if entry.is_dir()]

    def files(self, path: Path) -> Iterator[tuple[str, Path]]:
        """All files below a directory with their relative names, as MLflow makes names of keys; by name.

        No names if the directory is not there.
        """
        pending = [("", path)]
        while pending:
            prefix, directory = pending.pop()
            deeper = []
            for entry in self._entries(directory):
                name = prefix + entry.name
                if entry.is_dir():
                    deeper.append((f"{name}/", Path(entry.path)))
                elif entry.is_file():
                    yield name, Path(entry.path)
            pending += reversed(deeper)

    def text(self, path: Path) -> str:
        """The content of a file, to the byte; bytes that are no UTF-8 become lone surrogates."""
        return path.read_bytes().decode("utf-8", "surrogateescape")

    def yaml(self, path: Path) -> dict[str, Json]:
        """The mapping in a YAML file; nothing but plain data is constructed.

        Raises:
            CommError: it is no YAML, or no mapping.
        """
        try:
            content = yaml.load(path.read_bytes(), Loader=_Loader)  # noqa: S506 - a safe loader
        except (yaml.YAMLError, UnicodeDecodeError, RecursionError, ValueError) as error:
            mark = getattr(error, "problem_mark", None)
            where = f"{path}, line {mark.line + 1}" if mark is not None else str(path)
            raise broken("the file is no YAML", where, error) from error
        if not isinstance(content, dict):
            raise broken("the file is empty or no mapping", str(path))
        return content

    def _entries(self, path: Path) -> list[os.DirEntry[str]]:
        try:
            with os.scandir(path) as entries:
                found = sorted(entries, key=lambda entry: entry.name)
        except FileNotFoundError:
            return []
        return [entry for entry in found if not entry.is_symlink() or self._is_inside(entry)]

    def _is_inside(self, link: os.DirEntry[str]) -> bool:
        inside = Path(os.path.realpath(link.path)).is_relative_to(self.root)
        if not inside:
            self._lose("symlink_skipped", link.path, "it points outside of the store")
        return inside


def broken(problem: str, where: str, error: Exception | None = None) -> CommError:
    return CommError(
        problem, side=Side.SOURCE, subject=where, remedy="restore the file, or leave the run out", exc=error
    )


def explain(error: Exception) -> EngineError | None:
    """What an error of the file system means."""
    if not isinstance(error, OSError):
        return None
    subject = str(error.filename) if error.filename else None
    if isinstance(error, PermissionError):
        return AuthError(
            "a file may not be read",
            side=Side.SOURCE,
            subject=subject,
            remedy="run as a user who may",
            exc=error,
        )
    if isinstance(error, FileNotFoundError):
        return NotFound("a file is gone", side=Side.SOURCE, subject=subject, exc=error)
    return CommError(f"a file cannot be read: {error.strerror}", side=Side.SOURCE, subject=subject, exc=error)
