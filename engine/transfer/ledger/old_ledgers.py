"""What W&B's own importer left behind: the runs and artifacts that it had compared and found equal.

It kept ``run_successes.jsonl`` and ``artifact_successes.jsonl`` in the directory that it was started in, one
JSON object a line: ``src_entity``, ``src_project``, ``dst_entity``, ``dst_project``, and ``run_id`` or
``name``, ``version`` and ``type``. It was killed at any moment and wrote without locks, so that lines may be
torn. It never looked at a run again, so that changes since then are not seen.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import aclosing
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeAlias

import anyio.to_thread
import orjson

from engine.errors import ConfigError
from engine.protocols import Destination, RunHolder, Source
from engine.records import Artifact, Json, Namespace, Run
from engine.transfer.options import Result

RUNS, ARTIFACTS = "run_successes.jsonl", "artifact_successes.jsonl"

_Route: TypeAlias = tuple[str, str, str, str]
_Version: TypeAlias = tuple[str, int, str]


@dataclass(frozen=True, slots=True)
class OldLedger:
    """The ledger of an importer, in memory.

    Attributes:
        unreadable: lines that say nothing, which are passed over.
    """

    runs: Mapping[_Route, set[str]]
    artifacts: Mapping[_Route, set[_Version]]
    unreadable: int

    @classmethod
    def read(cls, directory: Path) -> OldLedger:
        """The ledger in a directory.

        Raises:
            ConfigError: there is none, or it cannot be read.
        """
        runs: dict[_Route, set[str]] = {}
        artifacts: dict[_Route, set[_Version]] = {}
        unreadable = 0
        if not (directory / RUNS).is_file():
            raise ConfigError(
                f"there is no {RUNS} in {directory}",
                remedy="name the directory in which the old importer was started with --old-ledger",
            )
        for line in _lines(directory / RUNS):
            match line:
                case {"run_id": str() as run}:
                    runs.setdefault(_route(line), set()).add(run)
                case _:
                    unreadable += 1
        for line in _lines(directory / ARTIFACTS):
            match line:
                case {"name": str() as name, "version": int() as version, "type": str() as kind}:
                    artifacts.setdefault(_route(line), set()).add((name, version, kind))
                case _:
                    unreadable += 1
        return cls(runs, artifacts, unreadable)

    def proves(self, run: Run, place: Namespace) -> bool:
        """Whether a run was found to have arrived at a place, with its history and files."""
        return run.id in self.runs.get(_between(run.namespace, place), ())

    def proves_artifact(self, artifact: Artifact, place: Namespace) -> bool:
        version = artifact.name, artifact.version or 0, artifact.type
        return version in self.artifacts.get(_between(artifact.namespace, place), ())


def _lines(path: Path) -> Iterator[Mapping[str, Json]]:
    """Each line that is a row of such a ledger, and an empty one for each that is not."""
    try:
        with path.open("rb") as file:
            for text in file:
                try:
                    line = orjson.loads(text)
                except orjson.JSONDecodeError:
                    line = None
                if text.strip():
                    yield line if isinstance(line, dict) and all(map(_text, _route(line))) else {}
    except FileNotFoundError:
        return
    except OSError as error:
        raise ConfigError(f"{path} cannot be read: {error.strerror}", exc=error) from error


def _text(value: Json) -> bool:
    return isinstance(value, str)


def _route(line: Mapping[str, Json]) -> _Route:
    entity, project, to_entity, to_project = (
        line.get(name) for name in ("src_entity", "src_project", "dst_entity", "dst_project")
    )
    return entity, project, to_entity, to_project  # type: ignore[return-value]


def _between(source: Namespace, place: Namespace) -> _Route:
    return source.entity, source.project, place.entity, place.project


@dataclass(slots=True)
class Inheritance:
    """Leaves out what an old ledger proves and the destination has.

    Args:
        artifacts: whether artifacts are wanted, so that those of a run must be proven, too.
    """

    ledger: OldLedger
    source: Source
    destination: Destination
    result: Result
    artifacts: bool
    _holder: RunHolder = field(init=False)

    def __post_init__(self) -> None:
        if not isinstance(self.destination, RunHolder):
            raise ConfigError(
                f"{self.destination.uri} cannot be asked which runs it has", remedy="leave --old-ledger out"
            )
        self._holder = self.destination
        self.result.old_lines_unreadable = self.ledger.unreadable

    async def covers(self, run: Run, place: Namespace) -> bool:
        """Whether nothing of a run need be moved."""
        if not run.state.is_final or not self.ledger.proves(run, place):
            return False
        if not await self._holder.holds_run(run, place):
            self.result.old_runs_missing += 1
            return False
        if self.artifacts:
            async with aclosing(self.source.artifacts(run)) as artifacts:
                async for artifact in artifacts:
                    if not self.ledger.proves_artifact(artifact, place):
                        return False
        self.result.runs_inherited += 1
        return True


async def inherited(
    directory: Path | None, source: Source, destination: Destination, result: Result, artifacts: bool
) -> Inheritance | None:
    """What an old ledger in a directory proves; None without a directory.

    Raises:
        ConfigError: there is none, or the destination cannot be asked.
    """
    if directory is None:
        return None
    ledger = await anyio.to_thread.run_sync(OldLedger.read, directory)
    return Inheritance(ledger, source, destination, result, artifacts)
