"""Types, collections, memberships and versions of artifacts, as rows and as nodes.

A *collection* is a sequence, which owns its versions, or a portfolio, into which versions are linked.
A *membership* is a version in a collection: it has the version number and the aliases, so that one
artifact may be ``v7`` here and ``v0`` there. Version numbers are never given twice, names of deleted
collections are free again.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from engine.sandbox import clock
from engine.sandbox.artifacts.rules import version_number
from engine.sandbox.database import Database, tables
from engine.sandbox.graph import ids
from engine.sandbox.graph.nodes import Changing, Dated, Node
from engine.sandbox.refusals import not_found

tables("""
CREATE TABLE IF NOT EXISTS artifact_types (
    number INTEGER PRIMARY KEY, project INTEGER NOT NULL REFERENCES projects (number) ON DELETE CASCADE,
    name TEXT NOT NULL, description TEXT, created_ms INTEGER NOT NULL,
    UNIQUE (project, name)
);
CREATE TABLE IF NOT EXISTS artifact_collections (
    number INTEGER PRIMARY KEY AUTOINCREMENT,
    project INTEGER NOT NULL REFERENCES projects (number) ON DELETE CASCADE,
    type INTEGER NOT NULL REFERENCES artifact_types (number) ON DELETE CASCADE,
    kind TEXT NOT NULL, name TEXT NOT NULL,
    description TEXT, state TEXT NOT NULL DEFAULT 'READY', next_index INTEGER NOT NULL DEFAULT 0,
    created_ms INTEGER NOT NULL, updated_ms INTEGER NOT NULL
);
CREATE UNIQUE INDEX IF NOT EXISTS artifact_collections_by_name
    ON artifact_collections (project, name) WHERE state = 'READY';
