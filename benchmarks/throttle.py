"""The throttle over real sockets, beside fixed concurrency with backoff and botocore's adaptive mode.

    python benchmarks/throttle.py [--only SCENARIO] [--clients ours,backoff,botocore] [--times 2] [--alone]

One process serves PUTs like an object store with a token bucket and answers ``SlowDown`` beyond it; clients
are processes of their own with an endless backlog. Goodput is what the server accepted of the tokens that
it had to give; rejects are counted after a warm-up of 10 s; recovery is the time to 90 % of a raised limit.
The three kinds of clients of a scenario run at the same time, each with a server of its own, unless
``--alone``; ``--times`` makes everything last so many times as long. Botocore's row needs ``boto3``.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import math
import random
import subprocess
import sys
import tempfile
import threading
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from aiohttp import ClientSession, web

from engine.errors import Side
from engine.http import HttpClient
from engine.transfer.context import Context
from engine.transfer.throttling.throttle import Endpoint

WARM_UP_S = 10
WORKERS = 64
BODY = b"x" * 1024
SLOW_DOWN = (
    '<?xml version="1.0" encoding="UTF-8"?><Error><Code>SlowDown</Code>'
    "<Message>Please reduce your request rate.</Message></Error>"
)


@dataclass(frozen=True)
class Scenario:
    """``levels``: from this second on, so many requests a second; the bucket holds ``burst_s`` seconds."""

    levels: tuple[tuple[float, float], ...]
    length_s: int
    burst_s: float = 1.0
    processes: int = 1

    def rate(self, at: float) -> float:
        return next(rate for start, rate in reversed(self.levels) if at >= start)

    def times(self, factor: float) -> Scenario:
        levels = tuple((at * factor, rate) for at, rate in self.levels)
        return replace(self, levels=levels, length_s=round(self.length_s * factor))


SCENARIOS = {
    "steady 200/s": Scenario(((0, 200),), 20),
    "step down 300 → 100/s": Scenario(((0, 300), (12, 100)), 26),
    "step up 100 → 200/s": Scenario(((0, 100), (12, 200)), 26),
    "step up 50 → 400/s": Scenario(((0, 50), (10, 400)), 34),
    "bursty, bucket of 0.1 s": Scenario(((0, 200),), 20, burst_s=0.1),
    "two processes, 200/s": Scenario(((0, 200),), 28, processes=2),
}


class Server:
    """Accepts by a token bucket and keeps the tally of each second and client."""

    def __init__(self, scenario: Scenario) -> None:
        self.scenario = scenario
        self.began: float | None = None
        self.last = 0.0
        self.tokens = scenario.rate(0) * scenario.burst_s
        self.given = self.tokens
        self.accepted: list[dict[str, int]] = [{} for _ in range(scenario.length_s + 1)]
        self.rejected = [0] * (scenario.length_s + 1)

    async def put(self, request: web.Request) -> web.Response:
        await request.read()
        if self.began is None:
            self.began = time.monotonic()
        now = time.monotonic() - self.began
        rate = self.scenario.rate(now)
        self.given += (now - self.last) * rate
        self.tokens = min(max(1.0, rate * self.scenario.burst_s), self.tokens + (now - self.last) * rate)
        self.last = now
        second = int(now)
        if second >= self.scenario.length_s:
            return web.Response()
        if self.tokens < 1:
            self.rejected[second] += 1
            await asyncio.sleep(0.02)
            return web.Response(status=503, text=SLOW_DOWN, content_type="application/xml")
        self.tokens -= 1
        client = request.path.split("/")[2]
        self.accepted[second][client] = self.accepted[second].get(client, 0) + 1
        await asyncio.sleep(min(0.5, 0.06 * math.exp(random.gauss(0, 0.4))))
        return web.Response(headers={"ETag": '"0"'})

    async def tally(self, _: web.Request) -> web.Response:
        return web.json_response({"accepted": self.accepted, "rejected": self.rejected, "given": self.given})


async def serve(name: str, times: str) -> None:
    server = Server(SCENARIOS[name].times(float(times)))
    app = web.Application()
    app.router.add_put("/bucket/{client}/{key:.*}", server.put)
    app.router.add_get("/tally", server.tally)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    print(runner.addresses[0][1], flush=True)
    await asyncio.Event().wait()


async def ours(url: str, client: str) -> None:
    with tempfile.TemporaryDirectory() as spool:
        context = Context(spool=Path(spool))
        async with HttpClient(Side.DESTINATION, context) as http:

            async def work(worker: int) -> None:
                for n in range(10**9):
                    key = f"{url}/bucket/{client}/{worker}-{n}"
                    await http.request("PUT", key, endpoint=Endpoint.OBJECTS, body=BODY, anonymous=True)

            await asyncio.gather(*(work(n) for n in range(WORKERS)))


async def backoff(url: str, client: str) -> None:
    """Fixed concurrency; each request backs off by itself, full jitter, 0.1 s doubling to 20 s."""
    async with ClientSession() as session:

        async def work(worker: int) -> None:
            for n in range(10**9):
                attempt = 0
                while True:
                    async with session.put(f"{url}/bucket/{client}/{worker}-{n}", data=BODY) as answer:
                        if answer.status == 200:
                            break
                    await asyncio.sleep(random.random() * min(20.0, 0.1 * 2**attempt))
                    attempt += 1

        await asyncio.gather(*(work(n) for n in range(WORKERS)))


def botocore(url: str, client: str) -> None:
    import boto3
    from botocore.config import Config

    s3 = boto3.client(
        "s3",
        endpoint_url=url,
        aws_access_key_id="k",
        aws_secret_access_key="s",
        region_name="us-east-1",
        config=Config(
            retries={"mode": "adaptive", "max_attempts": 10_000},
            max_pool_connections=WORKERS,
            s3={"addressing_style": "path"},
        ),
    )

    def work(worker: int) -> None:
        for n in range(10**9):
            s3.put_object(Bucket="bucket", Key=f"{client}/{worker}-{n}", Body=BODY)

    for worker in range(WORKERS):
        threading.Thread(target=work, args=(worker,), daemon=True).start()
    threading.Event().wait()


def start(*arguments: str, **options: Any) -> subprocess.Popen[str]:
    return subprocess.Popen([sys.executable, __file__, *arguments], text=True, **options)


async def measure(name: str, kind: str, times: float) -> dict[str, Any]:
    scenario = SCENARIOS[name].times(times)
    processes = [start("serve", name, str(times), stdout=subprocess.PIPE)]
    try:
        assert processes[0].stdout is not None
        url = f"http://127.0.0.1:{int(processes[0].stdout.readline())}"
        processes += [start(kind, url, f"c{n}") for n in range(scenario.processes)]
        await asyncio.sleep(scenario.length_s + 3)
        async with ClientSession() as session, session.get(f"{url}/tally") as answer:
            tally: dict[str, Any] = await answer.json()
            return tally
    finally:
        for process in processes:
            process.kill()
            process.wait()


async def measure_all(name: str, kinds: list[str], times: float) -> list[dict[str, Any]]:
    return await asyncio.gather(*(measure(name, kind, times) for kind in kinds))


def judge(scenario: Scenario, tally: dict[str, Any]) -> str:
    accepted, rejected = tally["accepted"][: scenario.length_s], tally["rejected"][: scenario.length_s]
    totals = [sum(second.values()) for second in accepted]
    possible = scenario.rate(0) * scenario.burst_s + sum(
        scenario.rate(n / 4) / 4 for n in range(scenario.length_s * 4)
    )
    warm_rejected, warm_accepted = sum(rejected[WARM_UP_S:]), sum(totals[WARM_UP_S:])
    half = accepted[scenario.length_s // 2 :]
    by_client = [sum(second.get(f"c{n}", 0) for second in half) for n in range(scenario.processes)]
    jain = sum(by_client) ** 2 / (len(by_client) * sum(n * n for n in by_client) or 1)
    raised = [int(at) for (_, a), (at, b) in zip(scenario.levels, scenario.levels[1:], strict=False) if b > a]
    recovery = ""
    if raised:
        target = 0.9 * scenario.rate(raised[0])
        after = (n + 1 for n, total in enumerate(totals[raised[0] :]) if total >= target)
        recovery = f"{next(after, math.inf)} s"
    share = warm_rejected / max(1, warm_rejected + warm_accepted)
    fairness = f"{jain:.3f}" if scenario.processes > 1 else ""
    return f"{sum(totals) / possible:8.1%} {share:9.2%} {recovery:>9} {fairness:>7}"


def main() -> None:
    if len(sys.argv) > 2 and sys.argv[1] in ("serve", "ours", "backoff", "botocore"):
        match sys.argv[1:]:
            case ["serve", name, times]:
                asyncio.run(serve(name, times))
            case ["botocore", url, client]:
                botocore(url, client)
            case [kind, url, client]:
                asyncio.run({"ours": ours, "backoff": backoff}[kind](url, client))
        return
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--only", default="")
    parser.add_argument("--clients", default="ours,backoff,botocore")
    parser.add_argument("--times", type=float, default=1.0, help="last so many times as long")
    parser.add_argument("--alone", action="store_true", help="one client after the other")
    parser.add_argument("--json", type=Path, help="also write the raw tallies there")
    options = parser.parse_args()
    raw: dict[str, Any] = {}
    kinds = options.clients.split(",")
    print(f"{'scenario':26} {'client':9} {'goodput':>8} {'rejected':>9} {'recovery':>9} {'Jain':>7}")
    for name in (name for name in SCENARIOS if options.only in name):
        for together in [[kind] for kind in kinds] if options.alone else [kinds]:
            tallies = asyncio.run(measure_all(name, together, options.times))
            for kind, tally in zip(together, tallies, strict=True):
                raw[f"{name}/{kind}"] = tally
                print(f"{name:26} {kind:9} {judge(SCENARIOS[name].times(options.times), tally)}", flush=True)
    if options.json:
        options.json.write_text(json.dumps(raw))


if __name__ == "__main__":
    main()
