"""Spoils what a sandbox holds, behind its back: its SQLite files and its blobs, edited as they are."""

from __future__ import annotations

import json
import shutil
import sqlite3
from base64 import b64decode
from collections.abc import Callable, Generator, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

Json = Any


class Spoiler:
    """Changes records of a server's data directory; runs are named by their id."""

    def __init__(self, data_dir: Path) -> None:
        self._records = data_dir / "records.sqlite"
        self._objects = data_dir / "objects" / "objects.sqlite"
        self._blobs = data_dir / "objects" / "blobs"

    @contextmanager
    def spoiling(self, spare: Path) -> Generator[None]:
        """Put everything back after the block."""
        before = {path: _contents(path) for path in (self._records, self._objects)}
        shutil.copytree(self._blobs, spare)
        try:
            yield
        finally:
            for path, tables in before.items():
                _restore(path, tables)
            shutil.rmtree(self._blobs)
            shutil.move(spare, self._blobs)

    # -- records ---------------------------------------------------------------------------------

    def change(self, sql: str, *values: Json) -> None:
        """Run a statement that must change something."""
        with _open(self._records) as database:
            assert database.execute(sql, values).rowcount >= 1, sql

    def value(self, sql: str, *values: Json) -> Json:
        with _open(self._records) as database:
            return database.execute(sql, values).fetchone()[0]

    def number(self, run: str) -> int:
        return int(self.value("SELECT number FROM runs WHERE name = ?", run))

    def field(self, run: str, column: str, value: Json) -> None:
        self.change(f"UPDATE runs SET {column} = ? WHERE name = ?", value, run)

    def document(self, run: str, column: str, edit: Callable[[dict[str, Json]], object]) -> None:
        """Edit the config or the summary of a run."""
        told = json.loads(self.value(f"SELECT {column} FROM runs WHERE name = ?", run))
        edit(told)
        self.field(run, column, json.dumps(told))

    def row(self, run: str, line: int, edit: Callable[[dict[str, Json]], object]) -> None:
        """Edit a row of a history."""
        number = self.number(run)
        told = json.loads(self.value("SELECT row FROM history WHERE run = ? AND line = ?", number, line))
        edit(told)
        self.change(
            "UPDATE history SET row = ?, step = ? WHERE run = ? AND line = ?",
            json.dumps(told),
            told["_step"],
            number,
            line,
        )

    def rows(self, run: str, edit: Callable[[dict[str, Json]], object]) -> None:
        """Edit every row of a history."""
        for line in range(self.value("SELECT count(*) FROM history WHERE run = ?", self.number(run))):
            self.row(run, line, edit)

    def append_row(self, run: str, row: dict[str, Json]) -> None:
        number = self.number(run)
        line = self.value("SELECT count(*) FROM history WHERE run = ?", number)
        self.change("INSERT INTO history VALUES (?, ?, ?, ?)", number, line, row["_step"], json.dumps(row))

    def artifact(self, run: str) -> int:
        """The number of the version that a run logged."""
        return int(self.value("SELECT artifact FROM run_outputs WHERE run = ?", self.number(run)))

    def metadata(self, run: str, edit: Callable[[dict[str, Json]], object]) -> None:
        number = self.artifact(run)
        told = json.loads(self.value("SELECT metadata FROM artifacts WHERE number = ?", number))
        edit(told)
        self.change("UPDATE artifacts SET metadata = ? WHERE number = ?", json.dumps(told), number)

    # -- objects ---------------------------------------------------------------------------------

    def manifest(self, run: str, edit: Callable[[dict[str, Json]], object]) -> None:
        """Edit the entries of the version that a run logged."""
        path = self._blob("key LIKE ?", f"artifacts/{self.artifact(run)}/manifests/%")
        told = json.loads(path.read_bytes())
        edit(told["contents"])
        self.replace(path, json.dumps(told).encode())

    def blob(self, run: str, name: str) -> Path:
        """Where the bytes of an entry of the version are that a run logged."""
        return self.blob_of(self.artifact(run), name)

    def blob_of(self, artifact: int, name: str) -> Path:
        """Where the bytes of an entry of a version are."""
        digest = self.value(
            "SELECT digest FROM artifact_entries WHERE artifact = ? AND path = ?", artifact, name
        )
        return self._blob("key LIKE ?", f"%/{b64decode(digest).hex()}")

    def replace(self, blob: Path, content: bytes) -> None:
        """Other bytes, of which the server tells the size, and nothing else, as it is."""
        blob.write_bytes(content)
        with _open(self._objects) as database:
            database.execute("UPDATE objects SET size = ? WHERE blob = ?", (len(content), blob.name))

    def lose(self, blob: Path) -> None:
        """Forget bytes."""
        with _open(self._objects) as database:
            database.execute("DELETE FROM objects WHERE blob = ?", (blob.name,))

    def _blob(self, where: str, *values: Json) -> Path:
        with _open(self._objects) as database:
            (blob,) = database.execute(
                f"SELECT blob FROM objects WHERE {where} ORDER BY key DESC", values
            ).fetchone()
        return next(self._blobs.rglob(blob))


@contextmanager
def _open(path: Path) -> Iterator[sqlite3.Connection]:
    with closing(sqlite3.connect(path, timeout=30)) as database, database:
        yield database


def _contents(path: Path) -> dict[str, list[tuple[Json, ...]]]:
    with _open(path) as database:
        names = [
            name
            for (name,) in database.execute(
                "SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite_%'"
            )
        ]
        return {name: database.execute(f"SELECT * FROM {name}").fetchall() for name in names}


def _restore(path: Path, tables: dict[str, list[tuple[Json, ...]]]) -> None:
    with _open(path) as database:
        for name, rows in tables.items():
            database.execute(f"DELETE FROM {name}")
            if rows:
                places = ", ".join("?" * len(rows[0]))
                database.executemany(f"INSERT INTO {name} VALUES ({places})", rows)
