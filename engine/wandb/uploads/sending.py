"""Many objects to upload: URLs in large batches a little ahead of the bytes, small and large side by side.

    small ─▶ URLs, up to 1,000 a request ─▶ groups ─▶ read together, sent one by one from memory
    large ─▶ URLs, up to 1 GiB a request ──────────▶ streamed, the largest first

URLs expire, so that at most about two batches are signed and not yet used; for one that was refused all the
same, a new one is asked for.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from functools import partial
from typing import Generic, Protocol, TypeAlias, TypeVar

from engine.errors import AuthError, CommError, Conflict, NotFound
from engine.fanout import for_each
from engine.wandb.uploads.lanes import Lane, Lanes
from engine.wandb.uploads.payloads import SMALL, InMemory, OnDisk, Payload, each_read, read_file

FIRST_BATCH = 100
"""Few URLs at first, so that bytes begin to flow at once."""

BATCH_BYTES = 1024 * 1024 * 1024
GROUP = 32
"""Small objects that one worker reads in one go, and for which it takes a slot once."""

AHEAD = 32
"""Groups that have their URLs before anybody has time for them."""

SIGNINGS = 4
"""URLs that are asked for each object at most."""

MOST_REFUSED = 1_000
"""URLs that may be refused before it is no longer a matter of asking anew."""

REFUSALS = (AuthError, NotFound, Conflict, CommError)
"""Errors with which a store turns down a URL, if they have a status."""


class Upload(Protocol):
    """Something to send: its size is known, and its bytes are there until they were sent."""

    @property
    def size(self) -> int | None: ...

    @property
    def payload(self) -> Payload | None: ...


U = TypeVar("U", bound=Upload)
Target = TypeVar("Target")

_One: TypeAlias = Callable[[U, Callable[[], Awaitable[None]]], Awaitable[None]]
"""Sends one upload by the function that it is given."""


@dataclass(frozen=True, slots=True)
class Sending(Generic[U, Target]):
    """One set of objects on its way.

    Attributes:
        sign: asks where a batch of objects goes, in their order.
        send: sends one small object, in the slot of its group. The payload is what to send it from.
        send_large: sends one large object, and takes slots itself.
        batch: objects in one request for URLs at most.
    """

    lanes: Lanes
    sign: Callable[[Sequence[U]], Awaitable[Sequence[Target]]]
    send: Callable[[U, Target, Payload], Awaitable[None]]
    send_large: Callable[[U, Target], Awaitable[None]]
    batch: int

    async def all(self, uploads: Sequence[U]) -> None:
        """Send everything; the first failure ends the rest.

        Raises:
            EngineError: as one of the calls raised it.
        """
        for left in reversed(range(SIGNINGS)):
            refused: list[U] = []
            await self._pass(uploads, refused, MOST_REFUSED if left else 0)
            if not refused:
                return
            uploads = refused

    async def _pass(self, uploads: Sequence[U], refused: list[U], most_refused: int) -> None:
        """Sign and send each upload once; those whose URLs the store refused are added to ``refused``."""

        async def one(upload: U, send: Callable[[], Awaitable[None]]) -> None:
            try:
                await send()
            except REFUSALS as error:
                # Without a status it is not the store that refused.
                if error.status is None or len(refused) >= most_refused:
                    raise
                refused.append(upload)

        small = [upload for upload in uploads if _size(upload) <= SMALL]
        large = sorted((upload for upload in uploads if _size(upload) > SMALL), key=_size, reverse=True)
        if not large:
            await self._all_small(small, one)
        elif not small:
            await self._all_large(large, one)
        else:
            both = (partial(self._all_small, small, one), partial(self._all_large, large, one))
            await for_each(both, lambda send: send(), limit=2)

    async def _all_small(self, uploads: Sequence[U], one: _One[U]) -> None:
        async def groups() -> AsyncGenerator[list[tuple[U, Target]]]:
            for batch in _batches(uploads, self.batch):
                signed = list(zip(batch, await self.sign(batch), strict=True))
                # Enough groups that all workers have one, however few objects there are.
                most = max(1, min(GROUP, len(signed) // (2 * self.lanes.slots)))
                for group in _groups(signed, most):
                    yield group

        async with aclosing(groups()) as made:
            await for_each(
                made, lambda group: self._send_group(group, one), limit=self.lanes.slots, ahead=AHEAD
            )

    async def _all_large(self, uploads: Sequence[U], one: _One[U]) -> None:
        async def signed() -> AsyncGenerator[tuple[U, Target]]:
            for batch in _batches(uploads, self.batch):
                for pair in zip(batch, await self.sign(batch), strict=True):
                    yield pair

        async with aclosing(signed()) as made:
            await for_each(
                made, lambda pair: one(pair[0], partial(self.send_large, *pair)), limit=self.lanes.slots
            )

    async def _send_group(self, group: Sequence[tuple[U, Target]], one: _One[U]) -> None:
        async with self.lanes.hold(Lane.SMALL, sum(_size(upload) for upload, _ in group)):
            for (upload, target), payload in zip(group, await self._loaded(group), strict=True):
                await one(upload, partial(self.send, upload, target, payload))

    async def _loaded(self, group: Sequence[tuple[U, Target]]) -> list[Payload]:
        files = [
            (upload.payload.path, _size(upload)) for upload, _ in group if isinstance(upload.payload, OnDisk)
        ]
        contents = iter(await each_read(read_file, files))
        loaded: list[Payload] = []
        for upload, _ in group:
            assert upload.payload is not None
            loaded.append(InMemory(next(contents)) if isinstance(upload.payload, OnDisk) else upload.payload)
        return loaded


def _size(upload: Upload) -> int:
    assert upload.size is not None
    return upload.size


def _batches(uploads: Sequence[U], most: int) -> Iterator[Sequence[U]]:
    start, limit = 0, min(FIRST_BATCH, most)
    while start < len(uploads):
        end, size = start + 1, _size(uploads[start])
        while end < min(len(uploads), start + limit) and size + _size(uploads[end]) <= BATCH_BYTES:
            size += _size(uploads[end])
            end += 1
        yield uploads[start:end]
        start, limit = end, most


def _groups(signed: Sequence[tuple[U, Target]], most: int) -> Iterator[list[tuple[U, Target]]]:
    group: list[tuple[U, Target]] = []
    size = 0
    for pair in signed:
        if group and (len(group) == most or size + _size(pair[0]) > SMALL):
            yield group
            group, size = [], 0
        group.append(pair)
        size += _size(pair[0])
    if group:
        yield group
