"""One run on both sides: what is said of it, its history, files and artifacts; each part on its own."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final

from engine.errors import AuthError, ConfigError, EngineError, Outage
from engine.fanout import for_each
from engine.protocols import Source
from engine.records import Artifact, ArtifactEntry, Namespace, Run, RunFile
from engine.transfer.context import Context
from engine.verify import examples, orders
from engine.verify.artifacts import Pair, VersionOrder, artifact_root, matched
from engine.verify.audit import Audit
from engine.verify.contents import Contents, inventory
from engine.verify.contents import leaves as content_leaves
from engine.verify.findings import Difference, Findings, Level, NotVerified
from engine.verify.histories import History, differences, differing_keys
from engine.verify.merkle import root_of
from engine.verify.values import Facts, canonical, differing_facts

PARTS: Final = ("run", "history", "files", "artifacts")
"""What a certificate holds a hash of."""

logger = logging.getLogger(__name__)


@dataclass(slots=True, kw_only=True)
class Scope:
    """What is compared with what, and how closely.

    Attributes:
        parts: which of ``history``, ``files`` and ``artifacts`` are looked at.
        order: of the versions of artifacts, over all runs.
    """

    source: Source
    audit: Audit
    context: Context
    level: Level
    parts: frozenset[str]
    findings: Findings
    order: VersionOrder = field(default_factory=VersionOrder)


def subject_of(run: Run) -> str:
    return f"run {run.id}" if not run.name or run.name == run.id else f"run {run.id} ({run.name})"


def is_fatal(error: EngineError) -> bool:
    """Whether nothing further can be read."""
    return isinstance(error, Outage | ConfigError) or (isinstance(error, AuthError) and error.status == 401)


@dataclass(slots=True)
class RunCheck:
    """Compares one run, and hashes what the destination holds of it."""

    scope: Scope
    run: Run
    found: Run
    namespace: Namespace
    roots: dict[str, str] = field(default_factory=dict)

    async def compare(self) -> None:
        """All parts; one that cannot be read is not verified, the others are.

        Raises:
            EngineError: nothing further can be read.
        """
        parts: dict[str, Callable[[], Awaitable[str]]] = {"run": self._facts}
        if self.scope.level is not Level.COUNTS:
            parts["history"] = self._history
        parts |= {"files": self._files, "artifacts": self._artifacts}
        counted = self.scope.audit.counted(self.found) if self.scope.level is Level.COUNTS else {}
        for part, compare in parts.items():
            if part == "run" or part in self.scope.parts:
                try:
                    if part in counted:
                        await self._count(part, counted[part])
                    else:
                        self.roots[part] = await compare()
                except Exception as error:  # noqa: BLE001 - becomes a finding
                    self._unread(part, error)
        self.scope.findings.counts.runs += 1

    def _unread(self, part: str, error: Exception) -> None:
        subject = subject_of(self.run) if part == "run" else f"{part} of {subject_of(self.run)}"
        if isinstance(error, EngineError):
            if is_fatal(error):
                raise error
        else:
            logger.error("unexpected error at %s", subject, exc_info=error)
        reason = str(error) if isinstance(error, EngineError) else f"unexpected {error!r}"
        self.scope.findings.leave_out(NotVerified(subject=subject, reason=reason, run=self.run.id))

    def _differ(self, kind: str, part: str, detail: str, subject: str | None = None) -> None:
        self.scope.findings.differ(
            Difference(
                kind=kind, part=part, subject=subject or subject_of(self.run), detail=detail, run=self.run.id
            )
        )

    def _compare_facts(self, expected: Facts, found: Facts, subject: str | None = None) -> None:
        self.scope.findings.counts.facts += len(expected)
        for kind, part, detail in differing_facts(expected, found):
            self._differ(kind, part, detail, subject)

    # -- the run itself ---------------------------------------------------------------------------

    async def _facts(self) -> str:
        audit = self.scope.audit
        facts = audit.found(self.found)
        self._compare_facts(audit.expected(self.run, self.namespace), facts)
        for loss in audit.told(self.found):
            self.scope.findings.told.record(loss)
        return facts_root(facts)

    # -- history ---------------------------------------------------------------------------------

    async def _history(self) -> str:
        scope = self.scope
        expected, found = History(), History(scope.audit.step_column)
        sides = (
            (expected, scope.source.history(self.run)),
            (found, scope.audit.source.history(self.found)),
        )
        await for_each(sides, lambda side: side[0].take(side[1]), limit=2)
        columns = scope.audit.columns(self.run, expected.points.by_key())
        for key, name in columns.items():
            scope.context.lose("key_renamed", f"run {self.run.id}", f"metric {key!r} became {name!r}")
        told = await self._examples(expected, found, columns)
        for kind, column, detail in differences(expected, found, columns, scope.audit.starts_at(self.run)):
            named = "" if column is None else f"metric {column!r}: "
            example = f" ({told[column]})" if column in told else ""
            self._differ(kind, "history", f"{named}{detail}{example}")
        if expected.rows is None and found.rows is not None and found.rows.renumbered:
            detail = f"rows are numbered; the step is the column {scope.audit.step_column!r}"
            scope.context.lose("steps_resequenced", f"run {self.run.id}", detail, expected.points.points)
            await self._compare_orders(expected, found, columns)
        counts = scope.findings.counts
        counts.keys += len(expected.points.by_key())
        counts.points += expected.points.points
        counts.rows += found.rows.count if found.rows is not None else 0
        return root_of(found.leaves())

    async def _compare_orders(self, expected: History, found: History, columns: Mapping[str, str]) -> None:
        if expected.points.points > orders.MOST_POINTS:
            subject = f"order of the values of one step in the history of {subject_of(self.run)}"
            reason = f"it has more than {orders.MOST_POINTS:,} points"
            self.scope.findings.leave_out(
                NotVerified(subject=subject, reason=reason, run=self.run.id, expected=True)
            )
            return
        source, audit, there = self.scope.source, self.scope.audit, found.points.by_key()
        names = {key: columns.get(key, key) for key in expected.points.by_key()}
        keys = [key for key, digest in expected.points.by_key().items() if there.get(names[key]) == digest]
        mine = await orders.points_by_key(source.history(self.run), keys)
        theirs = await orders.points_by_key(
            audit.source.history(self.found), [names[key] for key in keys], audit.step_column or ""
        )
        for key in keys:
            if not orders.same_order(mine[key], theirs[names[key]]):
                detail = f"metric {names[key]!r}: values of one step are not in the order of their times"
                self._differ("changed", "history", detail)

    async def _examples(
        self, expected: History, found: History, columns: Mapping[str, str]
    ) -> dict[str, str]:
        """The first points that differ, by the name of the key at the destination; read once more."""
        keys = differing_keys(expected, found, columns)[: examples.KEYS]
        if not keys:
            return {}
        source, audit = self.scope.source, self.scope.audit
        names = [columns.get(key, key) for key in keys]
        wanted = await examples.points_of(source.history(self.run), keys, None)
        there = await examples.points_of(audit.source.history(self.found), names, audit.step_column)
        return {
            name: examples.told_points(wanted[key], there[name])
            for key, name in zip(keys, names, strict=True)
            if key in wanted and name in there
        }

    # -- counts ----------------------------------------------------------------------------------

    async def _count(self, part: str, found: int) -> None:
        """Whether there may be as many as there must; servers have some of their own besides."""
        audit, counts = self.scope.audit, self.scope.findings.counts
        if part == "files":
            files = await inventory(self.scope.source.files(self.run), audit.expected_file)
            counts.files += len(files)
            expected = len({*files, *audit.added_files(self.run)})
        else:
            # Versions of the same content may be one there.
            names = {audit.artifact_name(one) async for one in self.scope.source.artifacts(self.run)}
            expected = len(names)
            counts.artifacts += expected
        if found < expected:
            self._differ("missing", part, f"{expected} {part} expected, {found} found")

    # -- files -----------------------------------------------------------------------------------

    async def _files(self) -> str:
        audit = self.scope.audit
        refused: list[RunFile] = []

        def expected_file(file: RunFile) -> RunFile | None:
            kept = audit.expected_file(file)
            if kept is None:
                refused.append(file)
            return kept

        expected = await inventory(self.scope.source.files(self.run), expected_file)
        found = await inventory(audit.source.files(self.found))
        added = set(audit.added_files(self.run)) - expected.keys()
        for path in sorted(added - found.keys()):
            self._differ("missing", "file", f"file {path!r}, which every run has there, is missing")
        theirs = {path: file for path, file in found.items() if path not in added}
        for kind, path, detail in await self._contents().differences(expected, theirs):
            self._differ(kind, "file", f"file {path!r} {detail}")
        if refused:
            self._lose_refused(f"run {self.run.id}", "file", refused)
        self.scope.findings.counts.files += len(expected)
        return root_of(content_leaves(found))

    def _contents(self) -> Contents:
        scope = self.scope
        return Contents(scope.level, (scope.source.read, scope.audit.source.read), scope.findings.counts)

    def _lose_refused(self, subject: str, what: str, refused: Iterable[RunFile | ArtifactEntry]) -> None:
        for blob in refused:
            self.scope.context.lose("path_refused", subject, f"{what} {blob.path!r}")

    # -- artifacts -------------------------------------------------------------------------------

    async def _artifacts(self) -> str:
        audit = self.scope.audit
        expected = [artifact async for artifact in self.scope.source.artifacts(self.run)]
        found = [artifact async for artifact in audit.source.artifacts(self.found) if audit.keeps(artifact)]
        roots: dict[int, str] = {}
        for pair in matched(audit, expected, found):
            entries = None if pair.found is None else await _entries_at(audit, pair.found, self.scope.level)
            await self._artifact(pair, entries)
            if pair.found is not None:
                roots[id(pair.found)] = artifact_root(audit, pair.found, entries)
        return root_of(roots.values())

    async def _artifact(self, pair: Pair, entries: Mapping[str, ArtifactEntry] | None) -> None:
        audit, (expected, found) = self.scope.audit, (pair.expected, pair.found)
        if expected is None:
            if found is not None and not pair.is_superseded:
                detail = f"logged {_named(found)} ({found.type}), which the source does not have"
                self._differ("extra", "artifact", detail)
            return
        type_, name = audit.artifact_name(expected)
        self.scope.findings.counts.artifacts += 1
        if found is None:
            detail = f"artifact {name} ({type_}) is missing, or is not told to be logged by this run"
            self._differ("missing", "artifact", detail)
            return
        subject = f"artifact {_named(found)} of {subject_of(self.run)}"
        origin = audit.origin(found)
        if expected.version is None or origin == expected.version:
            self._compare_facts(audit.expected_artifact(expected), audit.found_artifact(found), subject)
            self.scope.order.add(str(self.namespace), (type_, name), origin, found.version)
        else:
            detail = f"v{expected.version} has the content of v{origin}, which stands for both"
            self.scope.context.lose("version_deduplicated", f"artifact {name}", detail)
        if entries is not None:
            await self._entries(expected, entries, subject)
            self._compare_digest(found, entries, subject)

    async def _entries(self, artifact: Artifact, found: Mapping[str, ArtifactEntry], subject: str) -> None:
        audit, name = self.scope.audit, f"artifact {artifact.name}"
        refused: list[ArtifactEntry] = []

        def expected_entry(entry: ArtifactEntry) -> ArtifactEntry | None:
            kept = audit.expected_entry(entry, name)
            if kept is None:
                refused.append(entry)
            return kept

        expected = await inventory(self.scope.source.entries(artifact), expected_entry)
        hidden = [path for path in expected if path not in found and audit.refuses(path, expected)]
        refused += map(expected.pop, hidden)
        for kind, path, detail in await self._contents().differences(expected, found):
            self._differ(kind, "entry", f"entry {path!r} {detail}", subject)
        self._lose_refused(name, "entry", refused)
        self.scope.findings.counts.entries += len(expected)

    def _compare_digest(self, artifact: Artifact, entries: Mapping[str, ArtifactEntry], subject: str) -> None:
        """The digest of a version must be that of its entries."""
        digests = {path: entry.digest or entry.md5 for path, entry in entries.items()}
        known = {path: digest for path, digest in digests.items() if digest is not None}
        if artifact.digest is None or len(known) < len(digests):
            return
        computed = self.scope.audit.content_digest(known)
        if computed is not None and computed != artifact.digest:
            detail = f"its digest is {artifact.digest}, that of its entries {computed}"
            self._differ("changed", "artifact", detail, subject)


def _named(artifact: Artifact) -> str:
    return artifact.name if artifact.version is None else f"{artifact.name}:v{artifact.version}"


def facts_root(facts: Facts) -> str:
    return root_of(canonical([*fact, value]) for fact, value in facts.items())


async def roots_of(audit: Audit, found: Run, parts: Iterable[str], level: Level) -> dict[str, str]:
    """The hashes of what the destination holds of a run, read without a source to compare with."""
    roots: dict[str, str] = {}
    for part in parts:
        if part == "run":
            roots[part] = facts_root(audit.found(found))
        elif part == "history":
            history = History(audit.step_column)
            await history.take(audit.source.history(found))
            roots[part] = root_of(history.leaves())
        elif part == "files":
            roots[part] = root_of(content_leaves(await inventory(audit.source.files(found))))
        elif part == "artifacts":
            roots[part] = root_of(
                [
                    artifact_root(audit, artifact, await _entries_at(audit, artifact, level))
                    async for artifact in audit.source.artifacts(found)
                    if audit.keeps(artifact)
                ]
            )
    return roots


async def _entries_at(audit: Audit, artifact: Artifact, level: Level) -> dict[str, ArtifactEntry] | None:
    return None if level is Level.COUNTS else await inventory(audit.source.entries(artifact))