CREATE TABLE IF NOT EXISTS artifacts (
    number INTEGER PRIMARY KEY AUTOINCREMENT,
    sequence INTEGER NOT NULL REFERENCES artifact_collections (number) ON DELETE CASCADE,
    digest TEXT NOT NULL, state TEXT NOT NULL DEFAULT 'PENDING', description TEXT, metadata TEXT,
    ttl_s INTEGER, history_step INTEGER, run INTEGER, user INTEGER NOT NULL, distributed_id TEXT,
    wanted_aliases TEXT NOT NULL, size INTEGER NOT NULL DEFAULT 0, file_count INTEGER NOT NULL DEFAULT 0,
    commit_hash TEXT NOT NULL, created_ms INTEGER NOT NULL, updated_ms INTEGER NOT NULL
);
CREATE INDEX IF NOT EXISTS artifacts_by_digest ON artifacts (sequence, digest);
CREATE TABLE IF NOT EXISTS artifact_memberships (
    number INTEGER PRIMARY KEY AUTOINCREMENT,
    collection INTEGER NOT NULL REFERENCES artifact_collections (number) ON DELETE CASCADE,
    artifact INTEGER NOT NULL REFERENCES artifacts (number) ON DELETE CASCADE,
    version_index INTEGER NOT NULL,
    created_ms INTEGER NOT NULL,
    UNIQUE (collection, version_index), UNIQUE (artifact, collection)
);
CREATE TABLE IF NOT EXISTS artifact_aliases (
    number INTEGER PRIMARY KEY, collection INTEGER NOT NULL, alias TEXT NOT NULL,
    membership INTEGER NOT NULL REFERENCES artifact_memberships (number) ON DELETE CASCADE,
    UNIQUE (collection, alias)
);
CREATE INDEX IF NOT EXISTS artifact_aliases_by_membership ON artifact_aliases (membership);
CREATE TABLE IF NOT EXISTS client_ids (
    client_id TEXT PRIMARY KEY, kind TEXT NOT NULL, number INTEGER NOT NULL
) WITHOUT ROWID;
""")

SEQUENCE = "SEQUENCE"
PORTFOLIO = "PORTFOLIO"


@dataclass(frozen=True, slots=True)
class ArtifactType(Node, Dated):
    """``dataset``, ``model``, …: what the collections of a project are sorted by."""

    typename: ClassVar[str] = "ArtifactType"
    number: int
    project: int
    name: str
    description: str | None
    created_ms: int


@dataclass(frozen=True, slots=True)
class Collection(Changing):
    """A sequence or a portfolio."""

    number: int
    project: int
    type: int
    kind: str
    name: str
    description: str | None
    state: str
    next_index: int
    created_ms: int
    updated_ms: int

    @property
    def typename(self) -> str:
        return "ArtifactSequence" if self.kind == SEQUENCE else "ArtifactPortfolio"

    @property
    def id(self) -> str:
        return ids.encode("ArtifactCollection", self.number)


@dataclass(frozen=True, slots=True)
class Artifact(Node, Changing):
    """One version; its number is that of its memberships."""

    typename: ClassVar[str] = "Artifact"
    number: int
    sequence: int
    digest: str
    state: str
    description: str | None
    metadata: str | None
    ttl_s: int | None
    history_step: int | None
    run: int | None
    user: int
    distributed_id: str | None
    wanted_aliases: str
    size: int
    file_count: int
    commit_hash: str
    created_ms: int
    updated_ms: int

    @property
    def storage_bytes(self) -> int:
        return self.size


@dataclass(frozen=True, slots=True)
class Membership(Node, Dated):
    """A version in a collection."""

    typename: ClassVar[str] = "ArtifactCollectionMembership"
    number: int
    collection: int
    artifact: int
    version_index: int
    created_ms: int


@dataclass(frozen=True, slots=True)
class Alias(Node):
    """A name for a membership, unique in its collection."""

    typename: ClassVar[str] = "ArtifactAlias"
    number: int
    collection: int
    alias: str
    membership: int


# -- by number and id


def type_by_number(db: Database, number: int) -> ArtifactType:
    row = db.one("SELECT * FROM artifact_types WHERE number = ?", (number,))
    if row is None:
        raise not_found("no such artifact type")
    return ArtifactType(*row)


def collection_by_number(db: Database, number: int) -> Collection:
    row = db.one("SELECT * FROM artifact_collections WHERE number = ?", (number,))
    if row is None:
        raise not_found("no such artifact collection")
    return Collection(*row)


def collection_by_id(db: Database, text: str) -> Collection:
    """A collection that is not deleted."""
    collection = collection_by_number(db, ids.decode("ArtifactCollection", text))
    if collection.state == "DELETED":
        raise not_found(f"the artifact collection {collection.name!r} was deleted")
    return collection


def artifact_by_number(db: Database, number: int) -> Artifact:
    row = db.one("SELECT * FROM artifacts WHERE number = ?", (number,))
    if row is None:
        raise not_found("no such artifact")
    return Artifact(*row)


def artifact_by_id(db: Database, text: str) -> Artifact:
    """A version that is not deleted."""
    artifact = artifact_by_number(db, ids.decode("Artifact", text))
    if artifact.state == "DELETED":
        raise not_found("the artifact was deleted")
    return artifact


def membership_by_number(db: Database, number: int) -> Membership:
    row = db.one("SELECT * FROM artifact_memberships WHERE number = ?", (number,))
    if row is None:
        raise not_found("no such artifact membership")
    return Membership(*row)


# -- by name


def find_type(db: Database, project: int, name: str) -> ArtifactType | None:
    row = db.one("SELECT * FROM artifact_types WHERE project = ? AND name = ?", (project, name))
    return ArtifactType(*row) if row else None


def find_collection(db: Database, project: int, name: str) -> Collection | None:
    row = db.one(
        "SELECT * FROM artifact_collections WHERE project = ? AND name = ? AND state = 'READY'",
        (project, name),
    )
    return Collection(*row) if row else None


def find_membership(db: Database, collection: Collection, alias: str) -> Membership | None:
    """The version that an alias, ``vN``, a digest or a commit hash names in a collection."""
    row = db.one(
        "SELECT m.* FROM artifact_memberships m JOIN artifact_aliases a ON a.membership = m.number "
        "WHERE a.collection = ? AND a.alias = ?",
        (collection.number, alias),
    )
    index = version_number(alias)
    if row is None and index is not None:
        row = db.one(
            "SELECT * FROM artifact_memberships WHERE collection = ? AND version_index = ?",
            (collection.number, index),
        )
    if row is None:
        row = db.one(
            "SELECT m.* FROM artifact_memberships m JOIN artifacts a ON a.number = m.artifact "
            "WHERE m.collection = ? AND ? IN (a.digest, a.commit_hash) ORDER BY m.version_index DESC",
            (collection.number, alias),
        )
    return Membership(*row) if row else None


def resolve_name(db: Database, project: int, name: str) -> Membership | None:
    """``collection``, ``collection:alias``, ``collection:vN`` or ``collection:digest``."""
    collection_name, _, alias = name.partition(":")
    collection = find_collection(db, project, collection_name)
    return find_membership(db, collection, alias or "latest") if collection else None


# -- of each other


def membership_in(db: Database, artifact: Artifact, collection: int) -> Membership | None:
    row = db.one(
        "SELECT * FROM artifact_memberships WHERE artifact = ? AND collection = ?",
        (artifact.number, collection),
    )
    return Membership(*row) if row else None


def memberships_of(db: Database, artifact: Artifact) -> list[Membership]:
    """All memberships of a version, the one in its own sequence first."""
    rows = db.all(
        "SELECT * FROM artifact_memberships WHERE artifact = ? ORDER BY collection <> ?, number",
        (artifact.number, artifact.sequence),
    )
    return [Membership(*row) for row in rows]


def collections_of(db: Database, project: int, type_number: int | None = None) -> list[Collection]:
    """The collections of a project, perhaps of one type only, by number."""
    rows = db.all(
        "SELECT * FROM artifact_collections "
        "WHERE project = ? AND state = 'READY' AND (? IS NULL OR type = ?) ORDER BY number",
        (project, type_number, type_number),
    )
    return [Collection(*row) for row in rows]


def members_of(db: Database, collection: Collection) -> list[Membership]:
    """All versions in a collection, by version number."""
    rows = db.all(
        "SELECT * FROM artifact_memberships WHERE collection = ? ORDER BY version_index", (collection.number,)
    )
    return [Membership(*row) for row in rows]


def latest_member(db: Database, collection: Collection) -> Membership | None:
    """The version that ``latest`` names, else the newest."""
    row = db.one(
        "SELECT * FROM artifact_memberships WHERE collection = ? ORDER BY version_index DESC",
        (collection.number,),
    )
    return find_membership(db, collection, "latest") or (Membership(*row) if row else None)


def aliases_of(db: Database, membership: Membership) -> list[Alias]:
    rows = db.all("SELECT * FROM artifact_aliases WHERE membership = ? ORDER BY alias", (membership.number,))
    return [Alias(*row) for row in rows]


# -- changes


def add_member(db: Database, collection: Collection, artifact: Artifact) -> Membership:
    """Give a version the collection's next number."""
    now = clock.now_ms()
    index = db.value(
        "SELECT next_index FROM artifact_collections WHERE number = ?", (collection.number,)
    )  # not from `collection`, which may have been read before another version came
    db.execute(
        "UPDATE artifact_collections SET next_index = ?, updated_ms = ? WHERE number = ?",
        (index + 1, now, collection.number),
    )
    number = db.insert(
        "INSERT INTO artifact_memberships (collection, artifact, version_index, created_ms) "
        "VALUES (?, ?, ?, ?)",
        (collection.number, artifact.number, index, now),
    )
    return membership_by_number(db, number)


def move_alias(db: Database, membership: Membership, alias: str) -> None:
    """Make an alias name this version, and no other of its collection any more."""
    db.execute(
        "INSERT INTO artifact_aliases (collection, alias, membership) VALUES (?, ?, ?) "
        "ON CONFLICT (collection, alias) DO UPDATE SET membership = excluded.membership",
        (membership.collection, alias, membership.number),
    )


def map_client_id(db: Database, client_id: str | None, kind: str, number: int) -> None:
    """Remember the id that a client invented for what now has a number."""
    if client_id:
        db.execute("INSERT OR REPLACE INTO client_ids VALUES (?, ?, ?)", (client_id, kind, number))
