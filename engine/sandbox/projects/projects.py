"""Projects: found, created on first use, listed, renamed, deleted."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any, ClassVar

from engine.sandbox import clock
from engine.sandbox.accounts import accounts, entity_access
from engine.sandbox.accounts.accounts import Entity, User
from engine.sandbox.context import Call
from engine.sandbox.database import Row, tables
from engine.sandbox.graph import ids
from engine.sandbox.graph.connections import Connection, connection
from engine.sandbox.graph.execution import resolver
from engine.sandbox.graph.listing import Fields, listed
from engine.sandbox.graph.nodes import Changing, Node
from engine.sandbox.refusals import bad_request, conflict, not_found

tables(
    """
    CREATE TABLE IF NOT EXISTS projects (
        number INTEGER PRIMARY KEY AUTOINCREMENT,
        entity INTEGER NOT NULL REFERENCES entities, name TEXT NOT NULL,
        user INTEGER NOT NULL REFERENCES users, description TEXT, access TEXT NOT NULL, views TEXT,
        repo TEXT, docker_image TEXT, is_benchmark INTEGER NOT NULL DEFAULT 0,
        is_published INTEGER NOT NULL DEFAULT 0,
        created INTEGER NOT NULL, updated INTEGER NOT NULL,
        UNIQUE (entity, name)
    );
    """
)

DEFAULT_NAME = "uncategorized"
"""Where runs go if the client names no project."""

_NAME_MAX = 128
_NAME_FORBIDDEN = re.compile(r"[/\\#?%:\r\n]")
_SELECT = """SELECT projects.*, entities.name AS entity_name FROM projects
    JOIN entities ON entities.number = projects.entity"""


@dataclass(frozen=True, slots=True)
class Project(Node, Changing):
    """A project; its attributes answer the fields of the same name."""

    typename: ClassVar[str] = "Project"

    number: int
    entity_number: int
    entity_name: str
    name: str
    user_number: int
    description: str | None
    access: str
    views: str | None
    repo: str | None
    docker_image: str | None
    is_benchmark: bool
    is_published: bool
    created_ms: int
    updated_ms: int

    @property
    def internal_id(self) -> str:
        """Clients decode this one to the number."""
        return ids.encode("ProjectInternalId", self.number)


PROJECT_FIELDS: Fields[Project] = {
    "id": lambda _call, row: [row.number, row.id, row.internal_id],
    "number": lambda _call, row: row.number,
    "name": lambda _call, row: row.name,
    "entity_id": lambda _call, row: row.entity_number,
    "description": lambda _call, row: row.description,
    "access": lambda _call, row: row.access,
    "created_at": lambda _call, row: row.created_ms,
    "updated_at": lambda _call, row: row.updated_ms,
}
"""How lists look at a project; filters by ``id`` may hold the bare number."""


def find(call: Call, entity_name: str | None, name: str | None) -> Project | None:
    """The project of this name; None if there is none, or the caller may not see it."""
    entity = entity_access.readable_entity(call, entity_name)
    if entity is None:
        return None
    row = call.db.one(
        f"{_SELECT} WHERE projects.entity = ? AND projects.name = ?", (entity.number, name or DEFAULT_NAME)
    )
    return None if row is None else _project(row)


def writable(call: Call, entity_name: str | None, name: str | None) -> Project:
    """The project of this name, for a write that does not create it.

    Raises:
        Refusal: 404 or 403.
    """
    entity = entity_access.writable_entity(call, entity_name)
    project = find(call, entity.name, name)
    if project is None:
        raise not_found(f"project {entity.name}/{name} not found")
    return project


def ensure(call: Call, entity_name: str | None, name: str | None) -> Project:
    """The project of this name, created if it is missing, as any write of W&B does.

    Raises:
        Refusal: the entity is unknown (404) or not the caller's (403), or the name is illegal (400).
    """
    entity = entity_access.writable_entity(call, entity_name)
    name = name or DEFAULT_NAME
    project = find(call, entity.name, name)
    if project is not None:
        return project
    check_name(name)
    now = clock.now_ms()
    number = call.db.insert(
        """INSERT INTO projects (entity, name, user, access, created, updated)
        VALUES (?, ?, ?, 'PRIVATE', ?, ?)""",
        (entity.number, name, call.user.number, now, now),
    )
    return of_number(call, number)


def of_number(call: Call, number: int) -> Project:
    """The project behind a reference of another table."""
    row = call.db.one(f"{_SELECT} WHERE projects.number = ?", (number,))
    assert row is not None
    return _project(row)


def require_member(call: Call, number: int) -> None:
    """Check that the caller may write to the project of this number.

    Raises:
        Refusal: 403.
    """
    entity_access.require_member(call, of_number(call, number).entity_number)


def check_name(name: str) -> None:
    """Refuse what W&B does not take as a project name.

    Raises:
        Refusal: 400.
    """
    if not name or len(name) > _NAME_MAX:
        raise bad_request(f"a project name has 1 to {_NAME_MAX} characters, not {len(name)}")
    if found := _NAME_FORBIDDEN.search(name):
        raise bad_request(f"project name {name!r} contains {found.group()!r}")


def visible(call: Call, entity_name: str | None = None) -> list[Project]:
    """All projects of one entity, or of all entities of the caller."""
    if entity_name is not None:
        entity = entity_access.readable_entity(call, entity_name)
        entities = [entity] if entity else []
    elif call.user.admin:
        entities = accounts.all_entities(call.db)
    else:
        entities = accounts.entities_of(call.db, call.user)
    return [
        _project(row)
        for entity in entities
        for row in call.db.all(
            f"{_SELECT} WHERE projects.entity = ? ORDER BY projects.number", (entity.number,)
        )
    ]


@resolver("Query.project", "Query.model")
def project(
    _root: None, call: Call, *, entity_name: str | None = None, name: str | None = None
) -> Project | None:
    return find(call, entity_name, name)


@resolver("Query.models", "Query.projects")
def models(
    _root: None,
    call: Call,
    *,
    entity_name: str | None = None,
    order: str | None = None,  # noqa: ARG001
    anonymous: bool | None = None,  # noqa: ARG001
    **page: Any,
) -> Connection:
    return _listed(visible(call, entity_name or call.user.default_entity_name), page)


@resolver("Entity.projects")
def entity_projects(entity: Entity, call: Call, **rest: Any) -> Connection:
    return listed(call, visible(call, entity.name), PROJECT_FIELDS, default="-created_at", **rest)


@resolver("User.projects")
def user_projects(
    user: User,
    call: Call,
    *,
    order: str | None = None,  # noqa: ARG001
    restrict_to: str | None = None,  # noqa: ARG001
    linked_benchmark: dict[str, Any] | None = None,  # noqa: ARG001
    **page: Any,
) -> Connection:
    return _listed([project for project in visible(call) if project.user_number == user.number], page)


def _listed(found: list[Project], page: dict[str, Any]) -> Connection:
    return connection(found, lambda project: [project.created_ms, project.number], descending=True, **page)


@resolver("Entity.project")
def entity_project(entity: Entity, call: Call, *, name: str | None = None) -> Project | None:
    return find(call, entity.name, name)


@resolver("Project.entity")
def project_entity(project: Project, call: Call) -> Entity:
    return accounts.entity_of_number(call.db, project.entity_number)


@resolver("Project.user")
def project_user(project: Project, call: Call) -> User:
    return accounts.user_of_number(call.db, project.user_number)


@resolver("Project.readOnly")
def project_is_not(_project: Project, _call: Call) -> bool:
    return False


@resolver("Project.members", "Project.teamMembers", "Project.triggers", "Project.runQueues")
def project_has_none(_project: Project, _call: Call) -> list[Any]:
    """Members of its own has only a registry, which the sandbox has not, as little as queues and triggers."""
    return []


def upsert(call: Call, given: dict[str, Any]) -> dict[str, Any]:
    """What ``upsertModel`` does to any project; a registry is more than that, see ``registry``."""
    if given.get("id"):
        project = writable_of_id(call, given["id"])
        inserted = False
    else:
        entity = entity_access.writable_entity(call, given.get("entityName"))
        inserted = find(call, entity.name, given.get("name")) is None
        project = ensure(call, entity.name, given.get("name"))
    columns = {
        "description": "description",
        "access": "access",
        "views": "views",
        "repo": "repo",
        "dockerImage": "docker_image",
        "isBenchmark": "is_benchmark",
        "isPublished": "is_published",
    }
    for field, column in columns.items():
        if given.get(field) is not None:
            call.db.execute(
                f"UPDATE projects SET {column} = ?, updated = ? WHERE number = ?",  # noqa: S608
                (given[field], clock.now_ms(), project.number),
            )
    return _upserted(call, project, given, inserted=inserted)


@resolver("Mutation.renameProject")
def rename_project(_root: None, call: Call, *, given: dict[str, Any]) -> dict[str, Any]:
    project = writable(call, given["entityName"], given["oldProjectName"])
    check_name(given["newProjectName"])
    if find(call, given["entityName"], given["newProjectName"]) is not None:
        raise conflict(f"project {given['newProjectName']} already exists")
    call.db.execute(
        "UPDATE projects SET name = ?, updated = ? WHERE number = ?",
        (given["newProjectName"], clock.now_ms(), project.number),
    )
    return _upserted(call, project, given, inserted=False)


def _upserted(call: Call, project: Project, given: dict[str, Any], *, inserted: bool) -> dict[str, Any]:
    now = of_number(call, project.number)
    return {
        "clientMutationId": given.get("clientMutationId"),
        "entityName": now.entity_name,
        "inserted": inserted,
        "model": now,
        "project": now,
    }


def writable_of_id(call: Call, id_: str) -> Project:
    """The project of this id, for a write.

    Raises:
        Refusal: 404 or 403.
    """
    row = call.db.one(f"{_SELECT} WHERE projects.number = ?", (ids.decode("Project", id_),))
    if row is None:
        raise not_found(f"project {id_!r} not found")
    entity_access.require_member(call, row["entity"])
    return _project(row)


def _project(row: Row) -> Project:
    return Project(
        number=row["number"],
        entity_number=row["entity"],
        entity_name=row["entity_name"],
        name=row["name"],
        user_number=row["user"],
        description=row["description"],
        access=row["access"],
        views=row["views"],
        repo=row["repo"],
        docker_image=row["docker_image"],
        is_benchmark=bool(row["is_benchmark"]),
        is_published=bool(row["is_published"]),
        created_ms=row["created"],
        updated_ms=row["updated"],
    )
