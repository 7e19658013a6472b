"""What the machine and the console of a run told, on its way into the file stream."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import dataclass, field, replace

from engine.records import ConsoleLine, ConsoleLines, HistoryRows
from engine.wandb.history.filestream import REQUEST_LIMIT, FileStream
from engine.wandb.history.rows import LINE_LIMIT
from engine.wandb.jsontext import encode_row
from engine.wandb.mapping import RunMapping

EVENTS = "wandb-events.jsonl"
CONSOLE = "output.log"

BARE = "console_label_dropped"
WHY_BARE = "labels, and levels but that of errors, of console lines, which this server takes as text"


@dataclass(slots=True)
class LogStream:
    """Sends both streams; each from its first line on, so that sending them again changes nothing.

    Args:
        structured: whether the server takes console lines as JSON, with level and label.
    """

    stream: FileStream
    mapping: RunMapping
    structured: bool = False
    _waiting: dict[str, list[str]] = field(default_factory=dict)
    _sent: Counter[str] = field(default_factory=Counter)
    _size: int = 0
    _bare: int = 0
    """Lines whose label or level the server cannot take."""

    async def send(self, metrics: AsyncIterator[HistoryRows], console: AsyncIterator[ConsoleLines]) -> None:
        """Send everything."""
        async for chunk in metrics:
            for row in chunk.rows:
                await self._add(EVENTS, encode_row(row))
        async for part in console:
            for line in part.lines:
                await self._add(CONSOLE, self._text(line))
        await self._flush()
        if self._bare:
            self.mapping.lose(BARE, WHY_BARE, self._bare)

    async def _add(self, name: str, text: str) -> None:
        size = len(text) if text.isascii() else len(text.encode("utf-8", "surrogatepass"))
        if size > LINE_LIMIT:
            self.mapping.lose("log_line_too_long", f"a line of {name} of {size} bytes was left out")
            return
        if self._size + size > REQUEST_LIMIT:
            await self._flush()
        self._waiting.setdefault(name, []).append(text)
        self._size += size

    async def _flush(self) -> None:
        if not self._waiting:
            return
        await self.stream.send_other(
            {name: (self._sent[name], lines) for name, lines in self._waiting.items()}
        )
        for name, lines in self._waiting.items():
            self._sent[name] += len(lines)
        self._waiting, self._size = {}, 0

    def _text(self, line: ConsoleLine) -> str:
        """A line as W&B's client writes it (``core/internal/runconsolelogs``)."""
        if self.structured:
            told = {"level": line.level, "ts": line.time, "content": line.text, "label": line.label}
            return encode_row({name: value for name, value in told.items() if value is not None})
        plain = plain_line(line)
        self._bare += plain is not line
        if plain.time is None:
            return plain.text
        error = "ERROR " if plain.level == "error" else ""
        return f"{error}{plain.time} {plain.text}"


def plain_line(line: ConsoleLine) -> ConsoleLine:
    """What of a line a server keeps that takes it as text: the level only of errors with a time, no label."""
    level = "error" if line.level == "error" and line.time is not None else None
    return line if line.label is None and line.level == level else replace(line, level=level, label=None)
