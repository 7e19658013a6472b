"""A W&B server of which only some parts are read."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Iterator
from contextlib import aclosing
from dataclasses import astuple, dataclass, replace

from engine.fingerprints import fingerprint
from engine.protocols import SystemOptions, Unreadable
from engine.records import (
    Collection,
    ConsoleLines,
    HistoryChunk,
    HistoryRows,
    Project,
    Run,
    RunFile,
    Selection,
)
from engine.reports import View
from engine.wandb.source import WandbSource


@dataclass(frozen=True, slots=True, kw_only=True)
class Parts:
    """Which parts of runs are wanted, in the words of W&B's importer.

    Attributes:
        metadata: ``wandb-metadata.json``. Without it, the destination's has what the run itself tells.
        files: all files that belong to none of the others.
        media: files below ``media/``.
        code: files below ``code/``, and ``diff.patch``.
        history: the history and the system metrics.
        terminal_output: the lines of the console, and ``output.log``.
    """

    metadata: bool = True
    files: bool = True
    media: bool = True
    code: bool = True
    history: bool = True
    summary: bool = True
    terminal_output: bool = True

    @property
    def complete(self) -> bool:
        return all(astuple(self))

    def takes_file(self, path: str) -> bool:
        if path == "wandb-metadata.json":
            return self.metadata
        if path.startswith("media/"):
            return self.media
        if path.startswith("code/") or path == "diff.patch":
            return self.code
        if path.endswith("output.log"):
            return self.terminal_output
        return self.files


class PartialSource(WandbSource):
    """Only some of what there is. A ledger holds a part of a run for another run than the whole one.

    Args:
        parts: of runs.
        types: of artifacts; None means all.
        tokens: each collection and each view takes one; there is no more when none is left. Sources may share
            them.
    """

    def __init__(
        self,
        rest: str,
        options: SystemOptions,
        parts: Parts,
        types: frozenset[str] | None,
        tokens: Iterator[int],
    ) -> None:
        super().__init__(rest, options)
        self._parts = parts
        self._types = types
        self._tokens = tokens

    async def runs(self, project: Project, selection: Selection) -> AsyncGenerator[Run | Unreadable]:
        async with aclosing(super().runs(project, selection)) as runs:
            async for run in runs:
                yield run if isinstance(run, Unreadable) or self._parts.complete else self._part_of(run)

    def _part_of(self, run: Run) -> Run:
        return replace(
            run,
            summary=run.summary if self._parts.summary else {},
            fingerprint=run.fingerprint and fingerprint(run.fingerprint, self._parts),
        )

    async def collections(self, project: Project) -> AsyncGenerator[Collection]:
        async with aclosing(super().collections(project)) as collections:
            async for collection in collections:
                if self._types is not None and collection.type not in self._types:
                    continue
                if next(self._tokens, None) is None:
                    return
                yield collection

    async def views(self, project: Project) -> AsyncGenerator[View]:
        async with aclosing(super().views(project)) as views:
            async for view in views:
                if next(self._tokens, None) is None:
                    return
                yield view

    async def history(self, run: Run) -> AsyncGenerator[HistoryChunk]:
        if self._parts.history:
            async with aclosing(super().history(run)) as chunks:
                async for chunk in chunks:
                    yield chunk

    async def system_metrics(self, run: Run) -> AsyncGenerator[HistoryRows]:
        if self._parts.history:
            async with aclosing(super().system_metrics(run)) as chunks:
                async for chunk in chunks:
                    yield chunk

    async def console(self, run: Run) -> AsyncGenerator[ConsoleLines]:
        if self._parts.terminal_output:
            async with aclosing(super().console(run)) as lines:
                async for part in lines:
                    yield part

    async def files(self, run: Run) -> AsyncGenerator[RunFile]:
        async with aclosing(super().files(run)) as files:
            async for file in files:
                if self._parts.takes_file(file.path):
                    yield file
