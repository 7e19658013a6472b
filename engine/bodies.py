"""Bodies of requests on their way, and a watch over peers that stop taking them.

aiohttp has timeouts for connecting and for reading, none for a peer that keeps the connection and takes no
more bytes: such an upload would hang for ever.
"""

from __future__ import annotations

import io
import math
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import TypeAlias

import anyio

Body: TypeAlias = bytes | Callable[[], AsyncIterator[bytes]] | None
"""Bytes, or a function that starts the stream anew for each attempt."""

STALL_S = 120.0
"""A peer that takes nothing of a body for so long is given up. What it has to take in that time is at most
one piece of 256 KiB, so that also many uploads at once pass through a thin line."""

ANSWER_S = 60.0
"""And so much longer it may take for the answer, once the last piece was handed over."""

INLINE = 64 * 1024
"""A body up to this size is handed over in one write, which waits for nobody."""


class Sending:
    """One body on its way.

    Attributes:
        data: what to give to aiohttp.
    """

    def __init__(self, body: Body, scope: anyio.CancelScope | None) -> None:
        self.data: AsyncIterator[bytes] | io.BytesIO | bytes | None
        self._scope = scope
        if callable(body):
            self.data = self._watched(body())
        elif body is None or scope is None:
            self.data = body
        else:
            # Bytes would go out in one write, which holds up everything else; a file goes in pieces.
            self.data = _WatchedBytes(body, self)

    def answered(self) -> None:
        """The peer has begun to answer; reading has timeouts of its own."""
        self._expect(math.inf)
        self._scope = None

    def expect_progress(self) -> None:
        """A piece is being handed over: the next one must be wanted within ``STALL_S``."""
        self._expect(anyio.current_time() + STALL_S)

    def expect_answer(self) -> None:
        """The last piece is being handed over."""
        self._expect(anyio.current_time() + STALL_S + ANSWER_S)

    def _expect(self, deadline: float) -> None:
        if self._scope is not None:
            self._scope.deadline = deadline

    async def _watched(self, pieces: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
        async for piece in pieces:
            self.expect_progress()
            yield piece
            # From here on it is the source that may take its time.
            self._expect(math.inf)
        self.expect_answer()


class _WatchedBytes(io.BytesIO):
    """A body in memory that tells when aiohttp wants its next piece."""

    def __init__(self, content: bytes, sending: Sending) -> None:
        super().__init__(content)
        self._sending = sending

    def read(self, size: int | None = -1, /) -> bytes:
        piece = super().read(size)
        if piece:
            self._sending.expect_progress()
        if self.tell() == len(self.getbuffer()):
            self._sending.expect_answer()
        return piece


def sending(body: Body) -> AbstractContextManager[Sending]:
    """Watch a body while it is sent.

    Raises:
        TimeoutError: the peer stopped taking it.
    """
    if not callable(body) and len(body or b"") <= INLINE:
        return nullcontext(Sending(body, None))
    return _within_time(body)


@contextmanager
def _within_time(body: Body) -> Iterator[Sending]:
    with anyio.fail_after(None) as scope:
        yield Sending(body, scope)
