"""One run being written.

A run without files costs four requests: ``upsertBucket``, the URL and the PUT of ``wandb-metadata.json``
(where W&B's pages and ``run.metadata`` look for host, git and the original start), and one POST of the
file stream. A fifth, a second ``upsertBucket``, only if its history has something to declare.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from dataclasses import asdict, dataclass, field
from functools import partial
from typing import Any, TypeVar

import anyio.to_thread

from engine.errors import Conflict, Transient, Unsupported
from engine.protocols import Reader
from engine.records import (
    Artifact,
    ArtifactEntry,
    ConsoleLines,
    HistoryChunk,
    HistoryRows,
    Json,
    MetricPoints,
    Namespace,
    Receipt,
    RunFile,
)
from engine.transfer.context import Context
from engine.transfer.ledger.memos import RunMemos
from engine.transfer.throttling.retry import retrying
from engine.wandb import documents
from engine.wandb.client import WandbClient
from engine.wandb.history.filestream import FileStream
from engine.wandb.history.points import PointStore
from engine.wandb.history.resume import SentRows
from engine.wandb.history.rows import (
    LINE_LIMIT,
    MERGED_MS,
    LastRow,
    Layout,
    Lines,
    RowEncoder,
    RowSequence,
    changes_of,
    encode_row,
    layout_of,
    step_metric_definitions,
)
from engine.wandb.jsontext import encode_json
from engine.wandb.mapping import RunMapping
from engine.wandb.runs.files import FileUploads
from engine.wandb.runs.ids import Openings
from engine.wandb.runs.logs import LogStream
from engine.wandb.uploads.spool import when_there_is_room
from engine.wandb.versions.artifacts import ArtifactWriter

INLINE_POINTS = 16 * 1024
"""Histories up to this many points are encoded in the event loop, larger ones in a thread."""

T = TypeVar("T")


async def open_run(
    client: WandbClient,
    context: Context,
    namespace: Namespace,
    mapping: RunMapping,
    artifacts: ArtifactWriter,
    openings: Openings,
) -> WandbRunWriter:
    """Create the run, or adopt the one that an earlier attempt made.

    Raises:
        Conflict: its id is taken, or was once deleted, so that the server never takes it again.
    """
    bucket, placed = await openings.settle(mapping, namespace, partial(_upsert, client, namespace, mapping))
    memos = context.memos.of(mapping.run, namespace)
    return WandbRunWriter(
        storage_id=bucket["id"],
        client=client,
        context=context,
        namespace=placed,
        mapping=mapping,
        artifacts=artifacts,
        memos=memos,
        # Anything sent to a run that was only announced would start it.
        stream=FileStream(
            client,
            context,
            placed,
            mapping.id,
            mapping.subject,
            sent=await SentRows.recall(memos, bucket["id"], bucket["historyLineCount"] or 0),
            beats=mapping.ending.upsert_state is None,
        ),
        files=FileUploads(
            artifacts.uploader,
            context,
            placed,
            mapping.id,
            mapping.subject,
            encode_json(mapping.environment()).encode(),
        ),
        declared=mapping.losses(),
    )


async def _upsert(client: WandbClient, namespace: Namespace, mapping: RunMapping) -> tuple[Json, Namespace]:
    """The run as the server has it, and where it put it."""

    async def attempt() -> Json:
        try:
            return await client.graphql(
                documents.UPSERT_RUN,
                mapping.upsert(namespace.entity, namespace.project),
                mapping.subject,
                retry=False,
            )
        except Conflict as error:
            if error.remedy is not None:  # a deleted id, as `classify` found
                raise
            # Every other 409 of this mutation passes (``core/internal/clients/retry_policy.go``).
            raise Transient(error.message, side=error.side, subject=error.subject, exc=error) from error

    bucket = (await retrying(attempt))["upsertBucket"]["bucket"]
    # The server's spelling counts from here on.
    project = bucket["project"]
    return bucket, Namespace(project["entity"]["name"], project["name"])


@dataclass(slots=True, kw_only=True)
class WandbRunWriter:
    """A ``RunWriter``. The last lines of a history travel with ``finish``; ``write_history`` counts them."""

    storage_id: str
    client: WandbClient
    context: Context
    namespace: Namespace
    mapping: RunMapping
    artifacts: ArtifactWriter
    memos: RunMemos
    stream: FileStream
    files: FileUploads
    declared: list[dict[str, Json]]
    last: LastRow = field(default_factory=LastRow)
    latest: dict[str, Json] = field(default_factory=dict)
    renamed: dict[str, str] = field(default_factory=dict)
    history_losses: list[tuple[str, str, int]] = field(default_factory=list)

    def resume(self, part: str, note: Json) -> None:
        if part == "files":
            # What every run has went with the files of the source, or was among them.
            self.files.resume()
            return
        self.last, self.latest, self.renamed = LastRow(**note["last"]), note["latest"], note["renamed"]
        self.mapping.history, self.mapping.metric_definitions = note["history"], note["definitions"]
        for kind, detail, count in note["losses"]:
            self._lose(kind, detail, count)

    def _history_note(self) -> Json:
        """What ``finish`` needs of a history besides its rows."""
        return {
            "last": asdict(self.last),
            # A summary of the run's own comes in its place.
            "latest": self.latest if self.mapping.run.summary is None else {},
            "renamed": self.renamed,
            "history": self.mapping.history,
            "definitions": self.mapping.metric_definitions,
            "losses": self.history_losses,
        }

    def _lose(self, kind: str, detail: str, count: int = 1) -> None:
        """Record a loss of the history, to be told again if the history is not."""
        self.history_losses.append((kind, detail, count))
        self.mapping.lose(kind, detail, count)

    async def write_history(self, chunks: AsyncIterator[HistoryChunk]) -> Receipt:
        sequence = self.mapping.row_sequence()
        points = rows = 0
        with PointStore(self.context.spool) as store:
            async for chunk in chunks:
                match chunk:
                    case MetricPoints():
                        store.add(chunk.batch)
                        if store.is_full:
                            await when_there_is_room(self.context, store.spill)
                    case HistoryRows():
                        lines = [sequence.line(row) for row in chunk.rows]
                        rows += len(lines)
                        points += sum(values for _, values in lines)
                        await self.stream.add(Lines([text for text, _ in lines], [n for _, n in lines]))
            if store.count and rows:
                raise Unsupported("a history came both as points and as rows", subject=self.mapping.subject)
            if store.count:
                points, rows = store.count, await self._write_points(store)
            elif rows:
                self._ended_rows(sequence)
        await self.stream.settle()
        return Receipt(items=1, points=points, rows=rows, note=self._history_note())

    async def _write_points(self, store: PointStore) -> int:
        in_thread = store.count > INLINE_POINTS
        layout = await _call(in_thread, layout_of, store, self.mapping.system)
        encoder = RowEncoder(store, layout, self.mapping.run.started_at)
        windows, rows = encoder.lines(), 0
        while (lines := await _call(in_thread, next, windows, None)) is not None:
            rows += len(lines.lines)
            await self.stream.add(lines)
        self.last, self.latest, self.renamed = encoder.last, dict(encoder.latest()), dict(layout.renamed)
        self._declare(layout, store.count, encoder.merged_points)
        return rows

    def _declare(self, layout: Layout, points: int, merged: int) -> None:
        mapping = self.mapping
        for change in changes_of(layout, points):
            self._lose(*change)
        if layout.step_column is not None:
            mapping.history = {
                "mode": "sequence",
                "step_column": layout.step_column,
                "reasons": list(layout.reasons),
            }
            mapping.metric_definitions = step_metric_definitions(layout.step_column)
        if merged:
            self._lose(
                "timestamp_merged",
                f"points more than {MERGED_MS} ms before the latest one of their step have its time",
                merged,
            )

    def _ended_rows(self, sequence: RowSequence) -> None:
        self.last, self.latest = sequence.last, sequence.latest
        if sequence.resequenced:
            self._lose(
                "steps_resequenced",
                f"rows whose _step did not increase; it is kept in {sequence.step_column!r}",
                sequence.resequenced,
            )

    async def write_logs(
        self, metrics: AsyncIterator[HistoryRows], console: AsyncIterator[ConsoleLines]
    ) -> None:
        # Anything sent to a run that was only announced would start it.
        if self.mapping.ending.upsert_state is None:
            structured = "STRUCTURED_CONSOLE_LOGS" in self.client.features
            await LogStream(self.stream, self.mapping, structured=structured).send(metrics, console)

    async def write_files(self, files: AsyncIterator[RunFile], read: Reader) -> Receipt:
        async with self.stream.kept_alive():
            return await self.files.write(files, read)

    async def write_artifact(
        self, artifact: Artifact, entries: AsyncIterator[ArtifactEntry], read: Reader
    ) -> Receipt:
        async with self.stream.kept_alive():
            return await self.artifacts.write(
                artifact, entries, read, self.namespace, self.mapping.id, self.memos
            )

    async def finish(self, *, complete: bool = True) -> Receipt:
        summary = self._summary() if complete else None
        if self.mapping.losses() != self.declared:
            await _upsert(self.client, self.namespace, self.mapping)
        self.context.losses.forget_run(self.mapping.subject)
        ending = self.mapping.ending
        if complete:
            await self.files.complete()
        # Anything sent to a run that was only announced would start it.
        announced = ending.upsert_state is not None and summary is None
        await self.stream.finish(
            summary=summary,
            uploaded=() if announced else self.files.uploaded,
            exit_code=ending.exit_code if complete else None,
            preempting=ending.preempting and complete,
        )
        if complete and ending.upsert_state is not None and not announced:
            await self._announce_again(ending.upsert_state)
        return Receipt(items=1)

    async def _announce_again(self, state: str) -> None:
        try:
            await self.client.graphql(
                documents.UPDATE_RUN_STATE, {"id": self.storage_id, "state": state}, self.mapping.subject
            )
        except Unsupported:
            self.mapping.lose("state_not_representable", f"this server cannot set a run back to {state}")

    def _summary(self) -> str | None:
        """The summary line; None if there is nothing to sum up, so that an announced run stays announced."""
        own = self.mapping.own_summary()
        values = self.latest if own is None else {self.renamed.get(key, key): own[key] for key in own}
        if self.mapping.ending.upsert_state is not None and not values and self.last.step < 0:
            return None
        internal = self.mapping.internal_summary(self.last)
        if not internal and not values:
            return None
        line = encode_row({**internal, **values})
        if len(line) > LINE_LIMIT:
            self.mapping.lose("summary_too_long", f"{len(line)} bytes; the server takes {LINE_LIMIT}")
            return None
        return line


async def _call(in_thread: bool, function: Callable[..., T], *arguments: Any) -> T:
    return await anyio.to_thread.run_sync(function, *arguments) if in_thread else function(*arguments)
