"""Tags of artifact versions and of collections."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from engine.sandbox.artifacts import records
from engine.sandbox.artifacts.records import Artifact, Collection
from engine.sandbox.artifacts.rules import MAX_TAGS_PER_CALL, check_tag
from engine.sandbox.context import Call
from engine.sandbox.database import Database, tables
from engine.sandbox.graph.connections import Connection, connection
from engine.sandbox.graph.execution import resolver
from engine.sandbox.graph.nodes import Node
from engine.sandbox.projects import projects
from engine.sandbox.refusals import bad_request, not_found

tables("""
CREATE TABLE IF NOT EXISTS artifact_tags (
    number INTEGER PRIMARY KEY, owner_type TEXT NOT NULL, owner INTEGER NOT NULL,
    category TEXT NOT NULL, name TEXT NOT NULL, attributes TEXT NOT NULL,
    UNIQUE (owner_type, owner, category, name)
);
""")

_DEFAULT_CATEGORY = "tag"


@dataclass(frozen=True, slots=True)
class Tag(Node):
    """A word on a version or a collection."""

    typename: ClassVar[str] = "Tag"
    number: int
    owner_type: str
    owner: int
    tag_category_name: str
    name: str
    attributes: str


def tags_of(db: Database, owner: Artifact | Collection) -> list[Tag]:
    """All tags, by name."""
    rows = db.all(
        "SELECT * FROM artifact_tags WHERE owner_type = ? AND owner = ? ORDER BY name",
        (owner.typename, owner.number),
    )
    return [Tag(*row) for row in rows]


def add_tags(db: Database, owner: Artifact | Collection, given: Iterable[Mapping[str, Any]]) -> None:
    """Add tags as inputs name them; one that is there already stays.

    Raises:
        Refusal: 400, a name is no tag.
    """
    for tag in given:
        check_tag(tag)
        db.execute(
            "INSERT OR IGNORE INTO artifact_tags (owner_type, owner, category, name, attributes) "
            "VALUES (?, ?, ?, ?, ?)",
            (
                owner.typename,
                owner.number,
                tag.get("tagCategoryName") or _DEFAULT_CATEGORY,
                tag["tagName"],
                tag.get("attributes") or "{}",
            ),
        )


def remove_tags(db: Database, owner: Artifact | Collection, given: Iterable[Mapping[str, Any]]) -> None:
    """Remove tags as inputs name them; one that is not there is no error."""
    for tag in given:
        db.execute(
            "DELETE FROM artifact_tags WHERE owner_type = ? AND owner = ? AND category = ? AND name = ?",
            (
                owner.typename,
                owner.number,
                tag.get("tagCategoryName") or _DEFAULT_CATEGORY,
                tag["tagName"],
            ),
        )


@resolver("Artifact.tags")
def artifact_tags(artifact: Artifact, call: Call) -> list[Tag]:
    return tags_of(call.db, artifact)


@resolver("ArtifactSequence.tags", "ArtifactPortfolio.tags")
def collection_tags(
    collection: Collection, call: Call, *, tag_category_name: str | None = None, **page: Any
) -> Connection:
    tags = [tag for tag in tags_of(call.db, collection) if tag_category_name in (None, tag.tag_category_name)]
    return connection(tags, lambda tag: [tag.name, tag.number], **page)


@resolver("Mutation.createArtifactCollectionTagAssignments")
def create_assignments(_root: None, call: Call, *, given: dict[str, Any]) -> dict[str, Any]:
    collection = _named_collection(call, given)
    add_tags(call.db, collection, given["tags"])
    names = {tag["tagName"] for tag in given["tags"]}
    tags = [tag for tag in tags_of(call.db, collection) if tag.name in names]
    return {"clientMutationID": given.get("clientMutationID"), "tags": tags}


@resolver("Mutation.deleteArtifactCollectionTagAssignments")
def delete_assignments(_root: None, call: Call, *, given: dict[str, Any]) -> dict[str, Any]:
    remove_tags(call.db, _named_collection(call, given), given["tags"])
    return {"clientMutationId": given.get("clientMutationID"), "success": True}


def _named_collection(call: Call, given: Mapping[str, Any]) -> Collection:
    if len(given["tags"]) > MAX_TAGS_PER_CALL:
        raise bad_request(f"at most {MAX_TAGS_PER_CALL} tags at once, not {len(given['tags'])}")
    project = projects.writable(call, given["entityName"], given["projectName"])
    collection = records.find_collection(call.db, project.number, given["artifactCollectionName"])
    if collection is None:
        raise not_found(f"artifact collection {given['artifactCollectionName']} not found")
    return collection
