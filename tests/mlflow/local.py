"""A web server of a few lines, for answers that a real tracking server does not give on request."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager

import aiohttp
from aiohttp import web


@asynccontextmanager
async def serving(
    handler: Callable[[web.Request], Awaitable[web.StreamResponse]],
) -> AsyncGenerator[str]:
    """Serve ``handler`` for every path on loopback; gives the URL."""

    async def handle(request: web.Request) -> web.StreamResponse:
        return await handler(request)

    app = web.Application()
    app.router.add_route("*", "/{path:.*}", handle)
    runner = web.AppRunner(app)
    await runner.setup()
    try:
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        host, port = runner.addresses[0][:2]
        yield f"http://{host}:{port}"
    finally:
        await runner.cleanup()


@asynccontextmanager
async def in_front_of(
    server_url: str, guard: Callable[[web.Request], web.Response | None]
) -> AsyncGenerator[str]:
    """A reverse proxy: what ``guard`` answers, else what the server does."""

    async def forward(request: web.Request) -> web.Response:
        if (refusal := guard(request)) is not None:
            return refusal
        async with session.request(
            request.method,
            server_url + request.path_qs,
            data=await request.read(),
            headers={"Content-Type": request.content_type},
        ) as answer:
            body = await answer.read()
            return web.Response(status=answer.status, body=body, content_type=answer.content_type)

    async with aiohttp.ClientSession() as session, serving(forward) as url:
        yield url
