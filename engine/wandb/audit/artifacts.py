"""What W&B holds of an artifact that it was given: the part of the audit on versions and entries."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from typing import Final

from engine.records import Artifact, ArtifactEntry, Json, Link, Namespace, Run, RunRef, Version
from engine.records import Collection as ArtifactCollection
from engine.transfer.context import Context
from engine.verify.values import ANYTHING, Facts
from engine.wandb import names
from engine.wandb.artifact_uris import SCHEME, Reference
from engine.wandb.collections.references import GONE
from engine.wandb.collections.registries import PortfolioPlaces
from engine.wandb.digests import artifact_digest
from engine.wandb.jsontext import Plain, clean_text, without_passwords
from engine.wandb.mapping import PROVENANCE
from engine.wandb.runs.ids import RunIds
from engine.wandb.source import WandbSource

MORE_METADATA: Final = "more_metadata"


class ArtifactAudit:
    """See ``engine.verify.audit.Audit``."""

    _context: Context
    _source: WandbSource
    _targets: Mapping[Namespace, Namespace]
    _ids: RunIds
    _portfolio_places: PortfolioPlaces

    def artifact_name(self, artifact: Artifact) -> tuple[str, str]:
        return names.artifact_type(artifact.type), names.artifact_name(artifact.name)

    def keeps(self, found: Artifact) -> bool:
        return not found.type.startswith("wandb-")

    def origin(self, found: Artifact) -> int | None:
        version = _origin(found).get("version")
        return version if type(version) is int else None

    def expected_artifact(self, artifact: Artifact) -> Facts:
        plain, subject = Plain(), f"artifact {artifact.name}"
        type_, name = self.artifact_name(artifact)
        aliases = {alias for alias in artifact.aliases if names.is_alias(alias)} - {"latest"}
        tags = {tag for tag in artifact.tags if names.is_artifact_tag(tag)}
        if not self._has_tags:
            tags = set()
        for kind, dropped in (
            ("alias_dropped", {*artifact.aliases} - aliases - {"latest"}),
            ("tag_dropped", {*artifact.tags} - tags),
        ):
            if dropped:
                self._context.lose(kind, subject, ", ".join(map(repr, sorted(dropped))), len(dropped))
        origin: dict[str, Json] = {
            "run_id": artifact.run_id,
            "created_at": artifact.created_at,
            "version": artifact.version,
            "name": clean_text(artifact.name) if artifact.name != name else None,
            "type": artifact.type if artifact.type != type_ else None,
            "metadata": artifact.metadata.get(PROVENANCE),
        }
        return {
            ("description",): clean_text(artifact.description or "") or None,
            # Which of several versions is the latest is up to the server; of a single one it is clear.
            ("alias", "latest"): True if artifact.version is None else ANYTHING,
            **{("alias", alias): True for alias in aliases},
            **{("tag", tag): True for tag in tags},
            **{("metadata", k): plain.of(v) for k, v in artifact.metadata.items() if k != PROVENANCE},
            **{(PROVENANCE, key): value for key, value in origin.items() if value is not None},
        }

    def found_artifact(self, artifact: Artifact) -> Facts:
        origin = dict(_origin(artifact))
        more = origin.pop(MORE_METADATA, {})
        own = {key: value for key, value in artifact.metadata.items() if key != PROVENANCE}
        return {
            ("description",): artifact.description,
            **{("alias", alias): True for alias in artifact.aliases},
            **{("tag", tag): True for tag in artifact.tags},
            **{("metadata", key): value for key, value in {**own, **more}.items()},
            **{(PROVENANCE, key): value for key, value in origin.items()},
        }

    # -- by collections --------------------------------------------------------------------------

    @property
    def tells_uses(self) -> bool:
        return self._source.tells_uses

    def collection_here(self, collection: ArtifactCollection, namespace: Namespace) -> ArtifactCollection:
        return ArtifactCollection(
            namespace=namespace,
            name=names.artifact_name(collection.name),
            type=names.artifact_type(collection.type),
        )

    def portfolio_here(self, portfolio: ArtifactCollection, namespace: Namespace) -> ArtifactCollection:
        return ArtifactCollection(
            namespace=namespace, name=names.portfolio_name(portfolio.name), type=portfolio.type
        )

    async def portfolio_place(self, namespace: Namespace) -> Namespace | None:
        return await self._portfolio_places.of(namespace)

    def aliases_here(self, link: Link) -> Sequence[str]:
        return [alias for alias in link.aliases if names.is_alias(alias)]

    def run_here(self, run: RunRef, namespace: Namespace) -> RunRef:
        return RunRef(namespace, self._ids.of(Run(id=run.id, namespace=run.namespace), namespace))

    def expected_collection(self, collection: ArtifactCollection) -> Facts:
        return self.found_collection(replace(collection, type=names.artifact_type(collection.type)))

    def found_collection(self, collection: ArtifactCollection) -> Facts:
        tags = collection.tags if self._has_tags else ()
        return {
            ("type",): collection.type,
            ("description",): clean_text(collection.description or "") or None,
            **{("tag", tag): True for tag in tags},
        }

    def expected_version(self, version: Version) -> Facts:
        artifact, plain, subject = version.artifact, Plain(), f"artifact {version.artifact.name}"
        aliases = [alias for alias in artifact.aliases if names.is_alias(alias)]
        tags = artifact.tags if self._has_tags else ()
        facts: Facts = {
            ("description",): clean_text(artifact.description or "") or None,
            ("ttl",): artifact.ttl_s,
            ("step",): version.step or None,
            **{("alias", alias): True for alias in aliases},
            **{("tag", tag): True for tag in tags},
            **{("metadata", key): plain.of(value) for key, value in artifact.metadata.items()},
        }
        for kind, detail, count in (
            ("value_coerced", "metadata values that are not finite became text", plain.coerced),
            ("tag_dropped", "artifact tags, which this server does not keep", len(artifact.tags) - len(tags)),
            ("alias_dropped", "aliases that W&B does not take", len(artifact.aliases) - len(aliases)),
        ):
            if count:
                self._context.lose(kind, f"{subject}:v{version.number}", detail, count)
        return facts

    def found_version(self, version: Version) -> Facts:
        artifact = version.artifact
        return {
            ("description",): artifact.description,
            ("ttl",): artifact.ttl_s,
            ("step",): version.step or None,
            **{("alias", alias): True for alias in artifact.aliases},
            **{("tag", tag): True for tag in artifact.tags},
            **{("metadata", key): value for key, value in artifact.metadata.items()},
        }

    @property
    def _has_tags(self) -> bool:
        return "ARTIFACT_TAGS" in self._source.features

    # -- entries ---------------------------------------------------------------------------------

    def expected_entry(self, entry: ArtifactEntry, subject: str) -> ArtifactEntry | None:
        path = names.downloadable_path(entry.path)
        if not names.is_safe_path(path):
            return None
        if path != entry.path:
            self._context.lose("path_renamed", subject, f"{entry.path!r} became {path!r}")
        if entry.ref is None:
            return replace(entry, path=path)
        if (version := Reference.of(entry.ref)) is not None:
            return replace(entry, path=path, ref=self._here(version, entry.ref), md5=None)
        ref = without_passwords(entry.ref)
        if ref != entry.ref:
            self._context.lose("password_redacted", subject, f"reference {entry.path!r}")
        return replace(
            entry, path=path, ref=ref, digest=without_passwords(entry.digest or entry.md5 or ref), md5=None
        )

    def _here(self, version: Reference, ref: str) -> str:
        """A reference to a file of another version, as it is read back."""
        target = self._targets.get(version.namespace)
        if target is None:
            return GONE + ref.removeprefix(SCHEME)
        return str(replace(version, namespace=target, name=names.artifact_name(version.name)))

    def refuses(self, path: str, others: Collection[str]) -> bool:
        parents = path.split("/")[:-1]
        return any("/".join(parents[:depth]) in others for depth in range(1, len(parents) + 1))

    def content_digest(self, entries: Mapping[str, str]) -> str | None:
        return artifact_digest(entries.items())


def _origin(found: Artifact) -> Mapping[str, Json]:
    told = found.metadata.get(PROVENANCE)
    return told if isinstance(told, dict) else {}
