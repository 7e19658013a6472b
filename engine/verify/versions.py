"""What two artifact versions hold: their entries, and whether a digest is that of the entries."""

from __future__ import annotations

from collections.abc import Mapping

from engine.records import Artifact, ArtifactEntry
from engine.verify.audit import Audit
from engine.verify.contents import Contents, inventory
from engine.verify.findings import Level
from engine.verify.scope import Scope


def version_name(artifact: Artifact) -> str:
    return artifact.name if artifact.version is None else f"{artifact.name}:v{artifact.version}"


async def entries_at(audit: Audit, artifact: Artifact, level: Level) -> dict[str, ArtifactEntry] | None:
    """What the destination has in a version; None if that is not looked at."""
    return None if level is Level.COUNTS else await inventory(audit.source.entries(artifact))


def contents_of(scope: Scope) -> Contents:
    """What compares files of both sides."""
    return Contents(scope.level, (scope.source.read, scope.audit.source.read), scope.findings.counts)


async def compare_versions(
    scope: Scope,
    expected: Artifact,
    found: Artifact,
    entries: Mapping[str, ArtifactEntry],
    subject: str,
    run: str | None = None,
) -> None:
    """Tell of each entry that is not as expected.

    Args:
        entries: of ``found``.
    """
    audit, name = scope.audit, f"artifact {expected.name}"
    refused: list[ArtifactEntry] = []

    def expected_entry(entry: ArtifactEntry) -> ArtifactEntry | None:
        kept = audit.expected_entry(entry, name)
        if kept is None:
            refused.append(entry)
        return kept

    wanted = await inventory(scope.source.entries(expected), expected_entry)
    hidden = [path for path in wanted if path not in entries and audit.refuses(path, wanted)]
    refused += map(wanted.pop, hidden)
    for kind, path, detail in await contents_of(scope).differences(wanted, entries):
        scope.differ(kind, "entry", f"entry {path!r} {detail}", subject, run)
    scope.lose_refused(name, "entry", refused)
    scope.findings.counts.entries += len(wanted)
    _compare_digest(scope, found, entries, subject, run)


def _compare_digest(
    scope: Scope, artifact: Artifact, entries: Mapping[str, ArtifactEntry], subject: str, run: str | None
) -> None:
    """The digest of a version must be that of its entries."""
    digests = {path: entry.digest or entry.md5 for path, entry in entries.items()}
    known = {path: digest for path, digest in digests.items() if digest is not None}
    if artifact.digest is None or len(known) < len(digests):
        return
    computed = scope.audit.content_digest(known)
    if computed is not None and computed != artifact.digest:
        detail = f"its digest is {artifact.digest}, that of its entries {computed}"
        scope.differ("changed", "artifact", detail, subject, run)
