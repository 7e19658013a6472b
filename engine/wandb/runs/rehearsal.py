"""What writing one run would take and change, found out with the writer's own mappings but without writing.

What only shows when the points and bytes themselves are read is not foretold: times that are merged because
they share a row, rows and summaries that are too long, values that are not finite in a summary.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import Final

from engine.records import Artifact, ArtifactEntry, HistorySize, Namespace, RunFile
from engine.transfer.throttling.throttle import Endpoint
from engine.wandb.history.filestream import KEEP_BACK, REQUEST_LIMIT
from engine.wandb.history.points import BUFFER_POINTS, POINT_BYTES
from engine.wandb.history.rows import Layout, changes_of, renamed_keys, sequence_reasons
from engine.wandb.mapping import RunMapping
from engine.wandb.names import artifact_name, is_safe_path
from engine.wandb.runs import files
from engine.wandb.versions import artifacts
from engine.wandb.versions import version as versions
from engine.wandb.versions.staging import Staging

VALUE_BYTES: Final = 24
"""A number and its punctuation in a history line."""

ROW_BYTES: Final = 80
"""Step, times and brackets of a line."""


@dataclass(slots=True, kw_only=True)
class WandbRunRehearsal:
    """One run; ``engine.protocols.RunRehearsal``."""

    mapping: RunMapping
    namespace: Namespace
    writer: artifacts.ArtifactWriter
    requests: Counter[str] = field(default_factory=Counter)
    spool: int = 0

    def __post_init__(self) -> None:
        # The run, the URL and the bytes of its metadata, and one request of the file stream.
        self.requests.update({Endpoint.GRAPHQL: 2, Endpoint.OBJECTS: 1, Endpoint.FILESTREAM: 1})
        self.mapping.upsert(self.namespace.entity, self.namespace.project)

    def history(self, size: HistorySize) -> None:
        layout = Layout(names=[], renamed=renamed_keys(size.keys, self.mapping.system))
        layout.reasons = sequence_reasons(
            size.lowest_step or 0, size.highest_step or 0, split=bool(size.repeated)
        )
        if layout.reasons:
            layout.step_column = f"{self.mapping.system}/step"
        changes = list(changes_of(layout, size.points))
        for kind, detail, count in changes:
            self.mapping.lose(kind, detail, count)
        if changes:
            self.requests[Endpoint.GRAPHQL] += 1
        key_bytes = sum(map(len, size.keys)) / max(1, len(size.keys))
        lines = int(size.points * (key_bytes + VALUE_BYTES)) + size.rows * ROW_BYTES
        # What is left when the history ends waits for the summary, unless it is much.
        self.requests[Endpoint.FILESTREAM] += -(-lines // REQUEST_LIMIT) if lines > KEEP_BACK else 0
        if size.points > BUFFER_POINTS:
            self.spool = max(self.spool, size.points * POINT_BYTES)

    async def files(self, files_: AsyncIterator[RunFile]) -> None:
        count = 0
        async for file in files_:
            if is_safe_path(file.path):
                count += 1
            else:
                self.mapping.lose("path_refused", f"file {file.path!r}: it leaves its directory")
        self.requests[Endpoint.OBJECTS] += count
        # The first request also has the metadata.
        self.requests[Endpoint.GRAPHQL] += count // files.BATCH

    async def artifact(self, artifact: Artifact, entries: AsyncIterator[ArtifactEntry]) -> None:
        writer = self.writer
        staging = Staging(
            writer.context,
            writer.uploader.lanes,
            writer.multipart,
            f"artifact {artifact.name}",
            writer.context.spool,
            0,
        )
        count = spooled = 0
        async with aclosing(staging.accepted(entries)) as accepted:
            async for entry in accepted:
                if entry.ref is not None:
                    continue
                count += 1
                spooled += staging.spooled_bytes(entry)
                if part := writer.multipart.part_size(entry.size or 0):
                    self.requests[Endpoint.OBJECTS] += -(-(entry.size or 0) // part) - 1
                    self.requests[Endpoint.GRAPHQL] += 1
        writer.announcement(artifact, artifact_name(artifact.name), self.namespace, self.mapping.id, ())
        # Two manifests, the version and its commit; and URLs of the files.
        self.requests[Endpoint.GRAPHQL] += 4 + -(-count // versions.BATCH)
        self.requests[Endpoint.OBJECTS] += count + 1
        self.spool = max(self.spool, spooled)
