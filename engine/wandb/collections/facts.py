"""What is said of a collection and its versions, brought to what the source says now.

Only differences are sent. An alias names one version of a collection, so that those that move are given to
their version, and only those that nobody has at the source are taken away, like ``latest`` that the server
gives by itself.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from engine.records import Artifact, Collection, Json, Version
from engine.wandb import documents, names
from engine.wandb.collections.place import Place
from engine.wandb.jsontext import Plain, clean_text, encode_json
from engine.wandb.reading.artifacts import id_of
from engine.wandb.reading.collections import Holding

TAGS_AT_ONCE = 20
"""Tags of a collection in one request (``createArtifactCollectionTagAssignments``)."""

INHERIT_TTL, NO_TTL = -1, -2


@dataclass(frozen=True, slots=True)
class Facts:
    """Writes what is said of the versions of one place."""

    place: Place

    def of_new(self, version: Version) -> dict[str, Json]:
        """What ``createArtifact`` is told of a version besides its content."""
        artifact = version.artifact
        told: dict[str, Json] = {
            "description": clean_text(artifact.description) if artifact.description else None,
            "metadata": self._metadata(artifact),
            "ttlDurationSeconds": None if artifact.ttl_s is None else artifact.ttl_s or NO_TTL,
            "historyStep": version.step or None,
            "tags": _tag_inputs(self._tags(artifact)),
        }
        return {name: value for name, value in told.items() if value not in (None, [])}

    async def update_versions(self, wanted: Sequence[Version], there: Mapping[int, Version]) -> None:
        """Make everything said of these versions, as far as they are there, what is wanted."""
        for version in wanted:
            if (found := there.get(version.number)) is not None:
                await self._update(version.artifact, found.artifact)
        await self._update_aliases(wanted, there)

    async def _update(self, wanted: Artifact, found: Artifact) -> None:
        tags = self._tags(wanted)
        changes: dict[str, Json] = {}
        if (clean_text(wanted.description or "") or None) != found.description:
            changes["description"] = clean_text(wanted.description or "")
        if Plain().of(wanted.metadata) != found.metadata:
            changes["metadata"] = self._metadata(wanted) or "{}"
        if wanted.ttl_s != found.ttl_s:
            changes["ttlDurationSeconds"] = INHERIT_TTL if wanted.ttl_s is None else wanted.ttl_s or NO_TTL
        if added := sorted({*tags} - {*found.tags}):
            changes["tagsToAdd"] = _tag_inputs(added)
        if removed := sorted({*found.tags} - {*tags}):
            changes["tagsToDelete"] = _tag_inputs(removed)
        if changes:
            await self._send(documents.UPDATE_ARTIFACT, {"input": {"artifactID": id_of(found), **changes}})

    async def _update_aliases(self, wanted: Sequence[Version], there: Mapping[int, Version]) -> None:
        # If the source was changed while it was read, the later version has the alias.
        owners = {
            alias: version.number
            for version in wanted
            for alias in version.artifact.aliases
            if version.number in there
        }
        for number, found in there.items():
            wanted_here = [alias for alias, owner in owners.items() if owner == number]
            if mine := sorted({*wanted_here} - {*found.artifact.aliases}):
                await self._send(documents.ADD_ALIASES, self._aliases(found, mine))
            if theirs := [alias for alias in found.artifact.aliases if alias not in owners]:
                await self._send(documents.DELETE_ALIASES, self._aliases(found, theirs))

    async def update_collection(self, wanted: Collection, found: Holding) -> None:
        """Make description and tags of the collection what is wanted."""
        there = found.collection
        if (wanted.description or "") != (there.description or ""):
            text = clean_text(wanted.description or "")
            await self._send(documents.UPDATE_COLLECTION, {"id": found.id, "description": text})
        if "ARTIFACT_TAGS" not in self.place.client.features:
            return
        where = {
            "entity": self.place.namespace.entity,
            "project": self.place.namespace.project,
            "name": self.place.name,
        }
        for document, tags in (
            (documents.ADD_COLLECTION_TAGS, sorted({*wanted.tags} - {*there.tags})),
            (documents.DELETE_COLLECTION_TAGS, sorted({*there.tags} - {*wanted.tags})),
        ):
            for start in range(0, len(tags), TAGS_AT_ONCE):
                some = tags[start : start + TAGS_AT_ONCE]
                await self._send(document, {**where, "tags": _tag_inputs(some)})

    def _tags(self, artifact: Artifact) -> list[str]:
        """Those that this server takes."""
        return sorted({*artifact.tags}) if "ARTIFACT_TAGS" in self.place.client.features else []

    def _metadata(self, artifact: Artifact) -> str | None:
        return encode_json(Plain().of(artifact.metadata)) if artifact.metadata else None

    def declare(self, version: Version) -> None:
        """Record what this server will not hold of a version as it is."""
        artifact, subject = version.artifact, f"{self.place.subject}:v{version.number}"
        plain = Plain()
        plain.of(artifact.metadata)
        for kind, count, detail in (
            ("value_coerced", plain.coerced, "metadata values that are not finite became text"),
            ("tag_dropped", len({*artifact.tags}) - len(self._tags(artifact)), _NO_TAGS),
            ("alias_dropped", sum(not names.is_alias(alias) for alias in artifact.aliases), _NO_ALIAS),
        ):
            if count:
                self.place.context.lose(kind, subject, detail, count)

    def _aliases(self, found: Version, aliases: Sequence[str]) -> dict[str, Json]:
        home = {
            "artifactCollectionName": self.place.name,
            "entityName": self.place.namespace.entity,
            "projectName": self.place.namespace.project,
        }
        return {
            "id": id_of(found.artifact),
            "aliases": [{"alias": alias, **home} for alias in aliases],
        }

    async def _send(self, document: str, variables: Mapping[str, Json]) -> None:
        await self.place.client.graphql(document, variables, self.place.subject)


_NO_TAGS: Final = "artifact tags, which this server does not keep"
_NO_ALIAS: Final = "aliases that W&B does not take"


def _tag_inputs(tags: Sequence[str]) -> list[Json]:
    return [{"tagName": tag} for tag in tags]
