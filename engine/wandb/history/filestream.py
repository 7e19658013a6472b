"""The file stream of a run: history, summary and the end of it, in as few requests as the limits allow.

Lines are numbered by the server from the ``offset`` of their request, so that a request that is sent
again writes the same lines. The last lines are kept back for ``finish``, which adds the summary and
the exit code; a small run costs one request in all. Lines that the server is known to have are not sent.
"""

from __future__ import annotations

import logging
import time
from collections.abc import AsyncGenerator, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from urllib.parse import quote

import anyio
import orjson

from engine.errors import EngineError
from engine.records import Json, Namespace
from engine.transfer.context import Context
from engine.transfer.throttling.throttle import Endpoint
from engine.wandb.client import WandbClient
from engine.wandb.history.resume import SentRows
from engine.wandb.history.rows import LINE_LIMIT, Lines

REQUEST_LIMIT = 19 * 512 * 1024
"""Bytes of lines in one request; the server takes about 10 MiB."""

KEEP_BACK = 1024 * 1024
"""At most this many bytes wait for ``finish``, so that many open runs hold little memory."""

HEARTBEAT_S = 30.0
"""As W&B's own client: a server takes a run for crashed after some minutes without a request."""

HISTORY = "wandb-history.jsonl"
SUMMARY = "wandb-summary.json"

logger = logging.getLogger(__name__)


@dataclass(slots=True)
class FileStream:
    """Collects the lines of one run and sends them; one writer at a time."""

    client: WandbClient
    context: Context
    namespace: Namespace
    run_id: str
    subject: str
    sent: SentRows
    beats: bool = True
    """Whether a long silence is broken; not for a run that is not to start."""
    too_long: int = 0
    """Lines that no server would take and that were left out."""
    _lines: list[str] = field(default_factory=list)
    _size: int = 0
    _points: int = 0
    _last_request: float = field(default_factory=time.monotonic)

    async def add(self, rows: Lines) -> None:
        """Take history lines, leave out what the server has, and send what fills a request."""
        for line, points in zip(rows.lines, rows.points, strict=True):
            # Only a line of many characters can be too long in bytes; most need no counting.
            size = len(line) if line.isascii() else len(line.encode("utf-8", "surrogatepass"))
            if size > LINE_LIMIT:
                self._lose(size)
                continue
            if self._size + size > REQUEST_LIMIT:
                await self._send({})
            self._lines.append(line)
            self._size += size
            self._points += points
            if self.sent.rows + len(self._lines) == self.sent.next_check and self.sent.has(self._lines):
                self._forget_lines()

    async def send_other(self, files: Mapping[str, tuple[int, Sequence[str]]]) -> None:
        """Send lines of other files of the stream, at once.

        Args:
            files: by name, the number of the first line and the lines.
        """
        chunks = {name: {"offset": offset, "content": lines} for name, (offset, lines) in files.items()}
        await self._post({"files": chunks})

    async def settle(self) -> None:
        """All lines were added; send them now unless they are few enough to wait for ``finish``."""
        if self._size > KEEP_BACK:
            await self._send({})

    async def finish(
        self,
        *,
        summary: str | None,
        uploaded: Iterable[str],
        exit_code: int | None,
        preempting: bool = False,
    ) -> None:
        """Send what is left, with the summary, and end the run.

        Args:
            uploaded: names of run files that were put, for servers that their object store does not tell.
            exit_code: None leaves the run open, so that another transfer may go on with it.
        """
        rest: dict[str, Json] = {}
        if names := list(uploaded):
            rest["uploaded"] = names
        if preempting:
            rest["preempting"] = True
        if exit_code is not None:
            rest["complete"], rest["exitcode"] = True, exit_code
        if summary is not None and self._size + len(summary) > REQUEST_LIMIT:
            await self._send({})
        if rest or summary is not None or self._lines:
            await self._send(rest, summary=summary, ends=exit_code is not None)

    @asynccontextmanager
    async def kept_alive(self) -> AsyncGenerator[None]:
        """While in the block, an empty request tells the server every ``HEARTBEAT_S`` that the run lives."""
        if not self.beats:
            yield
            return
        failures: list[Exception] = []
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(self._beat)
            try:
                yield
            except Exception as error:  # noqa: BLE001 - raised below, not in a group
                failures.append(error)
            tasks.cancel_scope.cancel()
        if failures:
            raise failures[0]

    async def _send(
        self, rest: Mapping[str, Json], *, summary: str | None = None, ends: bool = False
    ) -> None:
        files: dict[str, Json] = {}
        if self._lines:
            await self.sent.sending(self.subject)
            files[HISTORY] = {"offset": self.sent.rows, "content": self._lines}
        if summary is not None:
            files[SUMMARY] = {"offset": 0, "content": [summary]}
        await self._post({"files": files, **rest} if files else dict(rest))
        if not self._lines:
            return
        self.context.counters.rows += len(self._lines)
        self.context.counters.points += self._points
        self.context.counters.rows_again += max(0, min(len(self._lines), self.sent.held - self.sent.rows))
        # Of a run that has ended nobody asks again how far it came.
        if not ends:
            self.sent.acknowledged(self._lines)
            await self.sent.remember()
        self._forget_lines()

    def _forget_lines(self) -> None:
        self._lines, self._size, self._points = [], 0, 0

    async def _post(self, request: Mapping[str, Json]) -> None:
        body = orjson.dumps(request)
        self._last_request = time.monotonic()
        await self.client.http.request(
            "POST",
            f"{self.client.base_url}/files/{quote(self.namespace.entity, safe='')}"
            f"/{quote(self.namespace.project, safe='')}/{quote(self.run_id, safe='')}/file_stream",
            endpoint=Endpoint.FILESTREAM,
            subject=self.subject,
            headers=await self.client.headers(),
            body=body,
        )

    async def _beat(self) -> None:
        while True:
            due = self._last_request + HEARTBEAT_S - time.monotonic()
            if due > 0:
                await anyio.sleep(due)
                continue
            try:
                await self._post({})
            except EngineError as error:
                # What the run waits for is under way, and fails on its own if the server is gone for good.
                logger.warning("no heartbeat of %s: %s", self.subject, error)

    def _lose(self, size: int) -> None:
        self.too_long += 1
        self.context.lose(
            "row_too_long",
            self.subject,
            f"a history row of {size} bytes was left out; the server takes {LINE_LIMIT}",
        )
