"""Downloads of one large object: by ranges side by side, and by one stream.

    python -m benchmarks.downloads [--size-mib 128] [--connection-mib-s 16] [--rounds 3]

A server in a process of its own gives each connection so many MiB/s, and then as many as it can. The two
ways take turns; rates are medians.
"""

from __future__ import annotations

import argparse
import asyncio
import multiprocessing
import socket
import statistics
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path

from aiohttp import web

from engine import downloads
from engine.errors import Side
from engine.http import HttpClient
from engine.transfer.context import Context
from engine.transfer.throttling.throttle import Endpoint

MIB = 1024 * 1024
TICK_S = 0.02


def serve(listening: socket.socket, file: str) -> None:
    """``/?rate=N``: the file, N MiB/s to each connection; as fast as possible without."""

    async def answer(request: web.Request) -> web.StreamResponse:
        response = web.FileResponse(file)
        rate = float(request.query.get("rate", 0)) * MIB
        if not rate:
            return response
        size = Path(file).stat().st_size
        asked = request.http_range
        start, stop = asked.start or 0, min(asked.stop or size, size)
        told = {"ETag": '"same"', "Content-Range": f"bytes {start}-{stop - 1}/{size}"}
        paced = web.StreamResponse(status=206 if "Range" in request.headers else 200, headers=told)
        paced.content_length = stop - start
        await paced.prepare(request)
        began, sent = time.monotonic(), 0
        while sent < stop - start:
            piece = bytes(min(int(rate * TICK_S), stop - start - sent))
            await paced.write(piece)
            sent += len(piece)
            await asyncio.sleep(max(0.0, began + sent / rate - time.monotonic()))
        return paced

    app = web.Application()
    app.router.add_get("/", answer)
    web.run_app(app, sock=listening, print=None)


async def rate_of(url: str, size: int, *, ranges: bool) -> float:
    """MiB/s."""

    async def locate() -> tuple[str, Mapping[str, str]]:
        return url, {}

    async with HttpClient(Side.SOURCE, Context(spool=Path())) as http:
        began, got = time.monotonic(), 0
        async for piece in downloads.download(
            http, locate, Endpoint.OBJECTS, size=size, subject="object", ranges=ranges
        ):
            got += len(piece)
        assert got == size
        return size / MIB / (time.monotonic() - began)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--size-mib", type=int, default=128)
    parser.add_argument("--connection-mib-s", type=float, default=16)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    size = options.size_mib * MIB
    with tempfile.NamedTemporaryFile() as file, socket.socket() as listening:
        file.truncate(size)
        listening.bind(("127.0.0.1", 0))
        listening.listen()
        url = f"http://127.0.0.1:{listening.getsockname()[1]}/"
        server = multiprocessing.Process(target=serve, args=(listening, file.name), daemon=True)
        server.start()
        try:
            print("| each connection | one stream | ranges | ratio |\n|---|---|---|---|")
            for what, query, rounds in (
                (f"{options.connection_mib_s:g} MiB/s", f"?rate={options.connection_mib_s}", 1),
                ("as fast as it can", "", options.rounds),
            ):
                rates: dict[bool, list[float]] = {False: [], True: []}
                for _ in range(rounds):
                    for ranges in rates:
                        rates[ranges].append(asyncio.run(rate_of(url + query, size, ranges=ranges)))
                one, many = (statistics.median(rates[ranges]) for ranges in (False, True))
                print(f"| {what} | {one:,.0f} MiB/s | {many:,.0f} MiB/s | {many / one:.2f} |")
        finally:
            server.terminate()
            server.join()


if __name__ == "__main__":
    main()
