"""A source with a little of everything, as a system of its own: ``world:``, or ``world:50`` for more runs.

What no MLflow store has: files of runs, rows that are wide already, several versions of an artifact with
aliases and tags, references. It is made anew in each process and is always the same.
"""

from __future__ import annotations

import random
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

from engine.fingerprints import fingerprint
from engine.protocols import System
from engine.records import (
    Artifact,
    ArtifactEntry,
    Blob,
    HistoryChunk,
    HistoryRows,
    Namespace,
    Project,
    Run,
    RunFile,
    RunState,
    Selection,
    SystemInfo,
)
from engine.transfer.context import Context
from tests.memory import Point, points

BEGAN = 1_700_000_000_000
LARGE = 1_300_000
"""Bytes of the one file that goes in parts, if those who ask for it make parts small enough."""

PIECE = 1 << 16

Files = dict[str, bytes]


@dataclass
class Held:
    """A run and all that belongs to it."""

    run: Run
    points: list[Point] = field(default_factory=list)
    rows: int = 0
    files: Files = field(default_factory=dict)
    versions: list[tuple[Artifact, Files]] = field(default_factory=list)


SMALL_RUNS = 6


def contents(small_runs: int = SMALL_RUNS) -> list[Held]:
    """A tree of four runs with everything, and some small ones of all states."""
    vision, text = Namespace("", "vision"), Namespace("", "text")
    parent = Held(
        _run("parent", vision, name="sweep", tags=("good", "best"), notes="Does *it* scale?", group="sweep"),
        points=_curve(200, "loss", "acc", "val/loss"),
        files={"config.yaml": b"a: 1\n", "deep/er/log.txt": _bytes("log", 40_000), "empty": b""},
        versions=[
            _version(vision, "images", 0, ("raw",), {"a.bin": b"a" * 900, "b.bin": b"b"}),
            _version(vision, "images", 1, ("clean", "best"), {"a.bin": b"a" * 900, "c.bin": _bytes("c", 9)}),
            _version(vision, "images", 2, ("last",), {"d/e.bin": _bytes("e", 70_000), "empty": b""}),
            # What was there before: the server has it already, and its alias moves.
            _version(vision, "images", 3, ("again",), {"a.bin": b"a" * 900, "b.bin": b"b"}),
        ],
    )
    trained = Held(
        _run("trained", vision, name="trial 0", parent_id="parent", group="sweep"),
        points=[*_curve(120, "loss"), ("loss", 7, BEGAN + 500_000, 0.5)],
        versions=[
            _version(
                vision,
                "checkpoint",
                0,
                ("epoch-1",),
                {"large.bin": _bytes("large", LARGE), "small.bin": b"1", "ref": b"hdfs://cluster/key"},
            ),
            _version(vision, "checkpoint", 1, ("epoch-2",), {"small.bin": b"2"}),
        ],
    )
    wide = Held(
        _run("wide", vision, name="trial 1", parent_id="parent", group="sweep"),
        rows=250,
        files={f"plots/{number}.svg": _bytes(f"plot{number}", 300) for number in range(12)},
    )
    nested = Held(_run("nested", vision, parent_id="trained", group="sweep"), points=_curve(3, "loss"))
    states = [RunState.FINISHED, RunState.FAILED, RunState.KILLED, RunState.CRASHED]
    small = [
        Held(
            _run(
                f"small-{number}", text, state=states[number % len(states)], config={"lr": 1 / (1 + number)}
            ),
            points=_curve(5 * (number % 8), "loss"),
            versions=[_version(text, f"weights-{number}", 0, (), {"w": _bytes(f"w{number}", 2_000)})],
        )
        for number in range(small_runs)
    ]
    return [parent, trained, wide, nested, *small]


def _run(
    run_id: str,
    namespace: Namespace,
    *,
    name: str | None = None,
    state: RunState = RunState.FINISHED,
    tags: tuple[str, ...] = (),
    notes: str | None = None,
    group: str | None = None,
    parent_id: str | None = None,
    config: dict[str, float] | None = None,
) -> Run:
    return Run(
        id=run_id,
        namespace=namespace,
        name=name or run_id,
        state=state,
        tags=tags,
        notes=notes,
        group=group,
        parent_id=parent_id,
        config=config or {"seed": 1},
        started_at=BEGAN,
        ended_at=BEGAN + 90_500,
    )


