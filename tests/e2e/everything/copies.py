"""Everything, copied from one W&B server to another in processes to which things happen."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import count
from typing import Any

from tests.e2e.everything.holding import holding
from tests.e2e.everything.sdk_world import ENTITY
from tests.e2e.planting import Spoiler
from tests.e2e.rehearsing import Migration, Rehearsal, Undisturbed
from tests.servers import RunningSandbox

TEAMS = tuple(f"team-{number}" for number in range(600))
"""Entities to copy to, one after the other."""

SOURCE_KEY = "SOURCE_API_KEY"


SILENT_MS = 600_000


def silence(server: RunningSandbox) -> None:
    """Let some minutes pass in which nothing is heard of the run that crashed."""
    heard = "UPDATE runs SET heartbeat = heartbeat - ? WHERE name = 'crashed'"
    Spoiler(server.data_dir).change(heard, SILENT_MS)


class Copy(Migration):
    """One copy, in an entity that nobody wrote to."""

    @property
    def goal(self) -> str:
        return f"wandb:{self.rehearsal.sandbox.url}/{self.project}"

    def arrived(self) -> dict[str, Any]:
        return holding(self.rehearsal.sandbox.data_dir, self.project)


@dataclass
class Copies:
    """A server that has everything, and another one to which it is copied again and again."""

    source: RunningSandbox
    rehearsal: Rehearsal
    numbers: Iterator[int] = field(default_factory=count)
    _undisturbed: dict[str, Undisturbed] = field(default_factory=dict)

    def of(self, project: str = "", *options: str) -> Copy:
        """A copy of a project, or of all of them, that was not begun."""
        number = next(self.numbers)
        where = f"wandb:{self.source.url}/{ENTITY}/{project}".rstrip("/")
        arguments = (where, "--source-api-key-env", SOURCE_KEY, *options)
        return Copy(self.rehearsal, TEAMS[number], self.rehearsal.scratch / f"state-{number}", arguments)

    def undisturbed(self, project: str = "") -> Undisturbed:
        """A copy to which nothing happened."""
        if project not in self._undisturbed:
            copy = self.of(project)
            ended = copy.run()
            assert ended.status == 0, ended.said
            requests = self.rehearsal.plug.requests
            self._undisturbed[project] = Undisturbed(copy.arguments, copy.arrived(), requests)
        return self._undisturbed[project]
