"""Two W&B servers, transfers from one to the other, and what the other one then holds."""

from __future__ import annotations

import asyncio
import base64
import re
import sqlite3
from collections.abc import Callable, Generator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from typing import Any

import anyio
import pytest
import wandb
from aiohttp import web
from aiohttp.typedefs import Handler

from engine import Engine, Options, open_destination, open_source
from engine.protocols import SystemOptions
from engine.sandbox import Account
from engine.transfer.options import Result
from tests.e2e.server_state import server_state
from tests.servers import RunningSandbox, running_sandbox

A, B = "ann", "bob"
"""The user of either server whose key is used."""

STRANGER = "eve"
"""Another user of the second one, to whose entity nobody else may write."""


def api_of(server: RunningSandbox) -> wandb.Api:
    return wandb.Api(overrides={"base_url": server.url}, api_key=server.api_key)


def name_of(server: RunningSandbox, uri: str) -> str | None:
    """What a server takes a reference to a version, or to the latest one of a collection, for."""
    scheme, _, rest = uri.partition("://")
    told = rest.partition("/")[0].partition(":")[0]
    if scheme == "wandb-client-artifact":
        mapping = server.graphql(_MAPPING, c=told)["clientIDMapping"]
        if mapping is None:
            return None
        told = mapping["serverID"]
    else:
        told = base64.b64encode(bytes.fromhex(told)).decode()
    found = server.graphql(_NAMES, i=told)
    if found["artifact"] is not None:
        return f"{found['artifact']['artifactSequence']['name']}:v{found['artifact']['versionIndex']}"
    return str(found["artifactCollection"]["name"])


_MAPPING = "query ($c: ID!) { clientIDMapping(clientID: $c) { serverID } }"
_NAMES = """query ($i: ID!) { artifact(id: $i) { versionIndex artifactSequence { name } }
    artifactCollection(id: $i) { name } }"""


@dataclass(frozen=True)
class Pair:
    """Where transfers go from and to."""

    source: RunningSandbox
    target: RunningSandbox
    plug: Plug

    def engine(self, project: str, target: str, options: Options, *, recreate: bool = False) -> Engine:
        origin, goal = self.source, self.target
        return Engine(
            open_source(f"wandb:{origin.url}/{A}/{project}", SystemOptions(api_key=origin.api_key)),
            open_destination(
                f"wandb:{goal.url}/{B}/{target}", SystemOptions(api_key=goal.api_key, recreate=recreate)
            ),
            options,
        )

    def move(
        self, project: str, target: str, options: Options | None = None, *, recreate: bool = False
    ) -> Result:
        async def run() -> Result:
            async with self.engine(project, target, options or Options(), recreate=recreate) as engine:
                return await engine.run()

        return anyio.run(run)

    def interrupt(
        self,
        project: str,
        target: str,
        options: Options,
        at: int,
        of: bytes = b"",
        *,
        recreate: bool = False,
    ) -> bool:
        """Pull the plug at a request to the destination; False if the transfer was over before.

        Args:
            of: only GraphQL requests count that say this.
        """

        async def run() -> bool:
            loop = asyncio.get_running_loop()
            with anyio.CancelScope() as scope:
                self.plug.arm(at, lambda: loop.call_soon_threadsafe(scope.cancel), of)
                async with self.engine(project, target, options, recreate=recreate) as engine:
                    await engine.run()
            self.plug.arm(None)
            return scope.cancelled_caught

        return anyio.run(run)

    def holds(self, project: str) -> dict[str, Any]:
        """All of the artifacts of a project at the destination, also what no client is shown."""
        state = server_state(self.target.data_dir, project)
        found: dict[str, Any] = {"versions": state["versions"]}
        # The ids of other versions are not the same in two projects.
        found["entries"] = [
            (*row, re.sub("(?<=artifact://)[0-9a-f]+", "", ref or "")) for *row, ref in state["entries"]
        ]
        found["edges"] = [edge for edge in state["edges"] if not edge[0].startswith("placeholder-")]
        with closing(sqlite3.connect(self.target.data_dir / "records.sqlite")) as database:
            found["uses"] = database.execute(_USES, (project,)).fetchall()
            found["runs"] = database.execute(_RUNS, (project,)).fetchall()
        return found


@contextmanager
def running_pair(factory: pytest.TempPathFactory) -> Generator[Pair]:
    """Two servers without anything on them."""
    plug = Plug()
    with (
        running_sandbox(factory.mktemp("a"), accounts=[Account(A)]) as source,
        running_sandbox(
            factory.mktemp("b"), accounts=[Account(B), Account(STRANGER)], intercept=plug
        ) as target,
    ):
        yield Pair(source, target, plug)


_USES = (
    "SELECT r.name, c.name, m.version_index, i.used_as FROM run_inputs i JOIN runs r ON r.number = i.run "
    "JOIN projects p ON p.number = r.project JOIN artifact_memberships m ON m.artifact = i.artifact "
    "JOIN artifact_collections c ON c.number = m.collection WHERE p.name = ? ORDER BY 1, 2, 3, 4"
)
_RUNS = (
    "SELECT r.name FROM runs r JOIN projects p ON p.number = r.project "
    "WHERE p.name = ? AND r.deleted IS NULL ORDER BY 1"
)


class Plug:
    """Stands in front of a server, counts requests, and at one of them does something."""

    def __init__(self) -> None:
        self._left: int | None = None
        self._pull: Callable[[], object] = lambda: None
        self._of = b""

    def arm(self, at: int | None, pull: Callable[[], object] = lambda: None, of: bytes = b"") -> None:
        self._left, self._pull, self._of = at, pull, of

    async def __call__(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        if self._left is not None and await self._counts(request):
            self._left -= 1
            if not self._left:
                answer = await handler(request)  # which nobody hears
                self._pull()
                return answer
        return await handler(request)

    async def _counts(self, request: web.Request) -> bool:
        # The bytes of an object can be read only once.
        return not self._of or (request.path == "/graphql" and self._of in await request.read())
