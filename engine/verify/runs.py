"""One run on both sides: what is said of it, its history, logs, files and artifacts; each part on its own."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable, Mapping
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import Final

from engine.fanout import for_each
from engine.protocols import LogSource
from engine.records import ArtifactEntry, HistoryChunk, Namespace, Run, RunFile
from engine.transfer.open_runs import subject_of
from engine.verify import examples, logs, orders
from engine.verify.artifacts import Pair, artifact_root, matched
from engine.verify.audit import Audit
from engine.verify.contents import inventory
from engine.verify.contents import leaves as content_leaves
from engine.verify.findings import Level
from engine.verify.histories import History, differences, differing_keys
from engine.verify.merkle import facts_root, root_of
from engine.verify.scope import Scope
from engine.verify.versions import compare_versions, contents_of, entries_at, version_name

PARTS: Final = ("run", "history", "logs", "files", "artifacts")
"""What a certificate holds a hash of."""


@dataclass(slots=True)
class RunCheck:
    """Compares one run, and hashes what the destination holds of it."""

    scope: Scope
    run: Run
    found: Run
    namespace: Namespace
    roots: dict[str, str] = field(default_factory=dict)
    _is_altered: bool = False
    """Whether the destination must have another history than the source."""

    async def compare(self) -> None:
        """All parts; one that cannot be read is not verified, the others are.

        Raises:
            EngineError: nothing further can be read.
        """
        counted = self.scope.audit.counted(self.found) if self.scope.level is Level.COUNTS else {}
        for part, compare in self._parts().items():
            try:
                if part in counted:
                    await self._count(part, counted[part])
                elif (root := await compare()) is not None:
                    self.roots[part] = root
            except Exception as error:  # noqa: BLE001 - becomes a finding
                subject = subject_of(self.run) if part == "run" else f"{part} of {subject_of(self.run)}"
                self.scope.unread(subject, error, self.run.id)
        self.scope.findings.counts.runs += 1

    def _parts(self) -> dict[str, Callable[[], Awaitable[str | None]]]:
        """Those that are looked at; each gives its hash, if it has one."""
        scope = self.scope
        parts: dict[str, Callable[[], Awaitable[str | None]]] = {"run": self._facts}
        if "history" in scope.parts and scope.level is not Level.COUNTS:
            parts["history"] = self._history
            if isinstance(scope.source, LogSource) and isinstance(scope.audit.source, LogSource):
                parts["logs"] = self._logs
        if "files" in scope.parts:
            parts["files"] = self._files
        if "artifacts" in scope.parts and scope.artifacts_of is not None:
            parts["artifacts"] = self._artifacts
        return parts

    def _differ(self, kind: str, part: str, detail: str) -> None:
        self.scope.differ(kind, part, detail, subject_of(self.run), self.run.id)

    # -- the run itself ---------------------------------------------------------------------------

    async def _facts(self) -> str:
        audit = self.scope.audit
        facts = audit.found(self.found)
        expected = audit.expected(self.run, self.namespace)
        self.scope.compare_facts(expected, facts, subject_of(self.run), self.run.id)
        for loss in audit.told(self.found):
            self.scope.findings.told.record(loss)
        return facts_root(facts)

    # -- history ---------------------------------------------------------------------------------

    async def _history(self) -> str:
        scope = self.scope
        expected, found = History(), History(scope.audit.step_column)
        sides = (
            (expected, self._expected_chunks()),
            (found, scope.audit.source.history(self.found)),
        )
        await for_each(sides, lambda side: side[0].take(side[1]), limit=2)
        columns = scope.audit.columns(self.run, expected.points.by_key())
        if self._is_altered and differing_keys(expected, found, columns):
            as_it_was = History()
            await as_it_was.take(scope.source.history(self.run))
            if not differing_keys(as_it_was, found, columns):
                expected = as_it_was
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

    async def _expected_chunks(self) -> AsyncGenerator[HistoryChunk]:
        """The history of the source as it must be found."""
        async with aclosing(self.scope.source.history(self.run)) as chunks:
            async for chunk in chunks:
                expected = self.scope.audit.expected_chunk(chunk, self.namespace)
                self._is_altered = self._is_altered or expected is not chunk
                yield expected

    async def _compare_orders(self, expected: History, found: History, columns: Mapping[str, str]) -> None:
        if expected.points.points > orders.MOST_POINTS:
            subject = f"order of the values of one step in the history of {subject_of(self.run)}"
            reason = f"it has more than {orders.MOST_POINTS:,} points"
            self.scope.leave_out(subject, reason, self.run.id, expected=True)
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
        audit = self.scope.audit
        names = [columns.get(key, key) for key in keys]
        wanted = await examples.points_of(self._expected_chunks(), keys, None)
        there = await examples.points_of(audit.source.history(self.found), names, audit.step_column)
        return {
            name: examples.told_points(wanted[key], there[name])
            for key, name in zip(keys, names, strict=True)
            if key in wanted and name in there
        }

    # -- logs ------------------------------------------------------------------------------------

    async def _logs(self) -> str:
        source, audit, subject = self.scope.source, self.scope.audit, f"run {self.run.id}"
        assert isinstance(source, LogSource)
        assert isinstance(audit.source, LogSource)
        metrics, console = logs.Comparison(), logs.Comparison()
        await metrics.take(
            logs.metric_lines(source.system_metrics(self.run)),
            logs.metric_lines(audit.source.system_metrics(self.found)),
        )
        await console.take(
            logs.console_lines(source.console(self.run), lambda line: audit.expected_line(line, subject)),
            logs.console_lines(audit.source.console(self.found)),
        )
        for part, compared in ((logs.METRICS, metrics), (logs.CONSOLE, console)):
            for kind, detail in compared.differences():
                self._differ(kind, part, f"{part}: {detail}")
            self.scope.findings.counts.lines += compared.expected.count
        return logs.logs_root(metrics.found, console.found)

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
            assert self.scope.artifacts_of is not None
            names = {audit.artifact_name(one) async for one in self.scope.artifacts_of(self.run)}
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
        for kind, path, detail in await contents_of(self.scope).differences(expected, theirs):
            self._differ(kind, "file", f"file {path!r} {detail}")
        if refused:
            self.scope.lose_refused(f"run {self.run.id}", "file", refused)
        self.scope.findings.counts.files += len(expected)
        return root_of(content_leaves(found))

    # -- artifacts -------------------------------------------------------------------------------

    async def _artifacts(self) -> str | None:
        audit, scope = self.scope.audit, self.scope
        assert scope.artifacts_of is not None
        expected = [artifact async for artifact in scope.artifacts_of(self.run)]
        if scope.by_collection and not expected:
            return None
        found = [artifact async for artifact in audit.source.artifacts(self.found) if audit.keeps(artifact)]
        roots: dict[int, str] = {}
        for pair in matched(audit, expected, found):
            if pair.expected is None and scope.by_collection:
                continue  # it is in a collection
            entries = None if pair.found is None else await entries_at(audit, pair.found, self.scope.level)
            await self._artifact(pair, entries)
            if pair.found is not None:
                roots[id(pair.found)] = artifact_root(audit, pair.found, entries)
        # Without collections to go by, nobody could tell later which of the versions there were meant.
        return None if scope.by_collection else root_of(roots.values())

    async def _artifact(self, pair: Pair, entries: Mapping[str, ArtifactEntry] | None) -> None:
        audit, (expected, found) = self.scope.audit, (pair.expected, pair.found)
        if expected is None:
            if found is not None and not pair.is_superseded:
                detail = f"logged {version_name(found)} ({found.type}), which the source does not have"
                self._differ("extra", "artifact", detail)
            return
        type_, name = audit.artifact_name(expected)
        self.scope.findings.counts.artifacts += 1
        if found is None:
            detail = f"artifact {name} ({type_}) is missing, or is not told to be logged by this run"
            self._differ("missing", "artifact", detail)
            return
        subject = f"artifact {version_name(found)} of {subject_of(self.run)}"
        origin = audit.origin(found)
        if expected.version is None or origin == expected.version:
            facts = audit.expected_artifact(expected), audit.found_artifact(found)
            self.scope.compare_facts(*facts, subject, self.run.id)
            self.scope.order.add(str(self.namespace), (type_, name), origin, found.version)
        else:
            detail = f"v{expected.version} has the content of v{origin}, which stands for both"
            self.scope.context.lose("version_deduplicated", f"artifact {name}", detail)
        if entries is not None:
            await compare_versions(self.scope, expected, found, entries, subject, self.run.id)


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
        elif part == "logs" and isinstance(audit.source, LogSource):
            roots[part] = await logs.root_of_logs(audit.source, found)
        elif part == "files":
            roots[part] = root_of(content_leaves(await inventory(audit.source.files(found))))
        elif part == "artifacts":
            roots[part] = root_of(
                [
                    artifact_root(audit, artifact, await entries_at(audit, artifact, level))
                    async for artifact in audit.source.artifacts(found)
                    if audit.keeps(artifact)
                ]
            )
    return roots
