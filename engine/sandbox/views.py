"""Views: reports, their drafts, and workspaces. The spec is kept as it comes, whatever blocks it holds."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from engine.sandbox import clock, json_text
from engine.sandbox.accounts import accounts, entity_access
from engine.sandbox.accounts.accounts import Entity, User
from engine.sandbox.context import Call
from engine.sandbox.database import Row, tables
from engine.sandbox.graph import ids
from engine.sandbox.graph.connections import Connection, connection
from engine.sandbox.graph.execution import resolver
from engine.sandbox.graph.nodes import Changing, Node
from engine.sandbox.projects import projects
from engine.sandbox.projects.projects import Project
from engine.sandbox.refusals import Refusal, bad_request, not_found

tables("""
CREATE TABLE IF NOT EXISTS views (
    number INTEGER PRIMARY KEY AUTOINCREMENT,
    project INTEGER NOT NULL REFERENCES projects (number) ON DELETE CASCADE,
    user INTEGER NOT NULL, updated_by INTEGER NOT NULL, type TEXT NOT NULL, name TEXT, display_name TEXT,
    description TEXT, spec TEXT, created_using TEXT NOT NULL, locked INTEGER NOT NULL DEFAULT 0,
    parent INTEGER REFERENCES views (number) ON DELETE SET NULL, cover_url TEXT, preview_url TEXT,
    showcased_at TEXT, created_ms INTEGER NOT NULL, updated_ms INTEGER NOT NULL
);
CREATE INDEX IF NOT EXISTS views_by_project ON views (project, type);
""")

REPORT = "runs"
DRAFT = "runs/draft"

# Input field → column; null leaves a column as it is.
_COLUMNS = {
    "type": "type",
    "name": "name",
    "displayName": "display_name",
    "description": "description",
    "spec": "spec",
    "createdUsing": "created_using",
    "locked": "locked",
    "coverUrl": "cover_url",
    "previewUrl": "preview_url",
    "showcasedAt": "showcased_at",
}


@dataclass(frozen=True, slots=True)
class View(Node, Changing):
    """A report, a draft of one, or a workspace, by its ``type``."""

    typename: ClassVar[str] = "View"
    number: int
    project_number: int
    user_number: int
    updated_by_number: int
    type: str
    name: str | None
    display_name: str | None
    description: str | None
    spec: str | None
    created_using: str
    locked: bool
    parent: int | None
    cover_url: str | None
    preview_url: str | None
    showcased_at: str | None
    created_ms: int
    updated_ms: int

    @property
    def parent_id(self) -> str | None:
        return None if self.parent is None else ids.encode("View", self.parent)


def _view(row: Row) -> View:
    return View(*row)


def _readable(call: Call, view_id: str) -> View | None:
    try:
        number = ids.decode("View", view_id)
    except Refusal:
        return None
    row = call.db.one("SELECT * FROM views WHERE number = ?", (number,))
    if row is None:
        return None
    owner = projects.of_number(call, row["project"]).entity_name
    return _view(row) if entity_access.readable_entity(call, owner) is not None else None


def _writable(call: Call, view_id: str) -> View:
    view = _readable(call, view_id)
    if view is None:
        raise not_found(f"view {view_id} not found")
    projects.require_member(call, view.project_number)
    return view


# -- read


@resolver("Query.view")
def query_view(_root: None, call: Call, *, id: str, type: str | None = None) -> View | None:  # noqa: A002
    view = _readable(call, id)
    return view if view is not None and type in (None, view.type) else None


@resolver("Query.views")
def query_views(_root: None, call: Call, *, ids: list[str]) -> Connection:
    found = [view for view_id in ids if (view := _readable(call, view_id)) is not None]
    return connection(found, lambda view: [ids.index(view.id)])


@resolver("Project.allViews")
def all_views(
    project: Project,
    call: Call,
    *,
    view_type: str | None = None,
    view_name: str | None = None,
    user_name: str | None = None,
    user_id: int | None = None,
    offset: int | None = None,
    **page: Any,
) -> Connection:
    rows = call.db.all(
        "SELECT views.* FROM views JOIN users ON users.number = views.user WHERE project = :project "
        "AND (:type IS NULL OR type = :type) AND (:name IS NULL OR views.name = :name) "
        "AND (:username IS NULL OR username = :username) AND (:user IS NULL OR user = :user) "
        "ORDER BY views.number DESC LIMIT -1 OFFSET :offset",
        {
            "project": project.number,
            "type": view_type,
            "name": view_name,
            "username": user_name,
            "user": user_id,
            "offset": offset or 0,
        },
    )
    return connection([_view(row) for row in rows], lambda view: [view.number], descending=True, **page)


@resolver("User.views")
def user_views(user: User, call: Call, *, view_type: str | None = None, **page: Any) -> Connection:
    rows = call.db.all(
        "SELECT * FROM views WHERE user = ? AND (? IS NULL OR type = ?)", (user.number, view_type, view_type)
    )
    found = [view for row in rows if (view := _readable(call, ids.encode("View", row["number"]))) is not None]
    return connection(found, lambda view: [view.number], descending=True, **page)


# -- fields


@resolver("View.project")
def view_project(view: View, call: Call) -> Project:
    return projects.of_number(call, view.project_number)


@resolver("View.projectName")
def view_project_name(view: View, call: Call) -> str:
    return view_project(view, call).name


@resolver("View.entity")
def view_entity(view: View, call: Call) -> Entity:
    return accounts.entity_of_number(call.db, view_project(view, call).entity_number)


@resolver("View.entityName")
def view_entity_name(view: View, call: Call) -> str:
    return view_project(view, call).entity_name


@resolver("View.user")
def view_user(view: View, call: Call) -> User:
    return accounts.user_of_number(call.db, view.user_number)


@resolver("View.updatedBy")
def view_updated_by(view: View, call: Call) -> User:
    return accounts.user_of_number(call.db, view.updated_by_number)


@resolver("View.children")
def view_children(view: View, call: Call) -> Connection:
    rows = call.db.all("SELECT * FROM views WHERE parent = ?", (view.number,))
    return connection([_view(row) for row in rows], lambda child: [child.number])


@resolver("View.accessTokens")
def view_access_tokens(_view: View, _call: Call) -> list[Any]:
    """Nothing is shared beyond the members of an entity."""
    return []


@resolver("View.starCount", "View.viewCount")
def view_popularity(_view: View, _call: Call) -> int:
    """Nobody counts."""
    return 0


@resolver("View.starred")
def view_starred(_view: View, _call: Call) -> bool:
    return False


# -- write


@resolver("Mutation.upsertView")
def upsert_view(_root: None, call: Call, *, given: dict[str, Any]) -> dict[str, Any]:
    columns = {column: given[field] for field, column in _COLUMNS.items() if given.get(field) is not None}
    if "spec" in columns:
        _check_spec(columns["spec"])
    if given.get("parentId"):
        columns["parent"] = _writable(call, given["parentId"]).number
    number = _writable(call, given["id"]).number if given.get("id") else _insert(call, given)
    columns |= {"updated_by": call.user.number, "updated_ms": clock.now_ms()}
    assignments = ", ".join(f"{column} = ?" for column in columns)
    call.db.execute(f"UPDATE views SET {assignments} WHERE number = ?", (*columns.values(), number))  # noqa: S608
    return {
        "clientMutationId": given.get("clientMutationId"),
        "inserted": not given.get("id"),
        "view": _writable(call, ids.encode("View", number)),
    }


def _insert(call: Call, given: dict[str, Any]) -> int:
    project = projects.ensure(call, given.get("entityName"), given.get("projectName"))
    now = clock.now_ms()
    return call.db.insert(
        "INSERT INTO views (project, user, updated_by, type, created_using, created_ms, updated_ms) "
        "VALUES (?, ?, ?, ?, 'WANDB_UI', ?, ?)",
        (project.number, call.user.number, call.user.number, REPORT, now, now),
    )


def _check_spec(text: str) -> None:
    try:
        spec = json_text.loads(text)
    except ValueError as error:
        raise bad_request(f"the spec of a view must be JSON: {error}") from error
    if not isinstance(spec, dict):
        raise bad_request("the spec of a view must be a JSON object")


@resolver("Mutation.deleteView")
def delete_view(_root: None, call: Call, *, given: dict[str, Any]) -> dict[str, Any]:
    view = _writable(call, given.get("id") or "")
    drafts = "parent = ? AND type = ?"
    pending = call.db.value(f"SELECT count(*) FROM views WHERE {drafts}", (view.number, DRAFT))  # noqa: S608
    if given.get("deleteDrafts"):
        call.db.execute(f"DELETE FROM views WHERE {drafts}", (view.number, DRAFT))  # noqa: S608
        pending = 0
    call.db.execute("DELETE FROM views WHERE number = ?", (view.number,))
    return {
        "clientMutationId": given.get("clientMutationId"),
        "success": True,
        "pendingDrafts": bool(pending),
    }
