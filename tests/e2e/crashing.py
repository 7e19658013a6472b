"""Pulling the plug: ``engine …`` in a process of its own that is killed at a chosen moment.

The moments are counted in requests that the server gets, so that they hit all that a transfer does and not
only what takes long. Processes are forked from one that has everything loaded, so that two hundred of
them take minutes.
"""

from __future__ import annotations

import asyncio
import json
import multiprocessing
import os
import random
import signal
import sys
import threading
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from functools import partial
from multiprocessing.context import ForkServerProcess
from pathlib import Path
from typing import Any
from unittest import mock

from aiohttp import web
from aiohttp.typedefs import Handler

from engine.sandbox.storage.objects import PREFIX

LOADED = [
    "engine.cli.main",
    "engine.mlflow",
    "engine.wandb",
    "engine.transfer.engine",
    "sqlalchemy.dialects.sqlite",
    "tests.e2e.crashing",
    "tests.e2e.hurry",
    "tests.e2e.world",
    "uvloop",
]

SMALL_PART = 256 * 1024
LARGE_FROM = 1_200_000
"""Files of this size go in parts of ``SMALL_PART`` bytes, instead of those of 2 GiB in parts of 100 MiB."""


@dataclass(frozen=True)
class Ended:
    """What a process left behind. ``status`` is negative if a signal ended it, as in ``subprocess``."""

    status: int
    said: str

    @property
    def events(self) -> list[dict[str, Any]]:
        """Of ``--json``."""
        return [json.loads(line) for line in self.said.splitlines() if line.startswith("{")]

    @property
    def text(self) -> str:
        """What people read of it."""
        return " ".join(" ".join(line for line in self.said.splitlines() if line[:1] != "{").split())

    @property
    def was_killed(self) -> bool:
        return self.status == -signal.SIGKILL


@dataclass(frozen=True)
class Moment:
    """When to kill.

    Attributes:
        request: at which request of the process, from 1.
        phase: ``before`` the server handles it; ``unheard``: it is handled, but the answer has no reader;
            ``after`` it was answered.
        delay_s: how long after that.
    """

    request: int
    phase: str
    delay_s: float = 0.0

    @classmethod
    def draw(cls, draw: random.Random, requests: int) -> Moment:
        """Any of so many requests, and any phase of it."""
        phase = draw.choice(["before", "unheard", "after", "after"])
        return cls(draw.randint(1, requests), phase, draw.uniform(0, 0.03) if phase == "after" else 0.0)


Act = Callable[[int], object]
"""Something that happens to a process, whose id it gets."""


