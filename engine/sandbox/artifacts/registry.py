"""The organisation of the sandbox and its registries.

There is one organisation, to which every user and team belongs. Its own entity holds the registries:
projects named ``wandb-registry-…`` whose collections are links to versions elsewhere.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from engine.sandbox.accounts import accounts
from engine.sandbox.accounts.accounts import Entity, User
from engine.sandbox.artifacts import records
from engine.sandbox.artifacts.collections import ensure_type
from engine.sandbox.artifacts.lists import ARTIFACT_FIELDS, COLLECTION_FIELDS
from engine.sandbox.artifacts.records import PORTFOLIO, SEQUENCE, Collection, Membership
from engine.sandbox.context import Call
from engine.sandbox.database import tables
from engine.sandbox.graph import ids
from engine.sandbox.graph.connections import Connection
from engine.sandbox.graph.execution import resolver
from engine.sandbox.graph.listing import Fields, listed, select
from engine.sandbox.projects import projects
from engine.sandbox.projects.projects import PROJECT_FIELDS, Project
from engine.sandbox.refusals import bad_request

tables("""
CREATE TABLE IF NOT EXISTS registries (
    project INTEGER PRIMARY KEY REFERENCES projects (number) ON DELETE CASCADE, all_types INTEGER NOT NULL
);
""")

NAME = "sandbox"
ENTITY_NAME = "sandbox-org"
PREFIX = "wandb-registry-"


@dataclass(frozen=True, slots=True)
class Organization:
    """The one organisation."""

    typename: ClassVar[str] = "Organization"
    id: str = ids.encode("Organization", 1)
    name: str = NAME
    org_type: str = "ORGANIZATION"
    core_weave_organization_id: None = None


def _entity(call: Call) -> Entity:
    """The entity that owns the registries; whoever asks for it becomes a member, as all users are."""
    entity = accounts.ensure_entity(call.db, ENTITY_NAME, is_team=False)
    accounts.join(call.db, entity, call.user)
    return entity


@resolver("Query.organization")
def organization(
    _root: None,
    _call: Call,
    *,
    id: str | None = None,  # noqa: A002
    name: str | None = None,
) -> Organization | None:
    known = Organization()
    return known if id in (None, known.id) and name in (None, known.name) else None


@resolver("User.organizations")
def user_organizations(
    _user: User,
    _call: Call,
    *,
    email_domain: str | None = None,  # noqa: ARG001
) -> list[Organization]:
    return [Organization()]


@resolver("Entity.organization")
def entity_organization(entity: Entity, _call: Call) -> Organization | None:
    """A personal entity has none of its own; its user has."""
    return Organization() if entity.is_team or entity.name == ENTITY_NAME else None


@resolver("Entity.entityType")
def entity_type(entity: Entity, _call: Call) -> str:
    if entity.name == ENTITY_NAME:
        return "organization"
    return "team" if entity.is_team else "user"


@resolver("Organization.orgEntity")
def org_entity(_organization: Organization, call: Call) -> Entity:
    return _entity(call)


@resolver("Organization.teams")
def org_teams(_organization: Organization, call: Call) -> list[Entity]:
    return [entity for entity in accounts.entities_of(call.db, call.user) if entity.is_team]


@resolver("Organization.featureFlags")
def feature_flags(_organization: Organization, _call: Call, **_ramp: Any) -> list[Any]:
    return []


@resolver("Organization.advancedRegistryFeatures")
def advanced_registry_features(_organization: Organization, _call: Call) -> dict[str, bool]:
    return {"advancedSearch": False}


# -- registries


@resolver("Mutation.upsertModel")
def upsert_model(_root: None, call: Call, *, given: dict[str, Any]) -> dict[str, Any]:
    """Any project; one of the organisation is a registry and must be named and typed like one."""
    answer = projects.upsert(call, given)
    project = answer["project"]
    if project.entity_name == ENTITY_NAME:
        if not project.name.startswith(PREFIX):
            raise bad_request(f"the name of a registry starts with {PREFIX}")
        _describe(call, project, given)
    return answer


def _describe(call: Call, project: Project, given: dict[str, Any]) -> None:
    types = given.get("artifactTypes") or []
    for kind in types:
        ensure_type(call, project, kind["name"], kind.get("description"))
    all_types = given.get("allowAllArtifactTypesInRegistry")
    if all_types is None and not call.db.one("SELECT 1 FROM registries WHERE project = ?", (project.number,)):
        all_types = not types
    if all_types is not None:
        call.db.execute("INSERT OR REPLACE INTO registries VALUES (?, ?)", (project.number, all_types))


@resolver("Project.allowAllArtifactTypesInRegistry")
def allows_all_types(project: Project, call: Call) -> bool:
    return bool(call.db.value("SELECT all_types FROM registries WHERE project = ?", (project.number,)))


# -- search


@resolver("Entity.artifactCollections")
def entity_collections(
    entity: Entity,
    call: Call,
    *,
    project_filters: str | None = None,
    collection_types: list[str] | None = None,
    **rest: Any,
) -> Connection:
    rows = _collections(call, entity, project_filters, collection_types or (SEQUENCE, PORTFOLIO))
    return listed(call, rows, COLLECTION_FIELDS, **rest)


@resolver("Entity.artifactMemberships")
def entity_memberships(
    entity: Entity,
    call: Call,
    *,
    project_filters: str | None = None,
    collection_filters: str | None = None,
    **rest: Any,
) -> Connection:
    collections = _collections(call, entity, project_filters, (PORTFOLIO,))
    rows = [
        member
        for collection in select(call, collections, COLLECTION_FIELDS, collection_filters)
        for member in records.members_of(call.db, collection)
    ]
    return listed(call, rows, _MEMBERSHIP_FIELDS, **rest)


def _collections(
    call: Call, entity: Entity, project_filters: str | None, kinds: tuple[str, ...] | list[str]
) -> list[Collection]:
    owners = select(call, projects.visible(call, entity.name), PROJECT_FIELDS, project_filters)
    return [
        Collection(*row)
        for project in owners
        for row in call.db.all(
            "SELECT * FROM artifact_collections WHERE project = ? AND state = 'READY'", (project.number,)
        )
        if row["kind"] in kinds
    ]


def _of_artifact(name: str) -> Any:
    return lambda call, row: ARTIFACT_FIELDS[name](call, records.artifact_by_number(call.db, row.artifact))


_MEMBERSHIP_FIELDS: Fields[Membership] = {
    **{name: _of_artifact(name) for name in ARTIFACT_FIELDS},
    "number": lambda _call, row: row.number,
    "version": lambda _call, row: f"v{row.version_index}",
    "version_index": lambda _call, row: row.version_index,
    "alias": lambda call, row: [alias.alias for alias in records.aliases_of(call.db, row)],
    "aliases": lambda call, row: [alias.alias for alias in records.aliases_of(call.db, row)],
    "created_at": lambda _call, row: row.created_ms,
}
