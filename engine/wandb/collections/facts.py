"""What is said of the versions of a collection, brought to what the source says now."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from engine.records import Artifact, Collection, Json, Version
from engine.wandb import documents, names
from engine.wandb.collections.labels import Labels, Member, tag_inputs
from engine.wandb.collections.place import Place
from engine.wandb.jsontext import Plain, clean_text, encode_json
from engine.wandb.reading.artifacts import id_of
from engine.wandb.reading.collections import Holding

INHERIT_TTL, NO_TTL = -1, -2

JOB: Final = "job"
"""The type of what ``wandb launch`` starts (``wandb/sdk/internal/job_builder.py``)."""


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
            "tags": tag_inputs(self._tags(artifact)),
        }
        return {name: value for name, value in told.items() if value not in (None, [])}

    async def update_versions(self, wanted: Sequence[Version], there: Mapping[int, Version]) -> None:
        """Make everything said of these versions, as far as they are there, what is wanted."""
        for version in wanted:
            if (found := there.get(version.number)) is not None:
                await self._update(version.artifact, found.artifact)
        # If the source was changed while it was read, the later version has the alias.
        owners: dict[str, Hashable] = {
            alias: version.number
            for version in wanted
            for alias in version.artifact.aliases
            if version.number in there
        }
        members: dict[Hashable, Member] = {
            number: Member(id_of(found.artifact), found.artifact.aliases) for number, found in there.items()
        }
        await self._labels.move_aliases(owners, members)

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
            changes["tagsToAdd"] = tag_inputs(added)
        if removed := sorted({*found.tags} - {*tags}):
            changes["tagsToDelete"] = tag_inputs(removed)
        if changes:
            variables = {"input": {"artifactID": id_of(found), **changes}}
            await self.place.client.graphql(documents.UPDATE_ARTIFACT, variables, self.place.subject)

    async def update_collection(self, wanted: Collection, found: Holding) -> None:
        """Make description and tags of the collection what is wanted."""
        await self._labels.describe(wanted, found.collection, found.kind)

    @property
    def _labels(self) -> Labels:
        place = self.place
        return Labels(place.client, place.namespace, place.name, place.subject)

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
            ("job_source_kept", artifact.type == JOB, _JOB_SOURCE),
        ):
            if count:
                self.place.context.lose(kind, subject, detail, count)


_NO_TAGS: Final = "artifact tags, which this server does not keep"
_NO_ALIAS: Final = "aliases that W&B does not take"
_JOB_SOURCE: Final = (
    "wandb-job.json is carried as it is: if its code is an artifact, it has the source's id of that"
)
