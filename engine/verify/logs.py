"""What the machine and the console of a run told: the same lines in the same order on both sides."""

from __future__ import annotations

import hashlib
from collections.abc import AsyncGenerator, Callable, Iterator, Mapping
from contextlib import aclosing
from dataclasses import asdict, dataclass, field
from typing import Any, Final, TypeAlias

from engine.protocols import LogSource
from engine.records import ConsoleLine, ConsoleLines, HistoryRows, Json, Run
from engine.verify.merkle import root_of
from engine.verify.values import canonical, metric, shown

METRICS: Final = "system metrics"
CONSOLE: Final = "console"

Line: TypeAlias = Mapping[str, Json]
"""A row of system metrics, or a line of the console, by fields; a field without a value is null."""


async def metric_lines(chunks: AsyncGenerator[HistoryRows]) -> AsyncGenerator[Line]:
    async with aclosing(chunks):
        async for chunk in chunks:
            for row in chunk.rows:
                yield {key: metric(value) for key, value in row.items()}


async def console_lines(
    chunks: AsyncGenerator[ConsoleLines],
    expected: Callable[[ConsoleLine], ConsoleLine | None] = lambda line: line,
) -> AsyncGenerator[Line]:
    """The lines; ``expected`` may change or leave out one."""
    async with aclosing(chunks):
        async for chunk in chunks:
            for line in chunk.lines:
                if (kept := expected(line)) is not None:
                    yield asdict(kept)


@dataclass(slots=True)
class Stream:
    """What came of one side."""

    count: int = 0
    _hash: Any = field(default_factory=lambda: hashlib.blake2b(digest_size=16))

    def add(self, line: Line) -> str:
        """Take the next line, and return it as one text."""
        text = canonical(line)
        self.count += 1
        self._hash.update(text.encode("utf-8", "surrogatepass") + b"\n")
        return text

    @property
    def digest(self) -> str:
        return str(self._hash.hexdigest())


@dataclass(slots=True)
class Comparison:
    """Two streams of lines, side by side, in memory for one line of each."""

    expected: Stream = field(default_factory=Stream)
    found: Stream = field(default_factory=Stream)
    _example: str | None = None

    async def take(self, expected: AsyncGenerator[Line], found: AsyncGenerator[Line]) -> None:
        """Both streams to their ends."""
        async with aclosing(expected), aclosing(found):
            while True:
                wanted, there = await anext(expected, None), await anext(found, None)
                if wanted is None and there is None:
                    return
                texts = wanted and self.expected.add(wanted), there and self.found.add(there)
                if wanted and there and texts[0] != texts[1] and self._example is None:
                    self._example = f"number {self.expected.count}: {_differing(wanted, there)}"

    def differences(self) -> Iterator[tuple[str, str]]:
        """What is not the same, as (kind, detail)."""
        expected, found = self.expected.count, self.found.count
        example = f" ({self._example})" if self._example else ""
        if expected and not found:
            yield "missing", f"all of its {expected:,} lines are missing"
        elif found and not expected:
            yield "extra", f"{found:,} lines, of which the source has none"
        elif expected != found:
            yield "changed", f"{expected:,} lines expected, {found:,} found{example}"
        elif example:
            yield "changed", f"a line is another{example}"


def _differing(expected: Line, found: Line) -> str:
    """The first field of two lines that is not the same."""
    for key in sorted(expected.keys() | found.keys()):
        if canonical(was := expected.get(key)) != canonical(now := found.get(key)):
            return f"{key} {shown(was)} expected, {shown(now)} found"
    return "a field without a value"


def logs_root(metrics: Stream, console: Stream) -> str:
    """The hash of what a run told besides its history."""
    return root_of(
        canonical([name, stream.count, stream.digest])
        for name, stream in ((METRICS, metrics), (CONSOLE, console))
    )


async def root_of_logs(source: LogSource, run: Run) -> str:
    """The same, read from one side."""
    streams = Stream(), Stream()
    sides = metric_lines(source.system_metrics(run)), console_lines(source.console(run))
    for stream, lines in zip(streams, sides, strict=True):
        async with aclosing(lines):
            async for line in lines:
                stream.add(line)
    return logs_root(*streams)
