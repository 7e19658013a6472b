"""Damage on the wire: beneath HTTP, where no handler and no client expects it.

An answer is damaged by standing between the server and its socket for the length of one answer; a request by
standing between the parser and whoever reads its body. Both happen in the middle of a body, by bytes.
"""

# ruff: noqa: ARG002 - kinds of damage look at what concerns them

from __future__ import annotations

import asyncio
import re
import socket
import struct
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, TypeAlias, cast

from aiohttp import web
from aiohttp.streams import StreamReader

_LENGTH = re.compile(rb"(?i)(\r\ncontent-length:\s*)(\d+)")
_NO_LINGER = struct.pack("ii", 1, 0)


class GoneError(ConnectionError):
    """The connection was broken on purpose, so that nobody is left to answer."""


def reset(transport: asyncio.Transport | None) -> None:
    """Break a connection so that the peer sees ECONNRESET rather than an end."""
    if transport is None or transport.is_closing():
        return
    sock = transport.get_extra_info("socket")
    if sock is not None:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _NO_LINGER)
    transport.abort()


def flipped(data: bytes, at: int) -> bytes:
    """The same bytes but for one bit."""
    return data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :] if data else data


class Tap:
    """Stands in for the transport of a connection while one answer is sent; kinds of damage derive from it.

    Whatever is not about writing goes to the transport itself.
    """

    def __init__(self, request: web.Request) -> None:
        self._protocol = request.protocol
        assert self._protocol.transport is not None
        self.transport: asyncio.Transport = self._protocol.transport
        self.length = 0
        self._head = bytearray()
        self._in_body = False
        self._at = 0
        self._left = False
        self._protocol.transport = cast("asyncio.Transport", self)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.transport, name)

    def writelines(self, pieces: list[bytes]) -> None:
        self.write(b"".join(pieces))

    def write(self, data: bytes) -> None:
        if self._left:
            self.transport.write(data)
            return
        if self._in_body:
            self._body(bytes(data))
            return
        self._head += data
        end = self._head.find(b"\r\n\r\n") + 4
        if end < 4:
            return
        head, rest = bytes(self._head[:end]), bytes(self._head[end:])
        found = _LENGTH.search(head)
        self.length = int(found[2]) if found else 0
        self._in_body = True
        self.head(head)
        if rest:
            self._body(rest)
        elif not self.length:
            self.leave()

    def _body(self, data: bytes) -> None:
        at, self._at = self._at, self._at + len(data)
        self.body(data, at)
        if self._at >= self.length:
            self.leave()

    def head(self, head: bytes) -> None:
        """The status line and headers, whole."""
        self.transport.write(head)

    def body(self, data: bytes, at: int) -> None:
        """A piece of the body, and where it begins."""
        self.transport.write(data)

    def leave(self) -> None:
        """The answer is over; whatever comes next passes, even if another tap still leads here."""
        self._left = True
        if self._protocol.transport is cast("asyncio.Transport", self):
            self._protocol.transport = self.transport

    @property
    def middle(self) -> int:
        return self.length // 2


class Cut(Tap):
    """Sends half of the body, then breaks the connection: by a reset, or as if all had been said."""

    def __init__(self, request: web.Request, *, by_reset: bool) -> None:
        super().__init__(request)
        self._by_reset = by_reset

    def head(self, head: bytes) -> None:
        if self.length:
            super().head(head)
        else:
            self.transport.write(head[: len(head) // 2])
            self._end()

    def body(self, data: bytes, at: int) -> None:
        if at <= self.middle:
            self.transport.write(data[: self.middle - at])
        if at + len(data) >= self.middle:
            self._end()

    def _end(self) -> None:
        if self._by_reset:
            reset(self.transport)
        else:
            self.transport.close()


class Silence(Tap):
    """Sends nothing: the connection is reset when the answer would begin."""

    def write(self, data: bytes) -> None:
        reset(self.transport)


class Short(Tap):
    """Announces and sends half of the body, so that it looks whole."""

    def head(self, head: bytes) -> None:
        super().head(_LENGTH.sub(rb"\g<1>" + str(self.middle).encode(), head))

    def body(self, data: bytes, at: int) -> None:
        if at < self.middle:
            super().body(data[: self.middle - at], at)


class Corrupted(Tap):
    """Changes one bit in the middle of the body."""

    def body(self, data: bytes, at: int) -> None:
        if at <= self.middle < at + len(data):
            data = flipped(data, self.middle - at)
        super().body(data, at)


class Held(Tap):
    """Sends half of the body, and the rest only after a while."""

    def __init__(self, request: web.Request, seconds: float) -> None:
        super().__init__(request)
        self._seconds = seconds
        self._kept: list[bytes] | None = None
        self._closing = False

    def head(self, head: bytes) -> None:
        if self.length:
            super().head(head)
        else:
            self._keep(head)

    def body(self, data: bytes, at: int) -> None:
        if self._kept is None and at + len(data) <= self.middle:
            super().body(data, at)
            return
        sent = max(0, self.middle - at)
        self.transport.write(data[:sent])
        self._keep(data[sent:])

    def _keep(self, data: bytes) -> None:
        if self._kept is None:
            self._kept = []
            asyncio.get_running_loop().call_later(self._seconds, self._release)
        self._kept.append(data)

    def leave(self) -> None:
        if self._kept is None:
            super().leave()

    def close(self) -> None:
        if self._kept is None:
            self.transport.close()
        self._closing = True

    def _release(self) -> None:
        kept, self._kept = self._kept or [], None
        if not self.transport.is_closing():
            self.transport.write(b"".join(kept))
        if self._closing:
            self.transport.close()
        super().leave()


Harm: TypeAlias = Callable[[bytes, int], Awaitable[bytes]]
"""Gets the piece that holds the middle of a request's body, and where in it that is."""


async def harm_body(request: web.Request, harm: Harm) -> None:
    """Let ``harm`` happen when whoever handles the request reads the middle of its body."""
    if request._read_bytes is not None:
        request._read_bytes = await harm(request._read_bytes, len(request._read_bytes) // 2)
    else:
        # Not `request.content`, which remembers what it was first.
        body = _Body(request._payload, (request.content_length or 0) // 2, harm)
        request._payload = cast("StreamReader", body)


class _Body:
    """A request's body with something in its middle."""

    def __init__(self, content: StreamReader, middle: int, harm: Harm) -> None:
        self._content = content
        self._middle = middle
        self._harm = harm
        self._at = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._content, name)

    async def readany(self) -> bytes:
        piece = await self._content.readany()
        at, self._at = self._at, self._at + len(piece)
        if at <= self._middle < self._at:
            return await self._harm(piece, self._middle - at)
        return piece

    async def iter_any(self) -> AsyncIterator[bytes]:
        while piece := await self.readany():
            yield piece
