"""The file stream of a run: history, summary and the end of it, in as few requests as the limits allow.

Lines are numbered by the server from the ``offset`` of their request, so that a request that is sent
again writes the same lines. The last lines are kept back for ``finish``, which adds the summary and
the exit code; a small run costs one request in all.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from urllib.parse import quote

import orjson

from engine.records import Json, Namespace
from engine.transfer.context import Context
from engine.transfer.throttle import Endpoint
from engine.wandb.client import WandbClient
from engine.wandb.rows import LINE_LIMIT, Lines

REQUEST_LIMIT = 19 * 512 * 1024
"""Bytes of lines in one request; the server takes about 10 MiB."""

KEEP_BACK = 1024 * 1024
"""At most this many bytes wait for ``finish``, so that many open runs hold little memory."""

HISTORY = "wandb-history.jsonl"
SUMMARY = "wandb-summary.json"


@dataclass(slots=True)
class FileStream:
    """Collects the lines of one run and sends them; one writer at a time."""

    client: WandbClient
    context: Context
    namespace: Namespace
    run_id: str
    subject: str
    too_long: int = 0
    """Lines that no server would take and that were left out."""
    _lines: list[str] = field(default_factory=list)
    _size: int = 0
    _points: int = 0
    _offset: int = 0

    async def add(self, rows: Lines) -> None:
        """Take history lines, and send what fills a request."""
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
            exit_code: None leaves the run open.
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
            await self._send(rest, summary=summary)

    async def _send(self, rest: Mapping[str, Json], *, summary: str | None = None) -> None:
        files: dict[str, Json] = {}
        if self._lines:
            files[HISTORY] = {"offset": self._offset, "content": self._lines}
        if summary is not None:
            files[SUMMARY] = {"offset": 0, "content": [summary]}
        request = {"files": files, **rest} if files else dict(rest)
        body = orjson.dumps(request)
        await self.client.http.request(
            "POST",
            f"{self.client.base_url}/files/{quote(self.namespace.entity, safe='')}"
            f"/{quote(self.namespace.project, safe='')}/{quote(self.run_id, safe='')}/file_stream",
            endpoint=Endpoint.FILESTREAM,
            subject=self.subject,
            headers=await self.client.headers(),
            body=body,
        )
        self._offset += len(self._lines)
        self.context.counters.rows += len(self._lines)
        self.context.counters.points += self._points
        self._lines, self._size, self._points = [], 0, 0

    def _lose(self, size: int) -> None:
        self.too_long += 1
        self.context.lose(
            "row_too_long",
            self.subject,
            f"a history row of {size} bytes was left out; the server takes {LINE_LIMIT}",
        )
