"""A server, and transfers to it in processes of their own, to which things happen."""

from __future__ import annotations

import json
import random
from collections import Counter
from collections.abc import Callable, Generator, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from itertools import count
from pathlib import Path
from typing import Any

from engine.sandbox import Account
from tests.e2e import world
from tests.e2e.crashing import Act, Ended, Launcher, Moment, Plug
from tests.e2e.server_state import server_state
from tests.sdk_reader import SdkReader, SdkRun
from tests.servers import RunningSandbox, running_sandbox

ENTITY = "e2e"
SHARE = 5
"""A process dies within the first fifth of an undisturbed transfer's requests, or lives if fewer are left."""


@dataclass
class Rehearsal:
    """A server, and commands that write to it while things happen to them."""

    sandbox: RunningSandbox
    plug: Plug
    launcher: Launcher
    scratch: Path
    names: Iterator[int] = field(default_factory=count)

    def migration(self, source: str, *options: str) -> Migration:
        """A command that was never run, with a project that nobody wrote to."""
        number = next(self.names)
        return Migration(self, f"p{number}", self.scratch / f"state-{number}", (source, *options))

    def undisturbed(self, source: str, *options: str) -> Undisturbed:
        """Move a source once, with nothing happening."""
        migration = self.migration(source, *options)
        ended = migration.run()
        assert ended.status == 0, ended.said
        return Undisturbed((source, *options), migration.arrived(), self.plug.requests)


@contextmanager
def rehearsing(
    scratch: Path,
    *,
    teams: tuple[str, ...] = (),
    environ: Mapping[str, str] | None = None,
    hurried: bool = False,
) -> Generator[Rehearsal]:
    """A rehearsal with a fresh server, and with ``world:`` among the sources.

    Args:
        teams: further entities of the server.
        environ, hurried: of ``Launcher``.
    """
    plug = Plug()
    accounts = [Account(ENTITY, teams=teams)]
    with running_sandbox(scratch / "server", accounts=accounts, intercept=plug.intercept) as sandbox:
        launcher = Launcher(
            scratch,
            plugins=[world.install(scratch / "plugins")],
            # What arrived is looked at by others here.
            environ={"WANDB_API_KEY": sandbox.api_key, "ENGINE_VERIFY": "none", **(environ or {})},
            hurried=hurried,
        )
        yield Rehearsal(sandbox, plug, launcher, scratch)


@dataclass
class Undisturbed:
    """A source, what of it arrives when nothing happens, and how many requests that takes."""

    source: tuple[str, ...]
    arrived: dict[str, Any]
    requests: int


@dataclass
class Migration:
    """One command with a ledger and a project of its own."""

    rehearsal: Rehearsal
    project: str
    state: Path
    arguments: tuple[str, ...]

    @property
    def goal(self) -> str:
        """The destination."""
        return f"wandb:{self.rehearsal.sandbox.url}/{ENTITY}/{self.project}"

    def run(
        self,
        moment: Moment | None = None,
        *options: str,
        acts: Mapping[int, Act] | None = None,
        environ: Mapping[str, str] | None = None,
    ) -> Ended:
        """The command once.

        Args:
            moment: when it is killed, if it lives to see that.
            acts: what else happens, before which of its requests.
        """
        plug = self.rehearsal.plug
        plug.pull_at(moment, acts)
        return self.rehearsal.launcher.run(*self.command(*options), plug=plug, environ=environ)

    def command(self, *options: str) -> list[str]:
        """The command after ``engine``."""
        source, *given = self.arguments
        told = ["migrate", source, self.goal, *given, *options]
        return [*told, "--state-dir", str(self.state), "--json"]

    def share(self, moment: Moment | None = None) -> tuple[Ended, Ended]:
        """The command twice at the same time, so that two processes divide the work.

        Args:
            moment: when the first of them is killed, counted in requests of both.
        """
        plug, command = self.rehearsal.plug, self.command("--share")
        plug.pull_at(moment)
        first, second = self.rehearsal.launcher.start(*command), self.rehearsal.launcher.start(*command)
        plug.connect(first.pid)
        ended = first.wait()
        plug.disconnect()
        return ended, second.wait()

    def run_to_the_end(self, draw: random.Random, requests: int) -> list[Moment]:
        """Start it until it ends by itself, and return when it was killed."""
        moments: list[Moment] = []
        while True:
            moment = Moment.draw(draw, max(1, requests // SHARE))
            ended = self.run(moment)
            if not ended.was_killed:
                assert ended.status == 0, ended.said
                return moments
            moments.append(moment)
            assert len(moments) < 200, "it does not come to an end"

    def arrived(self) -> dict[str, Any]:
        """All that the server holds, by its database and as the official SDK reads it."""
        sandbox = self.rehearsal.sandbox
        reader = SdkReader(sandbox.url, sandbox.api_key)
        return {
            "records": server_state(sandbox.data_dir, self.project),
            "read": comparable(reader.project(ENTITY, self.project)),
        }

    def is_all_done(self, *ledger: str) -> None:
        """The ledger says so, and the same command again writes nothing.

        Args:
            ledger: how to name it, if it is not in the state directory.
        """
        where = ("--state-dir", str(self.state), *ledger)
        status = self.rehearsal.launcher.run("status", *where, "--json")
        assert status.status == 0, status.said
        migrations = [json.loads(line) for line in status.said.splitlines()]
        (told,) = (one for one in migrations if one["destination"] == self.goal)
        assert told["counts"]
        assert all(set(states) == {"done"} for states in told["counts"].values()), told
        before = self.rehearsal.sandbox.counters()["writes"]
        again = self.run()
        assert again.status == 0, again.said
        assert self.rehearsal.sandbox.counters()["writes"] == before

    def completes_as(self, expected: Undisturbed) -> None:
        """The same command again brings the rest, and nothing twice."""
        ended = self.run()
        assert ended.status == 0, ended.said
        assert self.arrived() == expected.arrived
        self.is_all_done()


def survives(begin: Callable[[], Migration], expected: Undisturbed, seed: int, moments: int) -> None:
    """Killed at so many moments at least, in as many transfers as that takes, it ends as if undisturbed."""
    draw, killed, transfers = random.Random(seed), 0, 0
    hit: Counter[str] = Counter()
    while killed < moments:
        migration = begin()
        migration.rehearsal.plug.hit.clear()
        drawn = migration.run_to_the_end(draw, expected.requests)
        killed, transfers = killed + len(drawn), transfers + 1
        hit += migration.rehearsal.plug.hit
        assert migration.arrived() == expected.arrived, f"seed {seed}, transfer {transfers}: {drawn}"
        migration.is_all_done()
    print(
        f"seed {seed}: killed {killed} times in {transfers} transfers of {expected.requests} requests:",
        dict(hit.most_common()),
    )


def comparable(runs: dict[str, SdkRun]) -> dict[str, SdkRun]:
    """Without the moment of the import."""
    return {run.id: replace(run, created_at="") for run in runs.values()}