class Plug:
    """Stands in front of a sandbox, counts requests, and kills the process group that sends them."""

    def __init__(self) -> None:
        self.requests = 0
        self.hit: Counter[str] = Counter()
        """What was under way at each of the moments."""
        self._moment: Moment | None = None
        self._acts: Mapping[int, Act] = {}
        self._group: int | None = None
        self._known = threading.Event()

    def pull_at(self, moment: Moment | None = None, acts: Mapping[int, Act] | None = None) -> None:
        """Begin to count for a new process.

        Args:
            moment: when to kill it, if at all.
            acts: what else happens to it, before the requests of these numbers are handled.
        """
        self.requests, self._moment, self._group, self._acts = 0, moment, None, acts or {}
        self._known.clear()

    def connect(self, group: int) -> None:
        """Whom to kill."""
        self._group = group
        self._known.set()

    def disconnect(self) -> None:
        """It has ended; whoever asks the server now is somebody else."""
        self._moment, self._group, self._acts = None, None, {}

    async def intercept(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """In front of all routes; see ``engine.sandbox.storage.objects.Intercept``."""
        if request.path.startswith("/admin/"):
            return await handler(request)
        self.requests += 1
        moment, act = self._moment, self._acts.get(self.requests)
        if act is not None:
            await asyncio.to_thread(self._known.wait)
            assert self._group is not None
            await asyncio.to_thread(act, self._group)
        if moment is None or self.requests != moment.request:
            return await handler(request)
        self.hit[await _told(request)] += 1
        match moment.phase:
            case "before":
                await self._pull()
                raise web.HTTPServiceUnavailable
            case "unheard":
                await self._pull()
                return await handler(request)
        answer = await handler(request)
        await asyncio.to_thread(self._known.wait)
        asyncio.get_running_loop().call_later(moment.delay_s, self._kill)
        return answer

    async def _pull(self) -> None:
        await asyncio.to_thread(self._known.wait)
        self._kill()

    def _kill(self) -> None:
        if self._group is None:  # it ended first
            return
        try:
            os.killpg(self._group, signal.SIGKILL)
        except ProcessLookupError:  # so it did
            return


async def _told(request: web.Request) -> str:
    if request.path == "/graphql":
        body = json.loads(await request.read())
        return str(body["query"].split()[1].partition("(")[0])
    part = "part" if "partNumber" in request.query else "object" if request.path.startswith(PREFIX) else ""
    return f"{request.method} {part or request.path.rpartition('/')[2]}"


class Launcher:
    """Starts ``engine …`` in processes.

    Args:
        scratch: for what they print.
        plugins: directories with systems of others.
        environ: what they get beside the environment of this process.
        hurried: whether they wait as if time were short.
    """

    def __init__(
        self,
        scratch: Path,
        *,
        plugins: Sequence[Path] = (),
        environ: Mapping[str, str],
        hurried: bool = False,
    ) -> None:
        self._scratch = scratch
        self._hurried = hurried
        self._plugins = [str(directory) for directory in plugins]
        self._environ = {**os.environ, "COLUMNS": "200", "TERM": "dumb", **environ}
        self._context = multiprocessing.get_context("forkserver")
        self._context.set_forkserver_preload(LOADED)
        self._started = 0

    def start(self, *arguments: str, environ: Mapping[str, str] | None = None) -> Running:
        """Begin; the process leads a group of its own."""
        self._started += 1
        said = self._scratch / f"said-{self._started}"
        process = self._context.Process(
            target=_engine,
            args=(
                list(arguments),
                {**self._environ, **(environ or {})},
                self._plugins,
                str(said),
                self._hurried,
            ),
        )
        process.start()
        return Running(process, said)

    def run(
        self, *arguments: str, plug: Plug | None = None, environ: Mapping[str, str] | None = None
    ) -> Ended:
        """The command to its end, whichever that is."""
        running = self.start(*arguments, environ=environ)
        if plug is None:
            return running.wait()
        plug.connect(running.pid)
        try:
            return running.wait()
        finally:
            plug.disconnect()


class Running:
    """A process that was started."""

    def __init__(self, process: ForkServerProcess, said: Path) -> None:
        self._process = process
        self._said = said
        assert process.pid is not None
        self.pid: int = process.pid

    @property
    def said(self) -> str:
        """What it printed so far."""
        return self._said.read_text() if self._said.exists() else ""

    def wait(self, timeout_s: float = 60) -> Ended:
        self._process.join(timeout_s)
        status = self._process.exitcode
        if status is None:
            self._process.kill()
            self._process.join()
        self._process.close()
        assert status is not None, f"it did not end:\n{self.said}"
        return Ended(status, self.said)


def _engine(
    arguments: list[str], environ: Mapping[str, str], plugins: list[str], said: str, hurried: bool
) -> None:
    """In the child: be the command."""
    os.setsid()
    signal.signal(signal.SIGINT, signal.default_int_handler)
    os.environ.clear()
    os.environ.update(environ)
    sys.path[:0] = plugins
    sys.argv = ["engine", *arguments]
    to = os.open(said, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(to, 1)
    os.dup2(to, 2)
    from engine.cli.main import main
    from engine.transfer.throttling import breaker
    from engine.wandb import destination
    from engine.wandb.digests import Multipart
    from engine.wandb.history import filestream
    from engine.wandb.versions import unfinished
    from tests.e2e.hurry import in_a_hurry

    # Histories and large files go in several pieces without being large, and outages are seen at once.
    with (
        mock.patch.object(breaker, "OPENS_AFTER_S", 0.3),
        mock.patch.object(breaker, "PROBE_FIRST_S", 0.1),
        mock.patch.object(filestream, "REQUEST_LIMIT", 6_000),
        mock.patch.object(filestream, "KEEP_BACK", 2_000),
        mock.patch.object(unfinished, "BYTES", LARGE_FROM),
        mock.patch.object(
            destination, "Multipart", partial(Multipart, threshold=LARGE_FROM, part=SMALL_PART)
        ),
        in_a_hurry() if hurried else nullcontext(),
    ):
        main()
