"""Bytes on their way to an object store, through the URLs that W&B hands out."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, aclosing
from dataclasses import dataclass, field

from engine.answers import Response
from engine.errors import EngineError, IntegrityError, Side
from engine.transfer.throttling.bandwidth import Bandwidth
from engine.transfer.throttling.retry import retrying
from engine.transfer.throttling.throttle import Endpoint
from engine.wandb.client import WandbClient
from engine.wandb.digests import MIB, b64
from engine.wandb.uploads.lanes import Lane, Lanes
from engine.wandb.uploads.payloads import SMALL, AtSource, InMemory, Payload

STREAMED = 2 * MIB
"""Memory that one streamed upload needs at most: a piece of the source's, and the buffers of two sockets."""

RESENDS = 3


def parsed_headers(headers: Iterable[str]) -> dict[str, str]:
    """The ``Name:value`` strings that W&B gives with an upload URL."""
    pairs = (header.partition(":") for header in headers)
    return {name.strip(): value.strip() for name, _, value in pairs if name.strip()}


_MD5_ETAG = re.compile(r'"([0-9a-fA-F]{32})"')


def md5_of_etag(headers: Mapping[str, str]) -> str | None:
    """The base64 MD5 that an object store tells of what it received, None if its ETag is something else.

    Encryption with a managed or a customer's key gives an ETag of the same shape that is no MD5
    (``docs.aws.amazon.com/AmazonS3/latest/API/API_Object.html``, ETag).
    """
    found = _MD5_ETAG.fullmatch(headers.get("ETag", ""))
    if found is None or headers.get("x-amz-server-side-encryption", "AES256") != "AES256":
        return None
    if "x-amz-server-side-encryption-customer-algorithm" in headers:
        return None
    return b64(bytes.fromhex(found[1]))


@dataclass(slots=True)
class Uploader:
    """Puts objects for one destination.

    Attributes:
        lanes: slots and memory. ``put`` takes none of them: its callers know how many objects share a slot.
    """

    client: WandbClient
    lanes: Lanes
    bandwidth: Bandwidth
    _tells_md5: dict[str, bool] = field(default_factory=dict)
    """Whether the ETags of a store are MD5s, where that is known."""

    def streaming(self) -> AbstractAsyncContextManager[None]:
        """A slot, and the memory, for one ``put`` of a large object or of a part of one."""
        return self.lanes.hold(Lane.LARGE, STREAMED)

    async def put(
        self,
        url: str,
        headers: Sequence[str],
        payload: Payload,
        *,
        size: int,
        subject: str,
        offset: int = 0,
        md5: str | None = None,
    ) -> Response:
        """PUT ``size`` bytes of a payload without credentials; the URL carries its own.

        Bytes that came wrong from the source are read once more, and bytes that arrived wrong at the store
        are sent up to ``RESENDS`` more times, like those that a store refuses because of their digest.

        Args:
            md5: base64 MD5 of these bytes, to compare with the store's.

        Raises:
            IntegrityError: the bytes stay wrong.
            EngineError: of the class that fits the answer, or what reading the payload raised.
        """
        url = self.client.absolute(url)
        sent = parsed_headers(headers)
        sent["Content-Length"] = str(size)

        async def once(*, again: bool) -> Response:
            data: bytes | None = None
            # The source's digest is one of all bytes, not of a part.
            if isinstance(payload, AtSource) and size <= SMALL and size == payload.blob.size:
                data = await payload.whole(size)
            answer = await self._put(
                url, sent, payload if data is None else InMemory(data), size, offset, subject
            )
            self._check(url, sent, answer, md5, subject, again=again)
            return answer

        failed: list[Side | None] = []
        while True:
            try:
                return await once(again=bool(failed))
            except IntegrityError as error:
                failed.append(error.side)
                if failed.count(error.side) > (RESENDS if error.side is self.client.side else 1):
                    raise

    async def _put(
        self, url: str, headers: Mapping[str, str], payload: Payload, size: int, offset: int, subject: str
    ) -> Response:
        broken: list[EngineError] = []

        async def watched() -> AsyncIterator[bytes]:
            try:
                async with aclosing(payload.open(offset, size)) as pieces:
                    async for piece in pieces:
                        await self.bandwidth.take(len(piece))
                        yield piece
            except EngineError as error:
                broken.append(error)
                raise

        async def attempt() -> Response:
            broken.clear()
            if isinstance(payload, InMemory):
                await self.bandwidth.take(size)
            try:
                return await self.client.http.request(
                    "PUT",
                    url,
                    endpoint=Endpoint.OBJECTS,
                    subject=subject,
                    headers=headers,
                    body=payload.data[offset : offset + size] if isinstance(payload, InMemory) else watched,
                    anonymous=True,
                    retry=False,
                )
            except EngineError as error:
                # The HTTP library dresses what a body raises as a broken connection, which hides whose
                # fault it was and whether another attempt may help.
                if broken:
                    raise broken[0] from error
                raise

        return await retrying(attempt)

    def _check(
        self,
        url: str,
        sent: Mapping[str, str],
        answer: Response,
        md5: str | None,
        subject: str,
        *,
        again: bool,
    ) -> None:
        told = md5_of_etag(answer.headers) if md5 is not None else None
        store = url[: url.find("/", len("https://"))]
        if told is None or self._tells_md5.get(store) is False:
            return
        if told == md5:
            self._tells_md5[store] = True
        elif again and store not in self._tells_md5 and "Content-MD5" in sent:
            # It has compared the digest itself, twice; its ETags only look like one.
            self._tells_md5[store] = False
        else:
            raise IntegrityError(
                "the object store received other bytes than were sent",
                side=self.client.side,
                subject=subject,
                remedy="run the transfer again; if it stays so, something on the way alters bytes",
            )
