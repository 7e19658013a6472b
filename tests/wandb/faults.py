"""A server in front of the sandbox that fails on purpose: faults that cannot be had on call otherwise."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import aiohttp
from aiohttp import web

Fault = Callable[[web.Request, bytes], web.Response | None]


@dataclass
class FaultyServer:
    """Passes requests on unless a fault answers them; each fault answers once."""

    url: str = ""
    faults: list[Fault] = field(default_factory=list)
    seen: list[str] = field(default_factory=list)

    def once(
        self, *, method: str = "", path: str = "", containing: bytes = b"", answer: web.Response
    ) -> None:
        """Give ``answer`` to the next request that fits, instead of asking the sandbox."""

        def fault(request: web.Request, body: bytes) -> web.Response | None:
            fits = method in ("", request.method) and path in request.path and containing in body
            return answer if fits else None

        self.faults.append(fault)


@asynccontextmanager
async def faulty(upstream: str) -> AsyncGenerator[FaultyServer]:
    server = FaultyServer()

    async def handle(request: web.Request) -> web.StreamResponse:
        body = await request.read()
        server.seen.append(f"{request.method} {request.path}")
        for fault in server.faults:
            if (answer := fault(request, body)) is not None:
                server.faults.remove(fault)
                return answer
        kept = {name: value for name, value in request.headers.items() if name.lower() != "host"}
        async with session.request(
            request.method, upstream + request.raw_path, headers=kept, data=body
        ) as response:
            content = await response.read()
            return web.Response(
                status=response.status,
                body=content.replace(upstream.encode(), server.url.encode()),
                headers={name: response.headers[name] for name in ("ETag",) if name in response.headers},
                content_type=response.content_type,
            )

    app = web.Application(client_max_size=2**30)
    app.router.add_route("*", "/{path:.*}", handle)
    runner = web.AppRunner(app)
    async with aiohttp.ClientSession(auto_decompress=True) as session:
        await runner.setup()
        try:
            site = web.TCPSite(runner, "127.0.0.1", 0)
            await site.start()
            server.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
            yield server
        finally:
            await runner.cleanup()
