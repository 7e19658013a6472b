"""Users, the entities they may write to, and their API keys."""

from __future__ import annotations

import hashlib
import secrets
from dataclasses import dataclass
from typing import ClassVar

from engine.sandbox import clock
from engine.sandbox.database import Database, Row, tables
from engine.sandbox.graph.nodes import Dated, Node

tables(
    """
    CREATE TABLE IF NOT EXISTS entities (
        number INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE, is_team INTEGER NOT NULL,
        created INTEGER NOT NULL
    );
    CREATE TABLE IF NOT EXISTS users (
        number INTEGER PRIMARY KEY, username TEXT NOT NULL UNIQUE, name TEXT NOT NULL, email TEXT,
        admin INTEGER NOT NULL, default_entity TEXT NOT NULL, created INTEGER NOT NULL
    );
    CREATE TABLE IF NOT EXISTS members (
        entity INTEGER NOT NULL REFERENCES entities ON DELETE CASCADE,
        user INTEGER NOT NULL REFERENCES users ON DELETE CASCADE,
        PRIMARY KEY (entity, user)
    ) WITHOUT ROWID;
    CREATE TABLE IF NOT EXISTS api_keys (
        number INTEGER PRIMARY KEY, user INTEGER NOT NULL REFERENCES users ON DELETE CASCADE,
        digest TEXT NOT NULL UNIQUE, hint TEXT NOT NULL, description TEXT
    );
    """
)

_KEY_BYTES = 20
"""A key is 40 hex digits; the official SDK accepts nothing shorter."""


@dataclass(frozen=True, slots=True)
class Account:
    """A user to be known to a sandbox, with the teams to write to.

    Attributes:
        api_key: None makes one up and keeps it in the data directory.
        default_entity: where runs go if the client names no entity; default is the user's own.
        admin: may read and write everything.
    """

    username: str
    teams: tuple[str, ...] = ()
    api_key: str | None = None
    email: str | None = None
    default_entity: str | None = None
    admin: bool = False


@dataclass(frozen=True, slots=True)
class Entity(Node, Dated):
    """A user's own namespace or a team."""

    typename: ClassVar[str] = "Entity"

    number: int
    name: str
    is_team: bool
    created_ms: int


@dataclass(frozen=True, slots=True)
class User(Node, Dated):
    """Someone who has an API key."""

    typename: ClassVar[str] = "User"

    number: int
    username: str
    name: str
    email: str | None
    admin: bool
    default_entity_name: str
    created_ms: int


def new_key() -> str:
    """A fresh API key."""
    return secrets.token_hex(_KEY_BYTES)


def add_key(db: Database, user: int, key: str, description: str | None = None) -> int:
    """Make a key valid; its digest is all that is stored. Returns its number."""
    return db.insert(
        "INSERT INTO api_keys (user, digest, hint, description) VALUES (?, ?, ?, ?)",
        (user, _digest(key), f"{key[:5]}…{key[-3:]}", description),
    )


def user_of_key(db: Database, key: str) -> User | None:
    """The owner of a key."""
    row = db.one(
        "SELECT users.* FROM api_keys JOIN users ON users.number = user WHERE digest = ?", (_digest(key),)
    )
    return None if row is None else _user(row)


def user_of_name(db: Database, username: str) -> User | None:
    """The user of this name."""
    row = db.one("SELECT * FROM users WHERE username = ?", (username,))
    return None if row is None else _user(row)


def user_of_number(db: Database, number: int) -> User:
    """The user behind a reference of another table."""
    row = db.one("SELECT * FROM users WHERE number = ?", (number,))
    assert row is not None
    return _user(row)


def all_users(db: Database) -> list[User]:
    """Everybody, by number."""
    return [_user(row) for row in db.all("SELECT * FROM users ORDER BY number")]


def register(db: Database, account: Account) -> User:
    """Create the user, their own entity and teams, as far as they are missing."""
    now = clock.now_ms()
    default_entity = account.default_entity or account.username
    db.execute(
        """INSERT INTO users (username, name, email, admin, default_entity, created) VALUES (?, ?, ?, ?, ?, ?)
        ON CONFLICT (username) DO UPDATE
            SET admin = excluded.admin, default_entity = excluded.default_entity""",
        (account.username, account.username, account.email, account.admin, default_entity, now),
    )
    user = user_of_name(db, account.username)
    assert user is not None
    for name in (account.username, *account.teams):
        join(db, ensure_entity(db, name, is_team=name != account.username), user)
    return user


def ensure_entity(db: Database, name: str, *, is_team: bool) -> Entity:
    """The entity of this name, created if it is missing."""
    db.execute(
        "INSERT INTO entities (name, is_team, created) VALUES (?, ?, ?) ON CONFLICT (name) DO NOTHING",
        (name, is_team, clock.now_ms()),
    )
    entity = entity_of_name(db, name)
    assert entity is not None
    return entity


def join(db: Database, entity: Entity, user: User) -> None:
    """Let a user write to an entity."""
    db.execute("INSERT OR IGNORE INTO members (entity, user) VALUES (?, ?)", (entity.number, user.number))


def entity_of_name(db: Database, name: str) -> Entity | None:
    """The entity of this name, whoever may see it."""
    row = db.one("SELECT * FROM entities WHERE name = ?", (name,))
    return None if row is None else _entity(row)


def entity_of_number(db: Database, number: int) -> Entity:
    """The entity behind a reference of another table."""
    row = db.one("SELECT * FROM entities WHERE number = ?", (number,))
    assert row is not None
    return _entity(row)


def all_entities(db: Database) -> list[Entity]:
    """Everywhere, by name."""
    return [_entity(row) for row in db.all("SELECT * FROM entities ORDER BY name")]


def entities_of(db: Database, user: User) -> list[Entity]:
    """Where a user may write: their own entity first, then teams."""
    return [
        _entity(row)
        for row in db.all(
            """SELECT entities.* FROM entities JOIN members ON entity = entities.number
            WHERE user = ? ORDER BY is_team, entities.name""",
            (user.number,),
        )
    ]


def members_of(db: Database, entity: Entity) -> list[User]:
    """Who may write to an entity."""
    return [
        _user(row)
        for row in db.all(
            """SELECT users.* FROM users JOIN members ON user = users.number
            WHERE entity = ? ORDER BY username""",
            (entity.number,),
        )
    ]


def _digest(key: str) -> str:
    return hashlib.sha256(key.encode()).hexdigest()


def _user(row: Row) -> User:
    return User(
        row["number"],
        row["username"],
        row["name"],
        row["email"],
        bool(row["admin"]),
        row["default_entity"],
        row["created"],
    )


def _entity(row: Row) -> Entity:
    return Entity(row["number"], row["name"], bool(row["is_team"]), row["created"])
