"""Where bytes are, and what has to be shown to get them."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from urllib.parse import urlsplit

from engine.downloads import download
from engine.errors import NotFound
from engine.records import Blob
from engine.transfer.throttling.throttle import Endpoint
from engine.wandb.client import WandbClient

SIGNINGS = 4
"""URLs of one object that may be refused; as many as for uploads."""


async def located(client: WandbClient, url: str) -> tuple[str, Mapping[str, str]]:
    """A URL that the server gave, and its headers: our key goes to the server itself and to nobody else.

    A URL with a query is signed, and object stores refuse a request that is signed and has a key as well.
    """
    full = client.absolute(url)
    asked, own = urlsplit(full), urlsplit(client.base_url)
    if (asked.scheme, asked.netloc) != (own.scheme, own.netloc) or asked.query:
        return full, {}
    return full, {"Authorization": (await client.headers())["Authorization"]}


def read_bytes(
    client: WandbClient,
    blob: Blob,
    urls: Callable[[int], Awaitable[str | None]],
    subject: str,
    offset: int,
) -> AsyncGenerator[bytes]:
    """The bytes of a blob from ``offset`` on.

    Args:
        urls: where it is, given how often that was asked before; None if nobody knows.
    """
    asked = 0

    async def locate() -> tuple[str, Mapping[str, str]]:
        nonlocal asked
        url = await urls(asked)
        asked += 1
        if url is None:
            raise NotFound("the server tells no address of it", side=client.side, subject=subject)
        return await located(client, url)

    return download(
        client.http,
        locate,
        Endpoint.OBJECTS,
        size=blob.size,
        offset=offset,
        subject=subject,
        anonymous=True,
        signings=SIGNINGS,
    )
