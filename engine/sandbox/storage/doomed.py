"""Objects that go together with records.

Records and objects are in two stores that cannot commit together. So a transaction writes down which
objects it dooms; they go after its commit, and at the next start if the process dies in between. A record
never lacks its bytes, and no bytes stay behind.
"""

from __future__ import annotations

from collections.abc import Iterable

from engine.sandbox.database import Database, tables
from engine.sandbox.storage.objects import ObjectStore

tables("CREATE TABLE IF NOT EXISTS doomed_objects (key TEXT PRIMARY KEY) WITHOUT ROWID;")


def doom(db: Database, objects: ObjectStore, keys: Iterable[str]) -> None:
    """Delete objects when the transaction under way is committed."""
    doomed = [(key,) for key in keys]
    if doomed:
        db.execute_many("INSERT OR IGNORE INTO doomed_objects VALUES (?)", doomed)
        db.after_commit(lambda: delete_doomed(db, objects))


def delete_doomed(db: Database, objects: ObjectStore) -> None:
    """Delete what committed transactions doomed, also those of an earlier process."""
    keys = [row["key"] for row in db.all("SELECT key FROM doomed_objects")]
    if keys:
        objects.delete(keys)
        db.execute("DELETE FROM doomed_objects")
