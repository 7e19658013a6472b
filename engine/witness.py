"""Asks a server whether it is there, when a failed request cannot tell."""

from __future__ import annotations

import aiohttp
from yarl import URL

WITNESS_TIMEOUT_S = 10.0


async def is_there(session: aiohttp.ClientSession, url: URL, proxy: str | None) -> bool:
    """Whether the root of the server of ``url`` answers with anything but an error of its own.

    No credentials are sent. A refusal is an answer: object stores give 403 to strangers.
    """
    try:
        async with session.get(
            url.origin(),
            proxy=proxy,
            allow_redirects=False,
            timeout=aiohttp.ClientTimeout(total=WITNESS_TIMEOUT_S),
        ) as answer:
            return answer.status < 500
    except (aiohttp.ClientError, TimeoutError, ConnectionError):
        return False