def _version(
    namespace: Namespace, name: str, number: int, aliases: tuple[str, ...], files: Files
) -> tuple[Artifact, Files]:
    artifact = Artifact(
        namespace=namespace,
        name=name,
        type="dataset",
        version=number,
        aliases=aliases,
        tags=("kept",),
        description=f"{name} {number}",
        metadata={"number": number},
    )
    return artifact, files


def _curve(count: int, *keys: str) -> list[Point]:
    return [(key, step, BEGAN + 1_000 * step, 1 / (1 + step)) for step in range(count) for key in keys]


def _bytes(seed: str, size: int) -> bytes:
    return random.Random(seed).randbytes(size)


class World:
    """The source.

    Args:
        rest: of its URI, how many small runs there are.
    """

    def __init__(self, rest: str) -> None:
        self.uri = f"world:{rest}"
        self._runs = {held.run.id: held for held in contents(int(rest or SMALL_RUNS))}

    @asynccontextmanager
    async def open(self, context: Context) -> AsyncGenerator[SystemInfo]:
        yield SystemInfo(uri=self.uri, product="world")

    async def projects(self, selection: Selection) -> AsyncGenerator[Project]:
        for namespace in dict.fromkeys(held.run.namespace for held in self._runs.values()):
            yield Project(namespace=namespace, id=namespace.project)

    async def runs(self, project: Project, selection: Selection) -> AsyncGenerator[Run]:
        for held in self._runs.values():
            if held.run.namespace == project.namespace:
                yield replace(held.run, fingerprint=fingerprint(held.run, held.rows))

    async def history(self, run: Run) -> AsyncGenerator[HistoryChunk]:
        held = self._runs[run.id]
        for start in range(0, len(held.points), 100):
            yield points(held.points[start : start + 100])
        for start in range(0, held.rows, 50):
            rows = [{"_step": 2 * n, "_timestamp": BEGAN / 1000 + n, "x": n / 7} for n in range(held.rows)]
            yield HistoryRows(first=start, rows=rows[start : start + 50])

    async def files(self, run: Run) -> AsyncGenerator[RunFile]:
        for path, content in self._runs[run.id].files.items():
            yield RunFile(path=path, size=len(content), locator=f"{run.id}\n\n{path}")

    async def artifacts(self, run: Run) -> AsyncGenerator[Artifact]:
        for number, (artifact, _) in enumerate(self._runs[run.id].versions):
            yield replace(artifact, run_id=run.id, locator=f"{run.id}\n{number}")

    async def entries(self, artifact: Artifact) -> AsyncGenerator[ArtifactEntry]:
        for path, content in self._held(artifact.locator).items():
            if path == "ref":
                uri = content.decode()
                yield ArtifactEntry(path=path, ref=uri, digest=uri, size=7)
            else:
                yield ArtifactEntry(path=path, size=len(content), locator=f"{artifact.locator}\n{path}")

    async def read(self, blob: Blob, offset: int = 0) -> AsyncGenerator[bytes]:
        content = self._held(blob.locator)[blob.path]
        for start in range(offset, len(content), PIECE):
            yield content[start : start + PIECE]

    def _held(self, locator: str) -> Files:
        run_id, number = locator.split("\n")[:2]
        held = self._runs[run_id]
        return held.versions[int(number)][1] if number else held.files


SYSTEM = System(source=lambda rest, _options: World(rest))


def install(directory: Path) -> Path:
    """Make ``world:`` known to whoever has the directory in its path, as a package of others would."""
    about = directory / "world-1.dist-info"
    about.mkdir(parents=True)
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: world\nVersion: 1\n")
    (about / "entry_points.txt").write_text("[engine.systems]\nworld = tests.e2e.world:SYSTEM\n")
    return directory
